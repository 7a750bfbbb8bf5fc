package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/provision"
)

// exitStatus ends the program with a status that says more than that it failed.
type exitStatus int

// Exit statuses of provision, as Terraform's plan -detailed-exitcode has the first two.
const (
	exitChanges exitStatus = 2 // there is something to do
	exitPartial exitStatus = 3 // a Harbor could not be reached: the rest is done
)

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func provisionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Make every Harbor of the fleet as the fleet file says",
		Long: `Make every Harbor of the fleet as the fleet file says: login by OIDC, projects with
quotas and retention, robots, registries, replications, proxy caches. There is no
state file: objects are found by their names, compared field by field, and changed
where they differ. Secrets are proven, not believed.`,
	}
	cmd.AddCommand(provisionPlanCommand(), provisionApplyCommand(), provisionVerifyCommand(), provisionRefillCommand(), provisionRotateCommand(), provisionExportCommand(), provisionLintCommand(), provisionLastCommand())
	return cmd
}

// provisioning are the flags of all that talk to Harbors.
type provisioning struct {
	config      string
	datacenters []string
	rewrite     bool
	prune       bool
	pruneMax    int
	asJSON      jsonFlag
	metrics     string
	record      string

	begun time.Time
	fleet *fleet.Fleet
	bar   *progress.Bar // from open on; ends with close
}

func (o *provisioning) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.config, "config", "/etc/breakwater/fleet.yaml", "the fleet file; - reads standard input")
	cmd.Flags().StringSliceVar(&o.datacenters, "datacenter", nil, "only this datacenter's Harbor (again for more)")
	cmd.Flags().BoolVar(&o.rewrite, "rewrite-secrets", false, "write all secrets again, also OIDC's, which Harbor never shows")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "delete robots, registries and replications that breakwater made and that are not in the fleet file any more; never projects")
	cmd.Flags().IntVar(&o.pruneMax, "prune-max", 10, "how many may be deleted in one run")
	o.asJSON.register(cmd, "print one JSON object")
	cmd.Flags().StringVar(&o.record, "record", "", "keep what a plan or an apply was in this file, for the console and for last; default edge.changes of the fleet file")
	cmd.Flags().StringVar(&o.metrics, "metrics", "", "write what came of it into this file, for node_exporter's textfile collector (it must end in .prom)")
}

// report writes the metrics, where they are wanted.
func (o *provisioning) report(plan *provision.Plan, waits []provision.Key, failed bool) error {
	if o.metrics == "" {
		return nil
	}
	names := o.datacenters
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(o.fleet.Datacenters))
	}
	return writeMetrics(o.metrics, names, plan, waits, failed, time.Since(o.begun))
}

// open reads the fleet file and its secrets.
func (o *provisioning) open(cmd *cobra.Command) (*provision.Provisioner, error) {
	o.begun = time.Now()
	f, err := readFleet(os.Stdin, o.config)
	if err != nil {
		return nil, err
	}
	o.fleet = f
	for _, name := range o.datacenters { // of a plan that was kept, or of standard input
		if f.Datacenters[name] == nil {
			return nil, f.NoDatacenter(name)
		}
	}
	o.bar = progress.Show(cmd.ErrOrStderr())
	p, err := provision.Open(cmd.Context(), provision.Options{Fleet: f, Datacenters: o.datacenters, Rewrite: o.rewrite, Prune: o.prune, PruneMax: o.pruneMax, Waiting: waitingOn(cmd, o.bar)})
	if err != nil {
		o.bar.End()
	}
	return p, err
}

// read reads the Harbors, and says what is to be done.
func (o *provisioning) read(cmd *cobra.Command, p *provision.Provisioner) (*provision.Plan, error) {
	o.bar.To(0, 0, "reading the Harbors")
	defer o.bar.Hide()
	return p.Plan(cmd.Context())
}

// apply does what the plan says.
func (o *provisioning) apply(cmd *cobra.Command, p *provision.Provisioner, plan *provision.Plan, out io.Writer) []provision.Result {
	o.bar.To(0, len(plan.Changes), "")
	defer o.bar.Hide()
	return p.Apply(cmd.Context(), plan, progressTo(out, o.bar, len(plan.Changes)))
}

