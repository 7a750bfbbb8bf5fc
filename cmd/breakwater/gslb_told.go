package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/gslb"
)

// printTold says what has come of it at each name server. The error is for what is not as
// it was asked for.
func (s steered) printTold(out io.Writer, told []steer.Told, asJSON *jsonFlag, again string) error {
	v := s.verdict(told)
	if asJSON.on() {
		if err := asJSON.print(out, told); err != nil || v.whole() {
			return err
		}
		return exitStatus(1)
	}
	var rows [][]string
	for _, t := range told {
		result, why := s.result(t)
		rows = append(rows, []string{t.Node, result, why})
	}
	if err := table(out, "NODE\tRESULT\tSAFE AT / WHY", rows); err != nil {
		return err
	}
	if v.done == 0 && len(v.troubles) > 0 {
		return s.nothing(append(v.troubles, v.notes...))
	}
	if v.done > 0 {
		fmt.Fprint(out, s.everywhere(v))
	}
	switch {
	case v.whole():
		return nil
	case len(v.untold) == 0 && v.done == 0:
		return fmt.Errorf("%s: nothing was said of datacenter %q on any name server", s.cmd, s.datacenter)
	}
	if why := refusedByAll(told); why != "" {
		return fmt.Errorf("%s: all name servers refuse it: %s", s.cmd, why)
	}
	return errors.New(s.cmd + ": " + v.left() + "\n  " + again)
}

// refusedByAll is why, where all say the same: no time or place makes it another answer.
func refusedByAll(told []steer.Told) string {
	for _, t := range told {
		if t.Steered != nil || t.Nothing || t.Unsure || t.Error != told[0].Error {
			return ""
		}
	}
	return told[0].Error
}

// left says who has not done it, and what to do.
func (v verdict) left() string {
	sure := slices.DeleteFunc(slices.Clone(v.untold), func(node string) bool { return slices.Contains(v.unsure, node) })
	unsure := "it is not known whether the name server of " + strings.Join(v.unsure, ", nor that of ") + " has done it, or does it yet. "
	then := "When it is there again, say it on its machine:"
	switch one := len(v.untold) == 1; {
	case v.travels && one:
		then = "It does it when it hears of it from the others, or when it is said on its machine:"
	case v.travels:
		then = "They do it when they hear of it from the others, or when it is said on each one's machine:"
	case !one:
		then = "When they are there again, say it on each one's machine:"
	}
	text := ""
	switch {
	case len(sure) == 1:
		text = "not done by the name server of " + sure[0] + ": it goes on as before. "
	case len(sure) > 1:
		text = "not done by the name servers of " + strings.Join(sure, ", ") + ": they go on as before. "
	}
	switch {
	case len(v.unsure) == 0:
		return text + then
	case text == "":
		return unsure + then
	}
	return text + "And " + unsure + then
}

// verdict is what has come of it in all.
type verdict struct {
	done            int
	travels         bool     // those who have done it tell the others, as long as they do not have it
	untold          []string // who has not done it
	unsure          []string // who of them may have done it all the same, or do it yet
	troubles, notes []string
	safeAt          time.Time // the latest; zero: not everywhere, or never
	until           time.Time
	answers         []string // of those who have done it, the different ones
}

// whole reports whether all have done it that had something to do.
func (v verdict) whole() bool { return v.done > 0 && len(v.untold) == 0 }

func (s steered) verdict(told []steer.Told) (v verdict) {
	add := func(list *[]string, lines ...string) {
		for _, line := range lines {
			if !slices.Contains(*list, line) {
				*list = append(*list, line)
			}
		}
	}
	safe := true
	for _, t := range told {
		switch d := t.Steered; {
		case d == nil && t.Nothing:
		case d == nil:
			add(&v.untold, t.Node)
			if t.Unsure {
				add(&v.unsure, t.Node)
			}
		default:
			add(&v.troubles, d.Troubles...)
			add(&v.notes, d.Notes...)
			if !d.Done {
				add(&v.untold, t.Node)
				continue
			}
			v.done++
			v.travels = v.travels || d.Travels
			v.until = d.Until
			safe = safe && !d.SafeAt.IsZero()
			if d.SafeAt.After(v.safeAt) {
				v.safeAt = d.SafeAt
			}
			for _, a := range d.Answers {
				add(&v.answers, a.Sentence)
			}
		}
	}
	if !safe || len(v.untold) > 0 {
		v.safeAt = time.Time{}
	}
	return v
}

// result is what has come of it at one name server, and when it is safe there or why not.
func (s steered) result(t steer.Told) (result, why string) {
	words := map[gslb.Mode]string{gslb.Drain: "drained", gslb.Down: "forced down", gslb.Up: "forced up", "": "released"}
	switch d := t.Steered; {
	case t.Nothing:
		return "nothing to take back", ""
	case d == nil:
		return "not told", t.Error
	case !d.Done && len(d.Troubles) > 0:
		return "nothing changed", d.Troubles[0]
	case !d.Done:
		return "nothing changed", "for the others' sake"
	case s.mode == "" || s.mode == gslb.Up:
		return words[s.mode], strings.Join(d.Troubles, "; ")
	case d.SafeAt.IsZero():
		return words[s.mode], strings.Join(append([]string{"not safe to stop"}, append(d.Troubles, d.Notes...)...), ": ")
	default:
		return words[s.mode], d.SafeAt.Local().Format(time.DateTime)
	}
}

// everywhere says what has come of it in the fleet.
func (s steered) everywhere(v verdict) string {
	var b strings.Builder
	takesOut := s.mode == gslb.Drain || s.mode == gslb.Down
	switch {
	case s.mode == "":
		fmt.Fprintf(&b, "The probes decide of %s again.\n", s.datacenter)
	case s.mode == gslb.Up:
		fmt.Fprintf(&b, "%s counts as healthy, whatever its probes say.\n", s.datacenter)
	case !v.safeAt.IsZero():
		fmt.Fprintf(&b, "%s gets no new clients. Safe to stop at %s, when every answer that names it has run out.\n", s.datacenter, v.safeAt.Local().Format(time.DateTime))
	case takesOut && len(v.untold) > 0:
		fmt.Fprintf(&b, "%s is not safe to stop: the name servers of %s still send clients there.\n", s.datacenter, strings.Join(v.untold, ", "))
	default:
		fmt.Fprintf(&b, "%s is not safe to stop.\n", s.datacenter)
	}
	for _, line := range append(v.troubles, v.notes...) {
		fmt.Fprintln(&b, "  "+line)
	}
	if !v.until.IsZero() && s.mode != "" {
		fmt.Fprintf(&b, "This ends by itself at %s.\n", v.until.Local().Format(time.DateTime))
	}
	fmt.Fprintln(&b, "Answered now:")
	for _, line := range v.answers {
		fmt.Fprintln(&b, "  "+line)
	}
	return b.String()
}
