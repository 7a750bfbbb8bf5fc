package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/breakwater/internal/naming"
)

// exitUsage is the status after a command line that was not understood. Where a command says
// something else by it, that is a failure like others: nobody is to read "warnings only" of it.
const exitUsage exitStatus = 2

// otherwise2 are the commands whose status 2 has a meaning of its own.
var otherwise2 = []string{"check", "doctor", "provision", "status"}

// misuse is what is wrong with a command line.
type misuse struct {
	cmd     *cobra.Command
	message string
}

func (m misuse) Error() string { return m.message + "\nusage: " + usageLine(m.cmd) }

func misused(cmd *cobra.Command, format string, args ...any) error {
	return misuse{cmd, fmt.Sprintf(format, args...)}
}

func (m misuse) status() exitStatus {
	for c := m.cmd; c != nil; c = c.Parent() {
		if c.HasParent() && !c.Parent().HasParent() && slices.Contains(otherwise2, c.Name()) {
			return 1
		}
	}
	return exitUsage
}

// explainMisuse lets a command, and all below it, say what is wrong with their command
// line, and show how it is written.
func explainMisuse(root *cobra.Command) {
	root.SetFlagErrorFunc(flagMisuse)
	if take := root.Args; take != nil {
		root.Args = func(cmd *cobra.Command, args []string) error { return argumentMisuse(cmd, args, take(cmd, args)) }
	}
	root.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := missingFlags(cmd); err != nil {
			return err
		}
		return wrongWords(cmd, args)
	}
	for _, below := range root.Commands() {
		explainMisuse(below)
	}
}

// usageLine is how the command is written.
func usageLine(cmd *cobra.Command) string {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		return cmd.CommandPath() + " COMMAND"
	}
	return cmd.UseLine()
}

// missingFlags names the flags that a command cannot do without.
func missingFlags(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if len(f.Annotations[cobra.BashCompOneRequiredFlag]) > 0 && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	switch len(missing) {
	case 0:
	case 1:
		return misused(cmd, "%s is missing", missing[0])
	default:
		return misused(cmd, "%s are missing", strings.Join(missing, " and "))
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		return misused(cmd, "%s", err)
	}
	return nil
}

// takesWords marks, as an annotation, a command that has others below it and takes arguments too.
const takesWords = "takes words"

// unknownCommand is the misuse of args where a word of them is to be a command and is
// none, wherever among flags it stands.
func unknownCommand(root *cobra.Command, args []string) error {
	cmd, rest, _ := root.Find(args) // with an error: as far as it came
	if !cmd.HasSubCommands() || cmd.Annotations[takesWords] != "" || len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return nil
	}
	for i := 0; i < len(rest); i++ {
		word := rest[i]
		switch {
		case word == "--":
			return nil
		case !strings.HasPrefix(word, "-"):
			switch {
			case word != "help":
				return noSuchCommand(cmd, word)
			case cmd != root:
				return misused(cmd, "for help say: %s help %s", root.Name(), strings.TrimPrefix(cmd.CommandPath(), root.Name()+" "))
			}
			return unknownCommand(root, rest[i+1:])
		case !strings.Contains(word, "=") && takesValue(cmd, strings.TrimLeft(word, "-")):
			i++
		}
	}
	return nil
}

// takesValue reports whether a flag of the command, or of one below it, has a value after
// it. One that nobody knows is taken to have one.
func takesValue(cmd *cobra.Command, name string) bool {
	if name == "help" || name == "h" || name == "version" || name == "v" {
		return false
	}
	if f := flagBelow(cmd, name); f != nil {
		return f.NoOptDefVal == ""
	}
	return true
}

func flagBelow(cmd *cobra.Command, name string) *pflag.Flag {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	for _, c := range cmd.Commands() {
		if f := flagBelow(c, name); f != nil {
			return f
		}
	}
	return nil
}

func noSuchCommand(cmd *cobra.Command, word string) error {
	text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), word)
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	if best := naming.Nearest(word, known); best != "" {
		return misused(cmd, "%s; do you mean %s?", text, best)
	}
	return misused(cmd, "%s; it has %s", text, strings.Join(known, ", "))
}

// argumentMisuse names the arguments that are missing, or are too many. The usage line
// has their names.
func argumentMisuse(cmd *cobra.Command, args []string, err error) error {
	if err == nil {
		return nil
	}
	all := placesOf(cmd)
	switch {
	case len(args) < len(all) && all[len(args)].required:
		return misused(cmd, "%s is missing%s", all[len(args)], argumentWords()[all[len(args)].name].missing(configOf(cmd)))
	case len(args) > len(all) && (len(all) == 0 || !all[len(all)-1].again):
		return misused(cmd, "%q is an argument too many", args[len(all)])
	}
	return misused(cmd, "%s", err)
}

// place is an argument in a command's usage line: DATACENTER, [FILE], REFERENCE….
type place struct {
	name     string // without what says that it may be left out, or again
	required bool
	again    bool
}

func (p place) String() string {
	if p.again {
		return p.name + "…"
	}
	return p.name
}

// placesOf are those of a command's usage line: "drain --config fleet.yaml DATACENTER" has
// one. What follows a flag is its value; a flag in brackets stands before arguments that it takes.
func placesOf(cmd *cobra.Command) (all []place) {
	words := strings.Fields(cmd.Use)
	for i := 1; i < len(words); i++ {
		name := strings.TrimRight(strings.TrimLeft(words[i], "["), "…]")
		switch {
		case strings.HasPrefix(words[i], "-"):
			i++
		case strings.HasPrefix(name, "-") || name == "":
		default:
			all = append(all, place{name, !strings.HasPrefix(words[i], "["), strings.Contains(words[i], "…")})
		}
	}
	return all
}

// placeAt is the place of an argument; the zero one where there is none.
func placeAt(cmd *cobra.Command, i int) place {
	all := placesOf(cmd)
	switch last := len(all) - 1; {
	case i <= last:
		return all[i]
	case last >= 0 && all[last].again:
		return all[last]
	}
	return place{}
}

// flagMisuse says which flag is meant by one that there is not.
func flagMisuse(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return misused(cmd, "--%s: %q is no %s", invalid.GetFlag().Name, invalid.GetValue(), kindOf(invalid.GetFlag()))
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return misused(cmd, "%s", err)
	}
	name := unknown.GetSpecifiedName()
	if f := flagBelow(cmd, name); f != nil {
		return misused(cmd, "--%s is a flag of commands below %s; name the command first", name, cmd.CommandPath())
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	dashes := "--"
	if unknown.GetSpecifiedShortnames() != "" {
		dashes = "-"
	}
	if best := naming.Nearest(name, known); best != "" {
		return misused(cmd, "%s has no flag %s%s; do you mean --%s?", cmd.CommandPath(), dashes, name, best)
	}
	return misused(cmd, "%s has no flag %s%s; it has --%s", cmd.CommandPath(), dashes, name, strings.Join(known, ", --"))
}

// kindOf is what a flag takes, in words.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "duration; write one as 90s, 15m or 2h"
	case "int":
		return "whole number"
	case "bool":
		if f.Name == "json" {
			return "form of it; write --json, or --json=envelope"
		}
		return "yes or no; write the flag alone, or =true or =false behind it"
	}
	return f.Value.Type()
}
