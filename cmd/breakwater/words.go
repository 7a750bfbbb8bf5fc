package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/breakwater/cmd/internal/preflight"
	"example.org/breakwater/gslb"
	"example.org/breakwater/gslb/parent"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// word is what may stand in a place of a command line, for faults and for completion.
type word struct {
	what  string                      // as a fault names it
	files string                      // it is a file, whose name ends so; "*": in any way
	oneOf []string                    // all that may stand there
	among func(*fleet.Fleet) []string // what a fleet file has for it, or for its beginning; what is to be said of one is behind a tab
	also  bool                        // other words may stand there too
	open  bool                        // more is to follow what is in among
	valid func(string) bool           // where there are too many to list
	like  string                      // how such a one is written
}

// argumentWords are the arguments, as usage lines name them.
func argumentWords() map[string]word {
	return map[string]word{
		"DATACENTER": {what: "datacenter", among: datacenterNames},
		"up|down":    {what: "state", oneOf: []string{string(gslb.Up), string(gslb.Down)}, also: true},
		"REFERENCE":  {what: "image", among: projectNames, also: true, open: true},
		"REPO":       {what: "repository", among: projectNames, also: true, open: true},
		"ROBOT":      {what: "robot", among: robotNames, also: true},
		"DIGEST":     {what: "digest", valid: isDigest, like: "sha256: and 64 hexadecimal digits"},
		"FILE":       {what: "file", files: "*"},
		"PLAN":       {what: "plan", files: "json"},
		"DIRECTORY":  {what: "directory", files: "*"},
	}
}

