package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/gslb"
)

func gslbExplainCommand() *cobra.Command {
	admin := gslbAdmin()
	var client, name string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain --config fleet.yaml --client ADDRESS",
		Short: "Say which datacenter a client is answered with, and why",
		Long: `Say which datacenter the name server on this machine answers a client with, and
why: where it takes the client to be, who could serve it, and why each of the others
is not the answer. The same is in the TXT record of _why.<name>, for those whom
gslb.explain of the fleet file allows to ask.`,
		Example: `  breakwater gslb explain --config fleet.yaml --client 203.0.113.7
  dig @ns-par1.harbor.example.org _why.harbor.example.org TXT +subnet=203.0.113.0/24`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := admin.ask(cmd.Context(), http.MethodGet, "/explain?"+url.Values{"client": {client}, "name": {name}}.Encode())
			if err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			var e gslb.Explanation
			if err := json.Unmarshal(body, &e); err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s for %s: %s %v\n\n", e.Name, e.Client, orNobody(e.Datacenter), e.Addresses)
			for _, line := range e.Sentences {
				fmt.Fprintln(out, line)
			}
			return nil
		},
	}
	admin.register(cmd)
	cmd.Flags().StringVar(&client, "client", "", "the client's address or network")
	cmd.Flags().StringVar(&name, "name", "", "the name that it asks for; default: the fleet's domain")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.MarkFlagRequired("client") //nolint:errcheck // the flag is there
	return cmd
}

func orNobody(datacenter string) string {
	if datacenter == "" {
		return "nobody"
	}
	return datacenter
}

func gslbStatusCommand() *cobra.Command {
	admin := gslbAdmin()
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status --config fleet.yaml", Short: "Say what the name server on this machine knows of the datacenters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := admin.ask(cmd.Context(), http.MethodGet, "/status")
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			return printStatus(cmd.OutOrStdout(), body)
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printStatus(out io.Writer, body []byte) error {
	var r gslb.Report
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	fmt.Fprintf(out, "The name server of %s.\n", r.Node)
	if !r.Answering {
		fmt.Fprintln(out, "It answers nothing yet: the first round of probes is not in.")
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DATACENTER\tPROBES SAY\tFOR\tWHY")
	var names []string
	for name := range r.Datacenters {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		d := r.Datacenters[name]
		verdict := "down"
		if d.Up {
			verdict = "up"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", name, verdict, time.Since(d.Since).Round(time.Second), d.Why)
	}
	if len(r.Overrides) > 0 {
		fmt.Fprintln(w, "\nDATACENTER\tOPERATORS SAY\tFOR NAME\tUNTIL\tREASON")
	}
	for _, o := range r.Overrides {
		name, until := "all", "taken back"
		if o.Name != "" {
			name = o.Name
		}
		if !o.Until.IsZero() {
			until = o.Until.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.Datacenter, o.Mode, name, until, o.Reason)
	}
	return w.Flush()
}

// overrideFlags are what is common to all that an operator says of a datacenter.
type overrideFlags struct {
	admin        *adminFlags
	name, reason string
	lasts        time.Duration
	asJSON       bool
}

func (o *overrideFlags) register(cmd *cobra.Command) {
	o.admin = gslbAdmin()
	o.admin.register(cmd)
	cmd.Flags().StringVar(&o.name, "name", "", "for this name only; default: all")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for those who look at the status")
	cmd.Flags().DurationVar(&o.lasts, "for", 0, "how long; default: until it is taken back (release)")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON object")
}

// say puts the override into effect.
func (o *overrideFlags) say(cmd *cobra.Command, datacenter string, mode gslb.Mode) error {
	want := gslb.Override{Datacenter: datacenter, Name: o.name, Mode: mode, Reason: o.reason}
	if o.lasts != 0 {
		want.Until = time.Now().Add(o.lasts)
	}
	data, err := json.Marshal(want)
	if err != nil {
		return err
	}
	body, err := o.admin.send(cmd.Context(), http.MethodPost, "/override", bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: %w", mode, err)
	}
	if o.asJSON {
		_, err := cmd.OutOrStdout().Write(body)
		return err
	}
	var done gslb.Overruled
	if err := json.Unmarshal(body, &done); err != nil {
		return fmt.Errorf("%s: %w", mode, err)
	}
	out := cmd.OutOrStdout()
	switch mode {
	case gslb.Up:
		fmt.Fprintf(out, "%s counts as healthy here, whatever its probes say.\n", datacenter)
	default:
		fmt.Fprintf(out, "%s gets no new clients from this name server. Safe to stop at %s, when every answer that names it has run out; say the same to the other name servers first.\n",
			datacenter, done.SafeAt.Local().Format(time.DateTime))
	}
	if !done.Until.IsZero() {
		fmt.Fprintf(out, "This ends by itself at %s.\n", done.Until.Local().Format(time.DateTime))
	}
	return nil
}

func gslbDrainCommand() *cobra.Command {
	var o overrideFlags
	cmd := &cobra.Command{
		Use: "drain --config fleet.yaml DATACENTER", Short: "Send no new clients to a datacenter", Args: cobra.ExactArgs(1),
		Long: `Send no new clients to a datacenter, from the name server on this machine. It takes
effect at once, and survives restarts. Each name server is told by itself.`,
		Example: `  breakwater gslb drain --config fleet.yaml par1 --for 2h --reason "new switches"`,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.say(cmd, args[0], gslb.Drain) },
	}
	o.register(cmd)
	return cmd
}

func gslbForceCommand() *cobra.Command {
	var o overrideFlags
	cmd := &cobra.Command{
		Use: "force --config fleet.yaml DATACENTER up|down", Short: "Take a datacenter for healthy or not, whatever its probes say",
		Args: cobra.MatchAll(cobra.ExactArgs(2), func(_ *cobra.Command, args []string) error {
			if args[1] != string(gslb.Up) && args[1] != string(gslb.Down) {
				return fmt.Errorf("%q is neither up nor down", args[1])
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error { return o.say(cmd, args[0], gslb.Mode(args[1])) },
	}
	o.register(cmd)
	return cmd
}

func gslbReleaseCommand() *cobra.Command {
	admin := gslbAdmin()
	var name string
	cmd := &cobra.Command{
		Use: "release --config fleet.yaml DATACENTER", Short: "Take a drain or force back: probes decide again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := admin.ask(cmd.Context(), http.MethodDelete, "/override?"+url.Values{"datacenter": args[:1], "name": {name}}.Encode())
			if err != nil {
				return fmt.Errorf("release: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The probes decide of %s again.\n", args[0])
			return err
		},
	}
	admin.register(cmd)
	cmd.Flags().StringVar(&name, "name", "", "what was said for this name only")
	return cmd
}
