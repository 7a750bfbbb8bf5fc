package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/preflight"
	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/provision"
)

func checkCommand() *cobra.Command {
	var config string
	var asJSON jsonFlag
	var flags preflightFlags
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a fleet file, and print what it describes",
		Long: `Check a fleet file without touching anything else. Everything that is wrong is
reported in one run, a line a fault, as "file:line: field: what is wrong; what to
do", and the exit status is 1. The file is FILE or --config; "-" is standard input.
Of secrets it reads only the keys that daemons share, where this machine has them in a file or in the
environment: they must not be too short, and those that zones are signed with must be such keys, and
nobody else's to read.

With --datacenter it also looks at what the file says of this machine, without a
network: files, the certificate, secrets in files and the environment, the store's disk,
ports. The exit status is then 1 with a fault and 2 with warnings only; "breakwater
doctor" tries the rest.`,
		Example: `  breakwater check /etc/breakwater/fleet.yaml
  breakwater check /etc/breakwater/fleet.yaml --datacenter par1
  breakwater check --json - < fleet.yaml | jq '.faults[].message'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files := args
			if cmd.Flags().Changed("config") {
				files = append(files, config)
			}
			switch len(files) {
			case 0:
				return misused(cmd, "FILE is missing")
			case 2:
				return misused(cmd, "want the fleet file once: FILE or --config")
			}
			f, err := readFleet(cmd.InOrStdin(), files[0])
			if err == nil {
				err = checkKeys(cmd.Context(), f, files[0])
			}
			if asJSON.on() && (err != nil || flags.datacenter == "") {
				return printJSON(&asJSON, cmd.OutOrStdout(), f, nil, err)
			}
			if err != nil {
				return err
			}
			if flags.datacenter == "" {
				return printFleet(cmd.OutOrStdout(), f)
			}
			return checkMachine(cmd, f, &flags, &asJSON)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file, as other commands have it; - reads standard input")
	asJSON.register(cmd, "print one JSON object: ok, faults, notes, datacenters, projects, and with --datacenter machine")
	flags.register(cmd)
	return cmd
}

// checkMachine looks at what the file says of this machine, too.
func checkMachine(cmd *cobra.Command, f *fleet.Fleet, flags *preflightFlags, asJSON *jsonFlag) error {
	cfg, err := flags.config(f)
	if err != nil {
		return err
	}
	cfg.Depth = preflight.Offline
	found, err := preflight.Run(cmd.Context(), cfg)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	out := cmd.OutOrStdout()
	if asJSON.on() {
		if err := printJSON(asJSON, out, f, found, nil); err != nil {
			return err
		}
		return printPreflight(io.Discard, found, nil)
	}
	if err := printFleet(out, f); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return printPreflight(out, found, nil)
}

// checkKeys judges the keys that daemons share, as far as they can be read here.
func checkKeys(ctx context.Context, f *fleet.Fleet, name string) error {
	secrets, err := secret.New(new(fleet.Fleet)) // there is no Vault in it: nobody is asked
	if err != nil {
		return err
	}
	refs := map[string]fleet.Ref{"edge.peers.key": f.Edge.Peers.Key, "edge.peers.previous_key": f.Edge.Peers.PreviousKey}
	if f.GSLB != nil {
		refs["gslb.key"], refs["gslb.previous_key"] = f.GSLB.Key, f.GSLB.PreviousKey
	}
	var faults fleet.Faults
	for _, field := range slices.Sorted(maps.Keys(refs)) {
		key, err := secrets.Get(ctx, refs[field])
		if err != nil || refs[field].IsZero() {
			continue
		}
		if err := keyring.Check(key); err != nil {
			faults = append(faults, fleet.Fault{File: fileName(name), Line: f.Line(field), Field: field, Message: err.Error()})
		}
	}
	_, signing := wire.SigningKeys(f)
	for _, fault := range signing {
		if !errors.Is(fault, fs.ErrNotExist) && !errors.Is(fault, fs.ErrPermission) { // it is on name servers alone
			faults = append(faults, fleet.Fault{File: fileName(name), Line: f.Line(fault.Field), Field: fault.Field, Message: fault.Error()})
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

type project struct {
	Name   string   `json:"name"`
	Source string   `json:"source,omitempty"`
	Homes  []string `json:"homes,omitempty"` // the datacenters whose Harbors hold it, where not all do
}

type datacenter struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	Edge   string `json:"edge,omitempty"`
	Harbor string `json:"harbor"`
}

func describe(f *fleet.Fleet) (datacenters []datacenter, projects []project) {
	for name, dc := range f.Datacenters {
		datacenters = append(datacenters, datacenter{name, dc.Role, string(dc.Edge), string(dc.Harbor)})
	}
	slices.SortFunc(datacenters, func(a, b datacenter) int { return strings.Compare(a.Name, b.Name) })
	for name := range f.Projects.MultiDC.Items {
		where, homes := "all datacenters", f.Homes(name)
		if homes != nil {
			where = strings.Join(homes, ", ")
		}
		projects = append(projects, project{"multi-dc-" + name, "replicated between " + where, homes})
	}
	for name, c := range f.Projects.Cache.Items {
		projects = append(projects, project{"cache-" + name, "proxy cache of " + string(c.Endpoint), nil})
	}
	for name, r := range f.Projects.Repl.Items {
		projects = append(projects, project{"repl-" + name, provision.Counted(len(r.Images), "image") + " by pattern", nil})
	}
	slices.SortFunc(projects, func(a, b project) int { return strings.Compare(a.Name, b.Name) })
	return datacenters, projects
}

// advise says what can be so and is seldom meant, though nothing in the file is wrong.
func advise(f *fleet.Fleet) (notes []string) {
	for _, note := range f.Notes {
		notes = append(notes, note.String())
	}
	for _, finding := range provision.Folded(append(provision.Lint(f, nil), provision.Assumed(f)...)) {
		notes = append(notes, finding.Field+": "+finding.Message)
	}
	return notes
}

func printFleet(w io.Writer, f *fleet.Fleet) error {
	datacenters, projects := describe(f)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s is a fleet of %s and %s.\n\n", f.Domain, provision.Counted(len(datacenters), "datacenter"), provision.Counted(len(projects), "project"))
	fmt.Fprintln(t, "DATACENTER\tROLE\tHARBOR\tEDGE")
	for _, d := range datacenters {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Name, d.Role, d.Harbor, d.Edge)
	}
	fmt.Fprintln(t, "\nPROJECT\tWHAT IT IS")
	for _, p := range projects {
		fmt.Fprintf(t, "%s\t%s\n", p.Name, p.Source)
	}
	if a := f.Projects.Artifactory; a != nil {
		fmt.Fprintf(t, "cache-<key>\teach local Docker repository of %s\n", a.URL)
	}
	for _, note := range advise(f) {
		fmt.Fprintf(t, "\nnote: %s\n", note)
	}
	return t.Flush()
}

// errFaults ends the command with status 1 after its JSON has said why.
var errFaults = errors.New("the fleet file has faults")

func printJSON(asJSON *jsonFlag, w io.Writer, f *fleet.Fleet, found []preflight.Finding, err error) error {
	var faults fleet.Faults
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	report := map[string]any{"ok": err == nil && preflight.Worst(found) != preflight.Bad, "faults": append(fleet.Faults{}, faults...)}
	if f != nil {
		report["datacenters"], report["projects"] = describe(f)
		report["notes"] = append([]string{}, advise(f)...)
	}
	if found != nil {
		report["machine"] = found
	}
	if e := asJSON.printIndented(w, report); e != nil {
		return e
	}
	if err != nil {
		return errFaults
	}
	return nil
}
