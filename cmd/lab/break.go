package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/asjson"
)

// acting are the flags of the commands that act on a lab that runs.
type acting struct {
	dir    string
	watch  time.Duration
	asJSON bool
}

// actingCommand is a command that has the lab do what verb and its arguments say, and then shows
// what clients see.
func actingCommand(verb string, atLeast, atMost int, cmd *cobra.Command) *cobra.Command {
	var a acting
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) < atLeast || len(args) > atMost {
			example, _, _ := strings.Cut(strings.TrimSpace(cmd.Example), "\n")
			return fmt.Errorf("lab %s takes other words: %s, as in %s", verb, cmd.Use, example)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, _, err := findLab(ctx, a.dir)
		if err != nil {
			return err
		}
		s, err := c.do(ctx, append([]string{verb}, args...)...)
		if err != nil {
			return err
		}
		out := newScreen(cmd.OutOrStdout(), a.asJSON)
		out.conditions(&s.Conditions)
		if a.watch > 0 {
			err = watch(ctx, &s.Lab, a.watch, out)
		}
		return err
	}
	a.flags(cmd)
	cmd.Flags().DurationVar(&a.watch, "for", 20*time.Second, "how long to show what clients see; 0: not at all")
	return cmd
}

func (a *acting) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.dir, "lab", "", "the directory of the lab, where several run")
	cmd.Flags().BoolVar(&a.asJSON, "json", false, "print JSON objects, one a line")
	cmd.MarkFlagDirname("lab") //nolint:errcheck // the flag is there
}