// flagWords are the flags that have words of their own: of one command, or of all.
func flagWords() map[string]word {
	datacenter := word{what: "datacenter", among: datacenterNames}
	judged := datacenter
	judged.also = true // whoever takes it says what is wrong
	client := word{what: "client", valid: isClient, like: "an address or a network, as 203.0.113.7 or 203.0.113.0/24"}
	file := word{what: "file", files: "*"}
	return map[string]word{
		"--config": {what: "fleet file", files: "yaml"}, "--out": file, "--ca": file, "--key": file, "--metrics": file,
		"init --datacenter": {}, "init --project": {}, "init --edge": {}, "init --cache": {}, "content --project": {},
		"--datacenter": judged, "plan --datacenter": datacenter, "apply --datacenter": datacenter, "refill --from": datacenter,
		"--project":   {what: "multi-dc project", among: multiDCNames},
		"--zone":      {what: "zone", among: zoneNames, also: true},
		"--name":      {what: "name", among: zoneNames, also: true},
		"--client":    client,
		"hosts --for": {what: "engine", oneOf: slices.Sorted(maps.Keys(engines))},
		"show --for":  {what: "form", oneOf: parent.Forms},
		"check --for": parts(), "doctor --for": parts(),
		"--platform": {what: "platform", oneOf: []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/ppc64le", "linux/riscv64", "linux/s390x"}, also: true},
	}
}

// wordOf is what may be the value of a flag.
func wordOf(cmd *cobra.Command, flag string) word {
	all := flagWords()
	if w, own := all[cmd.Name()+" --"+flag]; own {
		return w
	}
	return all["--"+flag]
}

func parts() word {
	var all []string
	for _, p := range preflight.Parts {
		all = append(all, string(p))
	}
	return word{what: "part of a machine", oneOf: all}
}

func datacenterNames(f *fleet.Fleet) (all []string) {
	for _, name := range f.Order {
		if dc := f.Datacenters[name]; dc != nil {
			all = append(all, name+"\t"+dc.Role)
		}
	}
	return all
}

func multiDCNames(f *fleet.Fleet) []string { return slices.Sorted(maps.Keys(f.Projects.MultiDC.Items)) }

// projectNames are what images of the fleet begin with.
func projectNames(f *fleet.Fleet) (all []string) {
	for name, cache := range f.Projects.Cache.Items {
		of := ""
		if cache != nil {
			of = "\tof " + string(cache.Endpoint)
		}
		all = append(all, f.Project(naming.Cache, name)+"/"+of)
	}
	for _, name := range multiDCNames(f) {
		all = append(all, f.Project(naming.MultiDC, name)+"/")
	}
	for name := range f.Projects.Repl.Items {
		all = append(all, f.Project(naming.Repl, name)+"/")
	}
	slices.Sort(all)
	return all
}

func robotNames(f *fleet.Fleet) []string {
	return []string{"sync", "readonly", "readwrite", cmp.Or(f.Edge.Robot.Name, "breakwater-edge")}
}

func zoneNames(f *fleet.Fleet) (all []string) {
	if f.Domain != "" {
		all = append(all, f.Domain)
	}
	if f.GSLB != nil {
		all = append(all, slices.Sorted(maps.Keys(f.GSLB.Names))...)
	}
	return all
}

func isDigest(text string) bool {
	algorithm, digits, _ := strings.Cut(text, ":")
	sum, err := hex.DecodeString(digits)
	return err == nil && len(sum) == map[string]int{"sha256": 32, "sha512": 64}[algorithm] && len(sum) > 0
}

func isClient(text string) bool {
	_, err := gslb.ClientNetwork(text)
	return err == nil
}

// maxListed is how many words a fault lists.
const maxListed = 20

// known are the words that may stand there by the fleet file; ok is false where it cannot say so.
func (w word) known(file string) (all []string, ok bool) {
	if w.among == nil {
		return w.oneOf, w.oneOf != nil
	}
	f, err := fleet.ReadFile(file)
	if err != nil { // what is wrong with it is said by who works with it
		return nil, false
	}
	for _, choice := range w.among(f) {
		name, _, _ := strings.Cut(choice, "\t")
		all = append(all, name)
	}
	return all, true
}

// check is the fault of a text where the word is to stand; "": there is none, or the fleet
// file, which is read only where it matters, cannot say so.
func (w word) check(text, file string) string {
	if w.valid != nil && !w.valid(text) {
		return fmt.Sprintf("%q is no %s; write %s", text, w.what, w.like)
	}
	if w.also {
		return ""
	}
	known, ok := w.known(file)
	switch {
	case !ok || slices.Contains(known, text):
		return ""
	case w.among == nil:
		return fmt.Sprintf("%q is no %s; want one of %s", text, w.what, listed(known))
	}
	return fmt.Sprintf("%q is no %s of %s; it has %s", text, w.what, filepath.Base(file), listed(known))
}

// missing is what may stand where a word is missing, as the end of a sentence.
func (w word) missing(file string) string {
	known, ok := w.known(file)
	switch {
	case w.like != "":
		return "; write " + w.like
	case !ok || len(known) == 0:
		return ""
	case w.among == nil:
		return "; want one of " + listed(known)
	}
	return "; " + filepath.Base(file) + " has " + listed(known)
}

func listed(known []string) string {
	switch more := len(known) - maxListed; {
	case len(known) == 0:
		return "none"
	case more > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(known[:maxListed], ", "), more)
	}
	return strings.Join(known, ", ")
}

// configOf is the fleet file that a command line names; "": it names none that can be read twice.
func configOf(cmd *cobra.Command) string {
	if config := cmd.Flags().Lookup("config"); config != nil && config.Value.String() != "-" {
		return config.Value.String()
	}
	return ""
}

// wrongWords is the misuse of a command whose arguments or flags have what cannot stand there.
func wrongWords(cmd *cobra.Command, args []string) (err error) {
	file := configOf(cmd)
	for i, text := range args {
		if fault := argumentWords()[placeAt(cmd, i).name].check(text, file); fault != "" {
			return misused(cmd, "%s", fault)
		}
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		texts := []string{f.Value.String()}
		if list, of := f.Value.(pflag.SliceValue); of {
			texts = list.GetSlice()
		}
		for _, text := range texts {
			if fault := wordOf(cmd, f.Name).check(text, file); fault != "" && err == nil {
				err = misused(cmd, "--%s: %s", f.Name, fault)
			}
		}
	})
	return err
}
