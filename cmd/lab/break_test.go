package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/breakwater/cmd/internal/asjson"
	"example.org/breakwater/internal/trial"
)

// shown is what a command that acts on a lab printed for machines.
type shown struct {
	conditions conditions
	seen       []observation
	summary    map[string]tally // by datacenter and what
}

// act runs such a command.
func (f *fleetUnderTest) act(t *testing.T, args ...string) (s shown) {
	t.Helper()
	text := output(t, exec.Command(bin(t, "lab"), append(args, "--lab", f.Dir, "--json")...))
	s.summary = map[string]tally{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		var line struct {
			observation
			Format     int         `json:"format"`
			Conditions *conditions `json:"conditions"`
			Summary    []tally     `json:"summary"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Format != asjson.Format {
			t.Fatalf("%v, format %d in %s", err, line.Format, lines.Text())
		}
		switch {
		case line.Conditions != nil:
			s.conditions = *line.Conditions
		case line.Summary != nil:
			for _, sum := range line.Summary {
				s.summary[sum.Datacenter+" "+sum.What] = sum
			}
		default:
			s.seen = append(s.seen, line.observation)
		}
	}
	return s
}

// well: clients of each datacenter pulled and pushed, and nothing failed. On a busy machine the
// last one may have no answer yet when the time is over.
func (s *shown) well(t *testing.T, datacenters ...string) {
	t.Helper()
	waits := map[string]int{}
	for _, o := range s.seen {
		if strings.HasPrefix(o.Result, "no answer yet") {
			waits[o.Datacenter+" "+o.What]++
		}
	}
	for _, name := range datacenters {
		for _, what := range []string{"pull", "push"} {
			if sum := s.summary[name+" "+what]; sum.Times == sum.Failed || sum.Failed > waits[name+" "+what] {
				t.Errorf("%s at %s: %+v\n%+v", what, name, sum, s.seen)
			}
		}
	}
}

// refusing is nil when connections to the URL's host are refused.
func refusing(url string) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is not refused: %v", url, err)
	}
	return nil
}

// TestBreakAndHeal: a Harbor and an edge are taken away and come back, in the lab as it is
// without flags.
func TestBreakAndHeal(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLabWith(t, nil)
	par1, mad1 := f.Datacenters[0], f.Datacenters[1]
	s := f.act(t, "break", "harbor", "par1", "--for", "3s")
	s.well(t, "par1", "mad1", "drp1")
	if len(s.conditions.Down) != 1 || s.conditions.Down[0] != (down{"harbor", "par1"}) {
		t.Errorf("%+v", s.conditions)
	}
	if err := refusing(par1.Harbor); err != nil {
		t.Error(err)
	}
	if text := output(t, exec.Command(bin(t, "lab"), "status", "--lab", f.Dir)); !strings.HasPrefix(text, "The Harbor of par1 is down: connections are refused.\n") || !strings.Contains(text, par1.Edge) {
		t.Error(text)
	}
	f.act(t, "heal", "harbor", "par1", "--for", "0")
	get(t, par1.Harbor+"/api/v2.0/ping")

	s = f.act(t, "break", "edge", "mad1", "--for", "2s")
	s.well(t, "par1", "drp1")
	if sum := s.summary["mad1 pull"]; sum.Times == 0 || sum.Failed != sum.Times {
		t.Errorf("clients of an edge that is down saw %+v", sum)
	}
	if err := refusing(mad1.Edge); err != nil {
		t.Error(err)
	}
	s = f.act(t, "heal", "--for", "2s")
	s.well(t, "par1", "mad1", "drp1")
	if text, err := json.Marshal(s.conditions); err != nil || string(text) != `{"down":[],"partitions":[],"slow":[]}` {
		t.Errorf("%s, %v", text, err)
	}
}

// TestPartition: what only par1 has is not to be had at mad1 while nothing passes between par1
// and the others, though all serve their clients.
func TestPartition(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	at := func(i int) *watcher {
		return &watcher{datacenter: f.Datacenters[i].Name, edge: f.Datacenters[i].Edge, robot: f.Robots[1]}
	}
	f.act(t, "partition", "par1", "drp1", "--for", "0")
	s := f.act(t, "partition", "par1", "mad1", "--for", "2s")
	s.well(t, "par1", "mad1", "drp1")
	const repo = "multi-dc-demo/only-in-par1"
	if _, err := at(0).push(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	if _, err := at(0).pull(t.Context(), repo); err != nil {
		t.Errorf("a client of par1: %v", err)
	}
	if from, err := at(1).pull(t.Context(), repo); err == nil {
		t.Errorf("mad1 has from %s what only par1 has", from)
	}
	f.act(t, "heal", "par1", "mad1", "--for", "0")
	f.act(t, "heal", "par1", "drp1", "--for", "0")
	trial.Until(t, func() error {
		_, err := at(1).pull(t.Context(), repo)
		return err
	})
}

// TestNoLab: what there is to be said is said in one sentence.
func TestNoLab(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	t.Parallel()
	empty := t.TempDir()
	for want, args := range map[string][]string{
		"no lab is running: start one with go run ./cmd/lab\n":                                                    {"heal"},
		"no lab is running in " + empty + ": its directory is what go run ./cmd/lab --json prints as dir\n":       {"status", "--lab", empty},
		"lab break takes other words: break harbor|edge DATACENTER, as in go run ./cmd/lab break harbor par1\n":   {"break", "par1"},
		"lab heal takes other words: heal [harbor|edge] [DATACENTER [DATACENTER]], as in go run ./cmd/lab heal\n": {"heal", "a", "b", "c"},
		"invalid argument \"soon\" for \"--for\" flag: time: invalid duration \"soon\"\n":                         {"heal", "--for", "soon"},
	} {
		cmd := exec.Command(bin(t, "lab"), args...)
		cmd.Env = append(os.Environ(), "TMPDIR="+empty)
		if text := fails(t, cmd); text != want {
			t.Errorf("lab %s says\n%swant\n%s", strings.Join(args, " "), text, want)
		}
	}
}

// The screens: for people and for machines.
func TestScreens(t *testing.T) {
	var people, machines bytes.Buffer
	for w, asJSON := range map[*bytes.Buffer]bool{&people: false, &machines: true} {
		s := newScreen(w, asJSON)
		s.conditions(&conditions{Slow: []slow{{"mad1", 0.04}}})
		s.change(observation{Datacenter: "par1", What: "pull", OK: true, Result: "well", From: "peer-mad1", Milliseconds: 12})
		s.summary([]tally{{"par1", "pull", 3, 1, 12}})
	}
	for _, want := range []string{"40ms late", "TIME      DATACENTER", "par1        pull  well", "peer-mad1", "par1        pull      3       1          12"} {
		if !strings.Contains(people.String(), want) {
			t.Errorf("no %q in\n%s", want, people.String())
		}
	}
	if lines := strings.Split(strings.TrimSpace(machines.String()), "\n"); len(lines) != 3 {
		t.Errorf("%d lines for machines", len(lines))
	}
}

// Shells complete what can be broken, and where.
func TestShellsCompleteWhatTheLabHas(t *testing.T) {
	for line, want := range map[string]string{
		"break ":                "harbor edge",
		"break e":               "edge",
		"break harbor ":         "par1 mad1 drp1",
		"break harbor m":        "mad1",
		"break harbor par1 ":    "",
		"partition ":            "par1 mad1 drp1",
		"partition mad1 ":       "par1 drp1",
		"partition mad1 par1 ":  "",
		"slow d":                "drp1",
		"slow drp1 ":            "",
		"wipe ":                 "par1 mad1 drp1",
		"backup p":              "par1",
		"restore ":              "par1 mad1 drp1",
		"heal ":                 "harbor edge par1 mad1 drp1",
		"heal harbor ":          "par1 mad1 drp1",
		"heal --for 1s par1 ":   "mad1 drp1",
		"heal harbor par1 ":     "",
		"status ":               "",
		"break --lab /tmp edge": "edge",
	} {
		var out bytes.Buffer
		lab := command()
		lab.SetOut(&out)
		lab.SetErr(io.Discard)
		lab.SetArgs(append([]string{"__complete"}, strings.Split(line, " ")...))
		if err := lab.Execute(); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		words := strings.Fields(out.String())
		if got, directive := strings.Join(words[:len(words)-1], " "), words[len(words)-1]; got != want || directive != ":36" { // no files, in this order
			t.Errorf("%q: %q and %s, want %q", line, got, directive, want)
		}
	}
}

var labCommand = regexp.MustCompile("(?:go run \\./cmd/lab|`lab) ([a-z]+)")

// TestLabCommandsExist: those that READMEs, runbooks and the lab itself name.
func TestLabCommandsExist(t *testing.T) {
	var known, named []string
	for _, c := range command().Commands() {
		known = append(known, c.Name())
	}
	r := report{Datacenters: make([]datacenterReport, 2), Upstreams: make([]upstreamReport, 1), Images: []string{""}, Charts: []string{""}, Robots: make([]robotReport, 2)}
	var printed bytes.Buffer
	if err := r.print(&printed); err != nil {
		t.Fatal(err)
	}
	texts := []string{printed.String()}
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	for _, m := range labCommand.FindAllStringSubmatch(strings.Join(texts, "\n"), -1) {
		if named = append(named, m[1]); !slices.Contains(known, m[1]) {
			t.Errorf("there is no lab %s: only %v", m[1], known)
		}
	}
	if len(named) < 2*len(known) {
		t.Errorf("only %v are named", named)
	}
}
