package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The bench starts itself as the origin and as a bare name server; here that is the
// test's binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "origin" || os.Args[1] == "echo") {
		if err := command().ExecuteContext(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// small is a plan that takes no time and measures nothing.
func small(t *testing.T) plan {
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("processor time and memory are read from Linux's /proc")
	}
	return plan{Rounds: 1, Peers: []string{"edge", "direct"}, Dir: t.TempDir(), Warm: mib, Cold: 2 * mib, Slow: mib / 4, Rate: 16 * mib,
		Tokens: 100, Time: 30 * time.Millisecond, Settle: time.Millisecond}
}

func TestEveryWorkIsInTheTable(t *testing.T) {
	p := small(t)
	var out, progress strings.Builder
	if err := runEdge(t.Context(), p, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var lines [][]string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Fields(line))
	}
	for _, w := range works() {
		for _, over := range []string{"plain", "tls"} {
			for _, peer := range p.Peers { // both take pushes
				if !slices.ContainsFunc(lines, func(f []string) bool { return len(f) > 8 && slices.Equal(f[:3], []string{over, w.name, peer}) }) {
					t.Errorf("there is no line for %s by %s over %s", w.name, peer, over)
				}
			}
		}
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestAPeerThatIsNotThereIsNamed(t *testing.T) {
	p := small(t)
	p.Peers, p.Work, p.Nginx = []string{"direct", "nginx-cache"}, []string{"tag-64/plain"}, "/nonexistent/nginx"
	var out, progress strings.Builder
	if err := runEdge(t.Context(), p, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if !strings.Contains(out.String(), "nginx-cache is left out: ") {
		t.Errorf("the result does not say that nginx is missing:\n%s", &out)
	}
}

func TestNamesThatThereAreNot(t *testing.T) {
	for says, p := range map[string]plan{
		`no peer "squid"`:   {Peers: []string{"squid"}},
		`no work "warm-17"`: {Work: []string{"warm-17"}},
	} {
		if err := runEdge(t.Context(), p, nil, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

func TestTheStoreIsListed(t *testing.T) {
	p := small(t)
	var progress strings.Builder
	r, err := runStore(t.Context(), 100, p.Dir, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if r.Answered <= 0 || r.Resident <= 0 || r.Peak < r.Resident {
		t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Harbors that answer as slowly as real ones are planned and applied.
func TestProvision(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	r, err := runProvision(t.Context(), 1, 22, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	if len(r.Runs) != 4 || r.Runs[0].Objects != 39 || r.Runs[3].Objects < 20 || r.Runs[1].Proofs == 0 || r.Runs[1].Calls["each"] == 0 || r.Runs[0].Resident == 0 {
		t.Errorf("%s", &out)
	}
}

// What is pushed in one datacenter is looked for in the others, through the edges and past them.
func TestSpread(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	p := spreadPlan{Times: 4, Movers: 2, Rate: 100, Alone: 2, Delays: []time.Duration{0, time.Millisecond}, Least: time.Millisecond, Most: 100 * time.Millisecond, Dir: t.TempDir()}
	var progress strings.Builder
	r, err := runSpread(t.Context(), p, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 12 || len(r.Faults) > 0 {
		t.Errorf("%d rows", len(r.Rows))
	}
	for _, row := range r.Rows {
		if row.Spread.Max == 0 || row.Pushes == 0 {
			t.Errorf("nothing was seen of %s", row)
		}
		if row.Through == throughEdges && (row.Next != row.Acknowledged || row.Older > 0 || row.Latest != row.Tags || row.Failed > 0) {
			t.Errorf("an older push was shown: %s", row)
		}
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
