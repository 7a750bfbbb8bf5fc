package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// tally is what became of one package's mutants.
type tally struct {
	Package   string    `json:"package"`
	Mutants   int       `json:"mutants"`
	Killed    int       `json:"killed"`    // those that took too long included
	TimedOut  int       `json:"timed_out"` // took too long
	Survivors []*mutant `json:"survivors"`
}

func (t *tally) count(m *mutant, f fate) {
	if f == stillborn {
		return
	}
	t.Mutants++
	switch f {
	case survived:
		t.Survivors = append(t.Survivors, m)
	case timedOut:
		t.TimedOut++
		t.Killed++
	default:
		t.Killed++
	}
}

// result is all that is printed.
type result struct {
	Seed     uint64   `json:"seed"`
	Packages []*tally `json:"packages"`
}

func (r *result) print(w io.Writer, asJSON bool) error {
	slices.SortFunc(r.Packages, func(a, b *tally) int { return cmp.Compare(a.Package, b.Package) })
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	all := tally{Package: "all"}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "seed %d\npackage\tmutants\tkilled\tby time\tsurvived\t%%\n", r.Seed)
	for _, t := range r.Packages {
		t.row(table)
		all.Mutants += t.Mutants
		all.Killed += t.Killed
		all.TimedOut += t.TimedOut
		all.Survivors = append(all.Survivors, t.Survivors...)
	}
	all.row(table)
	if err := table.Flush(); err != nil {
		return err
	}
	for _, m := range all.Survivors {
		if _, err := fmt.Fprintln(w, m); err != nil {
			return err
		}
	}
	return nil
}

func (t *tally) row(w io.Writer) {
	if t.Mutants > 0 { // the time was over before the others' turn
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.0f\n", t.Package, t.Mutants, t.Killed, t.TimedOut, len(t.Survivors), 100*float64(t.Killed)/float64(t.Mutants))
	}
}
