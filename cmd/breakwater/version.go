package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"example.org/breakwater/internal/daemon"
)

func versionCommand() *cobra.Command {
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what it was built from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
	asJSON.register(cmd, "print one JSON object: version, commit, date, go, platform")
	return cmd
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