func provisionPlanCommand() *cobra.Command {
	var o provisioning
	var file string
	cmd := &cobra.Command{
		Use:   "plan --config fleet.yaml",
		Short: "Say what would change, and change nothing",
		Long: `Read every Harbor and say what would change, a line an object and a line a field,
grouped by datacenter. Exit status: 0 nothing, 2 changes, 3 a Harbor cannot be
reached (the rest is planned), 1 failed, as where the password is refused.

With --out the plan is kept in a file too, for "provision apply FILE", which does exactly
that. No secrets are in it.`,
		Example: `  breakwater provision plan --config fleet.yaml --out plan.json
  breakwater provision apply --config fleet.yaml plan.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.open(cmd)
			if err != nil {
				return err
			}
			defer p.Close()
			defer o.bar.End()
			plan, err := o.read(cmd, p)
			if err != nil {
				return err
			}
			if o.asJSON.on() {
				err = o.asJSON.printIndented(cmd.OutOrStdout(), plan)
			} else {
				err = printPlan(cmd.OutOrStdout(), plan)
			}
			if file != "" {
				err = errors.Join(err, savePlan(file, p.Save(plan, time.Now())))
			}
			var waits []provision.Key
			for _, c := range plan.Changes {
				waits = append(waits, c.Key)
			}
			switch err := o.keepRecord(cmd, plan, nil, false, errors.Join(err, o.report(plan, waits, false), plan.Refused())); {
			case err != nil:
				return err
			case len(plan.Faults) > 0:
				return exitPartial
			case len(plan.Changes) > 0:
				return exitChanges
			}
			return nil
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&file, "out", "", "keep the plan in this file, for apply")
	return cmd
}

func provisionApplyCommand() *cobra.Command {
	var o provisioning
	var yes, unreachableOK bool
	cmd := &cobra.Command{
		Use:   "apply --config fleet.yaml [PLAN]",
		Short: "Plan, ask, and do it",
		Long: `Plan, show the plan, ask, and do it, at all Harbors at once. What needs something of
a Harbor that cannot be reached waits for a later run; the rest is done. Ctrl-C stops
between objects, within 15 seconds, says what is half done, and another run completes.
Exit status: 0 everything is as the file says, 3 something waits for a Harbor, 1 failed.

Of a PLAN that "provision plan --out" has kept it does exactly that, and does not ask. Where
by now anything else would be done, it says what, and does nothing.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			saved, err := o.saved(cmd, args)
			if err != nil {
				return err
			}
			p, err := o.open(cmd)
			if err != nil {
				return err
			}
			defer p.Close()
			defer o.bar.End()
			if err := p.Hold(cmd.Context(), "apply"); err != nil {
				return err
			}
			plan, err := o.read(cmd, p)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if o.asJSON.on() {
				out = io.Discard
			}
			if err := o.agree(cmd, out, plan, saved, yes); err != nil {
				return err
			}
			results := o.apply(cmd, p, plan, out)
			if o.asJSON.on() {
				err = o.asJSON.printIndented(cmd.OutOrStdout(), map[string]any{"plan": plan, "results": results, "calls": p.Calls()})
			} else {
				err = printResults(out, plan, results)
			}
			hidden := plan.Hidden()
			err = errors.Join(err, o.report(plan, waiting(results), provision.AnyFailed(results) || hidden != nil), plan.Refused(), hidden)
			switch err := o.keepRecord(cmd, plan, results, true, err); {
			case err != nil:
				return err
			case provision.AnyFailed(results):
				return exitStatus(1)
			case unreachableOK && cmd.Context().Err() == nil:
				return nil
			case provision.Partial(plan, results):
				return exitPartial
			}
			return nil
		},
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&unreachableOK, "unreachable-ok", false, "exit status 0, not 3, where all that is left waits for a Harbor that cannot be reached")
	return cmd
}

// waiting are the changes that an apply has not done.
func waiting(results []provision.Result) (waits []provision.Key) {
	for _, r := range results {
		if r.Outcome != provision.Done {
			waits = append(waits, r.Key)
		}
	}
	return waits
}

// agree shows the plan. It returns nil where it is to be done: somebody has said so, now or of
// the plan that was kept and that this one still is.
func (o *provisioning) agree(cmd *cobra.Command, out io.Writer, plan *provision.Plan, saved *provision.Saved, yes bool) error {
	if saved != nil {
		if differs := saved.Differs(plan); len(differs) > 0 {
			return fmt.Errorf("%s is not what would be done now, and nothing was: plan again\n  %s", cmd.Flags().Arg(0), strings.Join(differs, "\n  "))
		}
		yes = true
	}
	if o.asJSON.on() && !yes {
		return errors.New("--json asks nothing: it needs --yes")
	}
	if err := printPlan(out, plan); err != nil || len(plan.Changes) == 0 || yes {
		return err
	}
	return confirmed(cmd.Context(), cmd.InOrStdin(), out)
}

// confirmed asks on the terminal; only "yes" is one.
func confirmed(ctx context.Context, in io.Reader, out io.Writer) error {
	if _, isFile := in.(*os.File); isFile && !isTerminal(in) {
		return errors.New("there is no terminal to ask on: look at the plan, and run it with --yes")
	}
	fmt.Fprint(out, "\nDo this? Only yes is taken: ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') //nolint:errcheck // an end is a no
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case line := <-answer:
		if line != "yes" {
			return errors.New("nothing was done")
		}
		return nil
	}
}

func provisionLintCommand() *cobra.Command {
	var config string
	var asJSON jsonFlag
	var tags []string
	cmd := &cobra.Command{
		Use:   "lint --config fleet.yaml",
		Short: "Say what Harbor would take and its users would not want",
		Long: `Check the fleet's topology without touching a Harbor: replications that chase each
other, upstreams' limits, unequal quotas, claims that Harbor does not read. With --tags
it says what each replication rule takes of them: patterns are globs, not regular
expressions. Exit status 1 if something cannot work.`,
		Example: "  breakwater provision lint --config fleet.yaml --tags v2.10.1,v2.10.rc,v2.9.0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			found := provision.Lint(f, tags)
			wrong := false
			for _, finding := range provision.Folded(found) {
				wrong = wrong || finding.Error
				if !asJSON.on() {
					fmt.Fprintln(cmd.OutOrStdout(), finding)
				}
			}
			if asJSON.on() {
				if err := asJSON.printIndented(cmd.OutOrStdout(), append([]provision.Finding{}, found...)); err != nil {
					return err
				}
			} else if len(found) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "Nothing to say.")
			}
			if wrong {
				return exitStatus(1)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/breakwater/fleet.yaml", "the fleet file; - reads standard input")
	cmd.Flags().StringSliceVar(&tags, "tags", nil, "tags to try the replication rules on")
	asJSON.register(cmd, "print a JSON array")
	return cmd
}

func writeIndented(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}