// completing lets shells complete arguments: each list has the words for one place. No word is
// offered twice, and after the last list none.
func completing(lists ...[]string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, text string) (words []string, _ cobra.ShellCompDirective) {
		if len(args) < len(lists) {
			for _, word := range lists[len(args)] {
				if strings.HasPrefix(word, text) && !slices.Contains(args, word) {
					words = append(words, word)
				}
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

const whatIsShown = `

Then it shows what clients of each datacenter see, a line whenever that changes: the pull of an image by
its tag, and the push of one, at the datacenter's edge. What is broken stays so until lab heal.`

func breakCommand() *cobra.Command {
	return actingCommand("break", 2, 2, &cobra.Command{
		Use:               "break harbor|edge DATACENTER",
		ValidArgsFunction: completing(parts, placeNames()),
		Short:             "Take a Harbor or an edge away: connections are refused",
		Long:              `Take the Harbor or the edge of a datacenter away: connections are refused.` + whatIsShown,
		Example: `  go run ./cmd/lab break harbor par1
  go run ./cmd/lab break edge mad1 --for 1m`,
	})
}

func partitionCommand() *cobra.Command {
	return actingCommand("partition", 2, 2, &cobra.Command{
		Use:               "partition DATACENTER DATACENTER",
		ValidArgsFunction: completing(placeNames(), placeNames()),
		Short:             "Let nothing pass between two datacenters",
		Long: `Let nothing pass between two datacenters, in either direction: edges do not reach each other, replications
not the other Harbor, name servers see no edge there. Packets are dropped, so what is asked hangs. Clients
reach both.` + whatIsShown,
		Example: `  go run ./cmd/lab partition par1 mad1`,
	})
}

func slowCommand() *cobra.Command {
	return actingCommand("slow", 2, 2, &cobra.Command{
		Use:               "slow DATACENTER DELAY",
		ValidArgsFunction: completing(placeNames()),
		Short:             "Put a datacenter far away from the others",
		Long:              `Make every byte that goes to a datacenter from the others, or comes from there, late by this much each way.` + whatIsShown,
		Example:           `  go run ./cmd/lab slow mad1 40ms`,
	})
}

func wipeCommand() *cobra.Command {
	return actingCommand("wipe", 1, 1, &cobra.Command{
		Use:               "wipe DATACENTER",
		ValidArgsFunction: completing(placeNames()),
		Short:             "Make a Harbor a fresh one: no projects, robots or images",
		Long:              `Make the Harbor of a datacenter one that was just installed: it has no projects, robots or images.` + whatIsShown,
		Example:           `  go run ./cmd/lab wipe par1`,
	})
}

func backupCommand() *cobra.Command {
	return actingCommand("backup", 1, 1, &cobra.Command{
		Use:               "backup DATACENTER",
		ValidArgsFunction: completing(placeNames()),
		Short:             "Make a backup of a Harbor, for restore",
		Long:              `Make a backup of the Harbor of a datacenter, in the place of the one before, for lab restore.`,
		Example:           `  go run ./cmd/lab backup par1 --for 0s`,
	})
}

func restoreCommand() *cobra.Command {
	return actingCommand("restore", 1, 1, &cobra.Command{
		Use:               "restore DATACENTER",
		ValidArgsFunction: completing(placeNames()),
		Short:             "Make a Harbor what it was at its backup",
		Long:              `Make the Harbor of a datacenter what it was when lab backup was said last.` + whatIsShown,
		Example:           `  go run ./cmd/lab restore par1`,
	})
}

func healCommand() *cobra.Command {
	return actingCommand("heal", 0, 2, &cobra.Command{
		Use:               "heal [harbor|edge] [DATACENTER [DATACENTER]]",
		ValidArgsFunction: completing(slices.Concat(parts, placeNames()), placeNames()),
		Short:             "Make all well again, or what is named",
		Long: `Make all well again; or a Harbor, an edge, all of one datacenter, the way between two.

Then it shows what clients see, a line whenever that changes.`,
		Example: `  go run ./cmd/lab heal
  go run ./cmd/lab heal harbor par1
  go run ./cmd/lab heal par1 mad1
  go run ./cmd/lab heal mad1`,
	})
}

func statusCommand() *cobra.Command {
	var a acting
	cmd := &cobra.Command{
		Use: "status", Short: "Say what is broken in the lab, and where everything is",
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true, ValidArgsFunction: completing(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, s, err := findLab(cmd.Context(), a.dir)
			if err != nil {
				return err
			}
			if a.asJSON {
				return asjson.Print(cmd.OutOrStdout(), s)
			}
			newScreen(cmd.OutOrStdout(), false).conditions(&s.Conditions)
			fmt.Fprintln(cmd.OutOrStdout())
			return s.Lab.table(cmd.OutOrStdout())
		},
	}
	a.flags(cmd)
	return cmd
}

// screen is where what clients see is shown, to people or to machines.
type screen struct {
	w      io.Writer
	asJSON bool
	titled bool
}

func newScreen(w io.Writer, asJSON bool) *screen {
	return &screen{w: w, asJSON: asJSON}
}

func (s *screen) json(v any) bool {
	if s.asJSON {
		asjson.Print(s.w, v) //nolint:errcheck // the terminal is gone
	}
	return s.asJSON
}

func (s *screen) conditions(c *conditions) {
	if !s.json(map[string]any{"conditions": c}) {
		for _, sentence := range c.sentences() {
			fmt.Fprintln(s.w, sentence)
		}
	}
}

// change shows an observation that differs from the one before.
func (s *screen) change(o observation) {
	if s.json(o) {
		return
	}
	if !s.titled {
		fmt.Fprintf(s.w, "\n%-8s  %-10s  %-4s  %-34s  %-28s  %7s\n", "TIME", "DATACENTER", "WHAT", "RESULT", "FROM", "MS")
		s.titled = true
	}
	fmt.Fprintf(s.w, "%-8s  %-10s  %-4s  %-34s  %-28s  %7d\n", o.Time.Format(time.TimeOnly), o.Datacenter, o.What, o.Result, o.From, o.Milliseconds)
}

func (s *screen) summary(all []tally) {
	if s.json(map[string]any{"summary": all}) {
		return
	}
	fmt.Fprintf(s.w, "\n%-10s  %-4s  %5s  %6s  %10s\n", "DATACENTER", "WHAT", "TIMES", "FAILED", "SLOWEST MS")
	for _, t := range all {
		fmt.Fprintf(s.w, "%-10s  %-4s  %5d  %6d  %10d\n", t.Datacenter, t.What, t.Times, t.Failed, t.Slowest)
	}
}
