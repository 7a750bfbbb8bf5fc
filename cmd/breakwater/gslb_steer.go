package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/gslb"
)

// steerFlags are what is common to all that an operator says of a datacenter.
type steerFlags struct {
	admin           *adminFlags
	name, reason    string
	lasts           time.Duration
	yes, wholeFleet bool
	asJSON          jsonFlag
}

func (o *steerFlags) register(cmd *cobra.Command) {
	o.admin = gslbAdmin()
	o.admin.register(cmd)
	cmd.Flags().StringVar(&o.name, "name", "", "for this name only; default: all")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for those who look at the status and the log")
	o.asJSON.register(cmd, "print one JSON object; with --fleet a list of them")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do it also where clients would go on coming, or get nobody that serves")
	cmd.Flags().BoolVar(&o.wholeFleet, "fleet", false, "tell all name servers of the fleet")
}

// lasting adds how long it lasts.
func (o *steerFlags) lasting(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.lasts, "for", 0, "how long; default: until it is taken back (release)")
}

// steer asks for what the flags say, and prints what comes of it.
func (o *steerFlags) steer(cmd *cobra.Command, datacenter string, mode gslb.Mode) error {
	verb := steered{cmd: cmd.Name(), datacenter: datacenter, mode: mode}
	x := gslb.Steering{
		Override: gslb.Override{Datacenter: datacenter, Name: o.name, Mode: mode, Reason: o.reason, By: steer.Operator()},
		Release:  mode == "", Yes: o.yes,
	}
	if o.lasts != 0 {
		x.Until = time.Now().Add(o.lasts)
	}
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	send := func(path string) ([]byte, error) {
		return o.admin.send(cmd.Context(), http.MethodPost, path, bytes.NewReader(data))
	}
	if o.wholeFleet {
		body, err := askFleet(cmd.Context(), o.admin, func() ([]byte, error) { return send("/fleet/override") },
			func(f *steer.Fleet) ([]byte, error) { return json.Marshal(f.Steer(cmd.Context(), x)) })
		if err != nil {
			return fmt.Errorf("%s: %w", verb.cmd, err)
		}
		var told []steer.Told
		if err := json.Unmarshal(body, &told); err != nil {
			return fmt.Errorf("%s: %w", verb.cmd, err)
		}
		return verb.printTold(cmd.OutOrStdout(), told, &o.asJSON, o.again(cmd, datacenter, mode))
	}
	body, err := send("/override")
	if err != nil {
		return fmt.Errorf("%s: %w", verb.cmd, err)
	}
	var done gslb.Steered
	if err := json.Unmarshal(body, &done); err != nil {
		return fmt.Errorf("%s: %w", verb.cmd, err)
	}
	if o.asJSON.on() {
		if err := o.asJSON.print(cmd.OutOrStdout(), body); err != nil || done.Done {
			return err
		}
		return exitStatus(1)
	}
	if !done.Done {
		return verb.nothing(append(done.Troubles, done.Notes...))
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), verb.outcome(done))
	return err
}

// again is the command that tells one name server the same, on its machine.
func (o *steerFlags) again(cmd *cobra.Command, datacenter string, mode gslb.Mode) string {
	words := []string{"breakwater gslb", cmd.Name(), "--config", inShell(o.admin.config), inShell(datacenter)}
	if o.admin.config == "" {
		words[3] = "fleet.yaml"
	}
	if cmd.Name() == "force" {
		words = append(words, string(mode))
	}
	if o.name != "" {
		words = append(words, "--name", inShell(o.name))
	}
	if o.reason != "" {
		words = append(words, "--reason", inShell(o.reason))
	}
	if o.lasts != 0 {
		words = append(words, "--for", o.lasts.String())
	}
	if o.yes {
		words = append(words, "--yes")
	}
	return strings.Join(words, " ")
}

