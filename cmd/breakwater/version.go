package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/provision"
)

func versionCommand() *cobra.Command {
	var asJSON jsonFlag
	var check bool
	var config string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what it was built from; or those of all nodes",
		Long: `Print the version of this program, and what it was built from.

With --check every edge and name server of the fleet is asked for its version, as
"breakwater status" asks them: with edge.peers.key and gslb.key. The exit status is 1
where they do not all run the same one, or one of them does not say.`,
		Example: `  breakwater version
  breakwater version --check --config /etc/breakwater/fleet.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case check:
				return checkVersions(cmd, config, &asJSON)
			case cmd.Flags().Changed("config"):
				return misused(cmd, "--config is for --check")
			}
			b := daemon.ReadBuild()
			if asJSON.on() {
				return asJSON.print(cmd.OutOrStdout(), b)
			}
			text := "breakwater " + b.Version
			if b.Commit != "" {
				text += " (" + b.Commit[:min(12, len(b.Commit))] + ")"
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), text, b.Go, b.Platform)
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "ask all edges and name servers of the fleet for theirs, and say who differs")
	cmd.Flags().StringVar(&config, "config", defaultConfig, "the fleet file; with --check")
	asJSON.register(cmd, "print one JSON object: version, commit, date, go, platform; with --check here, alike, nodes, differences")
	return cmd
}

// versions are those of a fleet.
type versions struct {
	Here        string           `json:"here"`  // of this program
	Alike       bool             `json:"alike"` // all nodes say the same one
	Nodes       []status.Running `json:"nodes"`
	Differences []string         `json:"differences"` // a sentence a version, where there are several
}

// checkVersions asks all nodes for their versions.
func checkVersions(cmd *cobra.Command, config string, asJSON *jsonFlag) error {
	f, err := fleet.ReadFile(config)
	if err != nil {
		return err
	}
	asker := &status.Asker{Fleet: f, From: steer.Operator(), Base: status.Runbooks}
	told := asker.Ask(cmd.Context())
	if err := cmd.Context().Err(); err != nil { // what was cut short says nothing
		return err
	}
	v := versions{Here: daemon.Version(), Nodes: append([]status.Running{}, told.Running()...)}
	v.Differences = append([]string{}, status.Differences(v.Nodes)...)
	silent := 0
	for _, r := range v.Nodes {
		if r.Version == "" {
			silent++
		}
	}
	v.Alike = len(v.Nodes) > 0 && silent == 0 && len(v.Differences) == 0
	if asJSON.on() {
		err = asJSON.printIndented(cmd.OutOrStdout(), v)
	} else {
		err = v.print(cmd.OutOrStdout(), silent)
	}
	if err == nil && !v.Alike {
		err = exitStatus(1)
	}
	return err
}

func (v versions) print(out io.Writer, silent int) error {
	var rows [][]string
	for _, r := range v.Nodes {
		rows = append(rows, []string{r.Node, cmp.Or(r.Version, "?"), r.Why})
	}
	if err := table(out, "NODE\tVERSION\tWHY NOT", rows); err != nil {
		return err
	}
	for _, sentence := range v.Differences {
		fmt.Fprintln(out, sentence)
	}
	text := ""
	switch {
	case len(v.Nodes) == 0:
		text = "The fleet file says of no node where it is."
	case silent > 0:
		text = provision.Counted(silent, "node") + " of " + fmt.Sprint(len(v.Nodes)) + " did not say which version it runs."
	case v.Alike:
		text = "All nodes run " + v.Nodes[0].Version + "."
		if v.Here != v.Nodes[0].Version {
			text += " This program is " + v.Here + "."
		}
	default:
		return nil
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// manCommand writes the manual pages for who packs a release.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write a manual page for every command",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same pages from the same commit
			plainText(root)
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "breakwater " + daemon.Version(), Manual: "breakwater"}, args[0])
		},
	}
}

// plainText keeps what is marked up in manual pages, and means itself in our texts.
func plainText(cmd *cobra.Command) {
	cmd.Long = strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`).Replace(cmd.Long)
	for _, c := range cmd.Commands() {
		plainText(c)
	}
}
