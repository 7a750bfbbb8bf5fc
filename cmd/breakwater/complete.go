package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/breakwater/internal/fleet"
)

// defaultConfig is where completion looks for the fleet file that a command line does not name.
const defaultConfig = "/etc/breakwater/fleet.yaml"

// complete lets shells complete the arguments and flags of a command, and of all below it.
// Nobody is asked over a network, and a fleet file with faults is read as far as it goes.
func complete(root *cobra.Command) {
	if root.ValidArgsFunction == nil && len(root.ValidArgs) == 0 {
		root.ValidArgsFunction = completeArgument
	}
	root.LocalFlags().VisitAll(func(f *pflag.Flag) {
		root.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) { //nolint:errcheck // the flag is there, and has none yet
			return completeFlag(cmd, args, f, text)
		})
	})
	for _, below := range root.Commands() {
		complete(below)
	}
}

func completeArgument(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	return argumentWords()[placeAt(cmd, len(args)).name].complete(cmd, args, text, args)
}

// completeFlag completes a flag's value; of a list, what follows the last comma.
func completeFlag(cmd *cobra.Command, args []string, f *pflag.Flag, text string) ([]string, cobra.ShellCompDirective) {
	w := wordOf(cmd, f.Name)
	comma := strings.LastIndexByte(text, ',')
	if f.Value.Type() != "stringSlice" || comma < 0 {
		return w.complete(cmd, args, text, nil)
	}
	all, directive := w.complete(cmd, args, text[comma+1:], strings.Split(text[:comma], ","))
	for i := range all {
		all[i] = text[:comma+1] + all[i]
	}
	return all, directive
}

// complete gives the words that begin as text does, but for those that stand there already.
func (w word) complete(cmd *cobra.Command, args []string, text string, there []string) (all []string, directive cobra.ShellCompDirective) {
	switch {
	case w.files == "*":
		return nil, cobra.ShellCompDirectiveDefault
	case w.files != "":
		return []string{w.files, "yml"}, cobra.ShellCompDirectiveFilterFileExt
	case w.among == nil && w.oneOf == nil:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	f, choices, domain := new(fleet.Fleet), w.oneOf, ""
	if w.among != nil {
		f = sketchOf(cmd, args)
		choices = w.among(f)
	}
	if w.open && f.Domain != "" && strings.HasPrefix(text, f.Domain+"/") { // as clients write it
		domain = f.Domain + "/"
	}
	for _, choice := range choices {
		name, _, _ := strings.Cut(choice, "\t")
		if strings.HasPrefix(domain+name, text) && !slices.Contains(there, name) {
			all = append(all, domain+choice)
		}
	}
	directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	if w.open {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return all, directive
}

// sketchOf is the fleet file of a command line that is being written: what --config names, or
// an argument that is one.
func sketchOf(cmd *cobra.Command, args []string) *fleet.Fleet {
	name := configOf(cmd)
	if len(args) > 0 && name == "" && placeAt(cmd, 0).name == "FILE" {
		name = args[0]
	}
	if config := cmd.Flags().Lookup("config"); config != nil && config.Value.String() == "-" {
		return new(fleet.Fleet)
	}
	return fleet.Sketch(cmp.Or(name, defaultConfig))
}