// inShell is a word as a shell reads it.
func inShell(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:=@", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// steered is a steering in words.
type steered struct {
	cmd, datacenter string
	mode            gslb.Mode // "": a release
}

// nothing says what would come of it.
func (s steered) nothing(lines []string) error {
	text := fmt.Sprintf("%s: nothing is changed. What would come of it:\n", s.cmd)
	for _, line := range lines {
		text += "  " + line + "\n"
	}
	return errors.New(text + "To do it all the same, say it again with --yes.")
}

// outcome says what has come of it, at one name server.
func (s steered) outcome(done gslb.Steered) string {
	var b strings.Builder
	stop, others := "Safe to stop at "+done.SafeAt.Local().Format(time.DateTime)+", when every answer that names it has run out", "; say the same to the other name servers first (--fleet)"
	if done.Travels {
		others = " here, once the others have heard of it too: breakwater gslb status --fleet"
	}
	switch {
	case s.mode == "":
		fmt.Fprintf(&b, "The probes decide of %s again.\n", s.datacenter)
	case s.mode == gslb.Up:
		fmt.Fprintf(&b, "%s counts as healthy here, whatever its probes say.\n", s.datacenter)
	case !done.SafeAt.IsZero():
		fmt.Fprintf(&b, "%s gets no new clients from this name server. %s%s.\n", s.datacenter, stop, others)
	case len(done.Troubles) == 0:
		fmt.Fprintf(&b, "%s gets no new clients of %s from this name server. It is not safe to stop.\n", s.datacenter, strings.TrimSuffix(done.Name, "."))
	default:
		fmt.Fprintf(&b, "%s is taken out here, and it is not safe to stop.\n", s.datacenter)
	}
	for _, line := range append(done.Troubles, done.Notes...) {
		fmt.Fprintln(&b, "  "+line)
	}
	if !done.Until.IsZero() && s.mode != "" {
		fmt.Fprintf(&b, "This ends by itself at %s.\n", done.Until.Local().Format(time.DateTime))
	}
	fmt.Fprintln(&b, "Answered now:")
	for _, a := range done.Answers {
		fmt.Fprintln(&b, "  "+a.Sentence)
	}
	return b.String()
}

func gslbDrainCommand() *cobra.Command {
	var o steerFlags
	cmd := &cobra.Command{
		Use: "drain --config fleet.yaml DATACENTER", Short: "Send no new clients to a datacenter", Args: cobra.ExactArgs(1),
		Long: `Send no new clients to a datacenter, from the name server on this machine or, with
--fleet, from all of them. It takes effect at once, and survives restarts. Name servers
that have a gslb.key tell each other what was said to one of them, also later one that
was away.

What would be answered is worked out before. Where clients would go on coming, because
nobody else serves, or would get nobody that serves, or no address of a family, or a
drain of before would hold no longer, nothing is changed without --yes.

With --fleet the name server on this machine tells the others; where none runs, the
command tells all of them itself with gslb.key. Each has 2 s. The exit status is 1 when
nothing was changed, or not everywhere.`,
		Example: `  breakwater gslb drain --config fleet.yaml --fleet par1 --for 2h --reason "new switches"`,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.steer(cmd, args[0], gslb.Drain) },
	}
	o.register(cmd)
	o.lasting(cmd)
	return cmd
}

func gslbForceCommand() *cobra.Command {
	var o steerFlags
	cmd := &cobra.Command{
		Use: "force --config fleet.yaml DATACENTER up|down", Short: "Take a datacenter for healthy or not, whatever its probes say",
		Args: cobra.MatchAll(cobra.ExactArgs(2), func(_ *cobra.Command, args []string) error {
			if args[1] != string(gslb.Up) && args[1] != string(gslb.Down) {
				return fmt.Errorf("%q is neither up nor down", args[1])
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error { return o.steer(cmd, args[0], gslb.Mode(args[1])) },
	}
	o.register(cmd)
	o.lasting(cmd)
	return cmd
}

func gslbReleaseCommand() *cobra.Command {
	var o steerFlags
	cmd := &cobra.Command{
		Use: "release --config fleet.yaml DATACENTER", Short: "Take a drain or force back: probes decide again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.steer(cmd, args[0], "") },
	}
	o.register(cmd)
	return cmd
}
