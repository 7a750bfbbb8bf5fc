package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/provision"
)

// waitingOn prints who is waited for, on stderr, as what is asked for is on stdout.
func waitingOn(cmd *cobra.Command, bar *progress.Bar) func(string) {
	return func(line string) { bar.Println(cmd.ErrOrStderr(), line) }
}

// steps are the steps of work that is no list of objects, as it goes.
type steps struct {
	cmd    *cobra.Command
	asJSON *jsonFlag
	bar    *progress.Bar

	one sync.Mutex
	all []string
}

func stepsOf(cmd *cobra.Command, asJSON *jsonFlag, bar *progress.Bar, work string) *steps {
	bar.To(0, 0, work)
	return &steps{cmd: cmd, asJSON: asJSON, bar: bar}
}

// step says one: on stderr where JSON is to be on stdout.
func (s *steps) step(line string) {
	s.one.Lock()
	defer s.one.Unlock()
	out := s.cmd.OutOrStdout()
	if s.asJSON.on() {
		out = s.cmd.ErrOrStderr()
	}
	s.all = append(s.all, line)
	s.bar.Println(out, line)
	s.bar.To(0, 0, line)
}

// ended prints the JSON that is wanted, also of what failed, and returns why it did.
func (s *steps) ended(answer map[string]any, err error) error {
	s.bar.End()
	if !s.asJSON.on() {
		return err
	}
	answer["done"], answer["steps"] = err == nil, append([]string{}, s.all...)
	return errors.Join(err, s.asJSON.printIndented(s.cmd.OutOrStdout(), answer))
}

// paint colours text on a terminal, and nowhere else (https://no-color.org too).
type paint bool

func painter(w io.Writer) paint { return paint(isTerminal(w) && os.Getenv("NO_COLOR") == "") }

func (p paint) as(text, colour string) string {
	if !p {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// signs are how an action is shown, as Terraform shows it, and its colour.
var signs = map[string][2]string{
	provision.Create: {"+", "32"}, provision.Update: {"~", "33"}, provision.Delete: {"-", "31"}, provision.Refuse: {"!", "31"},
}

// printPlan prints a line an object and a line a field, by datacenter.
func printPlan(w io.Writer, p *provision.Plan) error {
	colour, datacenter := painter(w), ""
	for _, c := range p.ShortChanges() {
		if c.Datacenter != datacenter {
			datacenter = c.Datacenter
			fmt.Fprintf(w, "\n%s\n", datacenter)
		}
		sign := signs[c.Action]
		fmt.Fprintf(w, "  %s %s %s\n", colour.as(sign[0], sign[1]), c.Kind, c.Name)
		if c.Why != "" {
			fmt.Fprintf(w, "      %s\n", c.Why)
		}
		for _, f := range c.Fields {
			if c.Action == provision.Create {
				fmt.Fprintf(w, "      %s: %s\n", f.Name, orEmpty(f.Want))
			} else {
				fmt.Fprintf(w, "      %s: %s\n", f.Name, f.Text())
			}
		}
	}
	if len(p.Faults) > 0 {
		fmt.Fprintln(w)
	}
	for _, f := range provision.Together(p.Faults) {
		if f.Away { // the others are why the program fails, and are said then
			fmt.Fprintf(w, "%s %s cannot be reached, and is left out: %s\n", colour.as("!", "31"), f.Datacenter, f.Message)
		}
	}
	for i, note := range p.ShortNotes() {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "note: %s\n", note)
	}
	switch {
	case p.Read == 0 && p.Objects > 0:
		return nil // of nothing that is wanted it is known whether it is there
	case len(p.Changes) == 0 && p.Read < p.Objects:
		_, err := fmt.Fprintf(w, "\nNothing to do where it could be read. As the fleet file says: %s%s, %d not known.\n", provision.Counted(p.Read, "object"), secretsOf(p), p.Objects-p.Read)
		return err
	case len(p.Changes) == 0:
		_, err := fmt.Fprintf(w, "\nNothing to do. As the fleet file says: %s%s (%s).\n", provision.Counted(p.Objects, "object"), secretsOf(p), provision.Counted(p.Calls, "call"))
		return err
	}
	unknown := ""
	if p.Read < p.Objects {
		unknown = fmt.Sprintf(", %d not known", p.Objects-p.Read)
	}
	_, err := fmt.Fprintf(w, "\nOf %s: %d to create, %d to change, %d to delete, %d refused%s.\n", provision.Counted(p.Objects, "object"),
		p.Count(provision.Create), p.Count(provision.Update), p.Count(provision.Delete), p.Count(provision.Refuse), unknown)
	return err
}

// secretsOf says what is known of the secrets of what is as it should be.
func secretsOf(p *provision.Plan) string {
	text := ", " + provision.Counted(p.Proven, "secret") + " proven"
	if p.Unsure > 0 {
		text += fmt.Sprintf(", %d that could not be proven", p.Unsure)
	}
	return text
}

func orEmpty(text string) string {
	if text == "" {
		return "(nothing)"
	}
	return text
}

// progressTo prints a line as each change ends, above the bar.
func progressTo(w io.Writer, bar *progress.Bar, total int) func(provision.Result) {
	colour, n := painter(w), 0
	return func(r provision.Result) {
		n++
		text := fmt.Sprintf("[%d/%d] %s: %s %s %s: %s", n, total, r.Datacenter, r.Action, r.Kind, r.Name, r.Outcome)
		switch r.Outcome {
		case provision.Failed, provision.HalfDone:
			if text = colour.as(text, "31") + ": " + r.Why; r.Place != "" {
				text += " (" + r.Place + ")"
			}
		case provision.Deferred, provision.Stopped:
			text = colour.as(text, "33") + ": " + r.Why
		}
		bar.Println(w, text)
		bar.To(n, total, fmt.Sprintf("%s: %s %s", r.Datacenter, r.Kind, r.Name))
	}
}

func printResults(w io.Writer, p *provision.Plan, results []provision.Result) error {
	counts := map[string]int{}
	for _, r := range results {
		counts[r.Outcome]++
	}
	if len(results) > 0 {
		half := ""
		if n := counts[provision.HalfDone]; n > 0 {
			half = fmt.Sprintf(", %d half done", n)
		}
		fmt.Fprintf(w, "\n%d done, %d failed, %d deferred, %d not begun%s.\n", counts[provision.Done], counts[provision.Failed], counts[provision.Deferred], counts[provision.Stopped], half)
	}
	for _, r := range results {
		if r.Outcome == provision.HalfDone {
			fmt.Fprintf(w, "half done: %s: %s\n", r.Key, r.Why)
		}
	}
	for _, line := range provision.Waiting(results) {
		fmt.Fprintf(w, "waiting: %s\n", line)
	}
	var err error
	switch {
	case len(provision.Unreached(p, results)) > 0:
		_, err = fmt.Fprintln(w, "Partial: run it again when all Harbors can be reached.")
	case counts[provision.HalfDone]+counts[provision.Stopped] > 0:
		_, err = fmt.Fprintln(w, "Ended before it was through: run it again, which completes it.")
	}
	return err
}
