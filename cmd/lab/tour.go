package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/cmd/internal/asjson"
)

// tour plays through what a fleet is for, on a lab of its own: each step is shown, and held
// against what it should be.
type tour struct {
	*running
	out     io.Writer
	asJSON  bool
	clients map[string]*watcher // one in each datacenter, by its name
	pushed  digest.Digest       // what the tag that the tour pushes is now
	lines   []string            // of this step
}

// tourStep is a step of the tour. Its error says what was not as it should be.
type tourStep struct {
	title string
	do    func(t *tour, ctx context.Context) error
}

// toured is what became of a step, as --json prints it.
type toured struct {
	Step    int      `json:"step"`
	Title   string   `json:"title"`
	OK      bool     `json:"ok"`
	Seconds float64  `json:"seconds"`
	Seen    []string `json:"seen"`
	Wrong   string   `json:"wrong"` // "" where it is ok
}

// runTour starts a lab, plays the tour through and ends the lab.
func runTour(ctx context.Context, o options, out io.Writer, asJSON bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l, err := start(ctx, o, io.Discard)
	defer l.close()
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	ready := make(chan struct{})
	go func() { served <- l.serve(func() { close(ready) }) }()
	<-ready
	t := &tour{running: l, out: out, asJSON: asJSON, clients: map[string]*watcher{}}
	if !asJSON {
		fmt.Fprintf(out, "Three datacenters, each with a Harbor (a stand-in), an edge and a name server, and Docker Hub (a stand-in).\n")
	}
	for _, d := range l.report.Datacenters {
		t.clients[d.Name] = &watcher{datacenter: d.Name, edge: d.Edge, robot: l.report.Robots[len(l.report.Robots)-1]}
	}
	failed := t.play(ctx)
	cut := ctx.Err()
	stop()
	if err := <-served; err != nil {
		return err
	}
	switch {
	case cut != nil:
		return fmt.Errorf("the tour was cut short: %w", cut)
	case failed > 0:
		return fmt.Errorf("%d of %d steps were not as they should be", failed, len(tourSteps))
	}
	return nil
}

// play plays the steps, and returns how many were not as they should be.
func (t *tour) play(ctx context.Context) (failed int) {
	begun := time.Now()
	for i, step := range tourSteps {
		if ctx.Err() != nil {
			return failed
		}
		if !t.asJSON {
			fmt.Fprintf(t.out, "\n%2d  %s\n", i+1, step.title)
		}
		t.lines = []string{}
		began := time.Now()
		err := step.do(t, ctx)
		done := toured{Step: i + 1, Title: step.title, OK: err == nil, Seconds: time.Since(began).Seconds(), Seen: t.lines}
		if err != nil {
			done.Wrong = err.Error()
			failed++
		}
		switch {
		case t.asJSON:
			asjson.Print(t.out, done) //nolint:errcheck // the terminal is gone
		case err != nil:
			fmt.Fprintf(t.out, "    NOT as it should be: %v\n", err)
		}
	}
	if !t.asJSON && failed == 0 {
		fmt.Fprintf(t.out, "\nAll of it was as it should be, in %.0f s. %s starts the same fleet for you to break.\n", time.Since(begun).Seconds(), self())
	}
	return failed
}

// see shows what was seen.
func (t *tour) see(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	t.lines = append(t.lines, line)
	if !t.asJSON {
		fmt.Fprintln(t.out, "    "+line)
	}
}

// act does what a command of the lab does, and shows the command.
func (t *tour) act(words ...string) error {
	text := "lab"
	for _, w := range words {
		text += " " + w
	}
	t.see("$ %s", text)
	return t.do(words)
}

// ms is a time for people.
func ms(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
