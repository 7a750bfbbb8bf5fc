package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// patient is the first datacenter of a lab, as breakwater doctor looks at it.
type patient struct {
	*fleetUnderTest
	program string
	machine []string // what is wrong with the machine that the test runs on
	fleet   string   // the fleet file, as it is when all is well
	dir     string   // the lab's
}

type finding struct{ ID, Check, Result, Subject, What, Do string }

func startPatient(t *testing.T) *patient {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	p := &patient{fleetUnderTest: startLab(t), program: bin(t, "breakwater")}
	if p.Parent == "" {
		t.Skip("this system has one loopback address")
	}
	for _, d := range p.Datacenters {
		p.serving(t, p.program, d)
	}
	text, err := os.ReadFile(p.Datacenters[0].Fleet)
	if err != nil {
		t.Fatal(err)
	}
	p.fleet, p.dir = string(text), p.Dir
	p.acquainted(t)
	return p
}

// acquainted waits until the edges see each other: they ask every six seconds, and may have
// begun before the others.
func (p *patient) acquainted(t *testing.T) {
	t.Helper()
	trial.Until(t, func() error {
		if found, _, printed := p.examine(t, p.fleet, p.Parent); slices.ContainsFunc(found, func(f finding) bool { return f.ID == "peer.sees" }) {
			return errors.New(printed)
		}
		return nil
	})
}

// examine has doctor look at a fleet file, and returns what is not well.
func (p *patient) examine(t *testing.T, text, parent string, flags ...string) (found []finding, status int, printed string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), p.program, append([]string{"doctor", "--config", file, "--datacenter", "par1", "--root", parent, "--json"}, flags...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status, printed = exit.ExitCode(), string(exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	printed += string(out)
	var all []finding
	if err := json.Unmarshal(out, &all); err != nil || len(all) == 0 {
		t.Fatalf("%v in %s", err, printed)
	}
	for _, f := range all {
		if f.Result != "ok" && f.Result != "not tried" {
			found = append(found, f)
		}
	}
	return found, status, printed
}

// TestDoctor examines a lab that is well, and then with one thing wrong at a time: this is
// named, and nothing else.
func TestDoctor(t *testing.T) {
	t.Parallel()
	p := startPatient(t)
	found, status, printed := p.examine(t, p.fleet, p.Parent)
	for _, f := range found { // the machine's clock, its disk: they are not the lab's
		if f.Result != "warning" || !slices.Contains([]string{"machine.clock", "machine.files", "store.memory", "store.slow"}, f.ID) {
			t.Errorf("the lab is well, and doctor says %+v", f)
		}
		p.machine = append(p.machine, f.ID)
	}
	if want := min(len(found), 1) * 2; status != want {
		t.Fatalf("exit status %d, want %d:\n%s", status, want, printed)
	}
	p.machine = append(p.machine, "store.slow") // when others use the disk
	if found, status, printed := p.examine(t, p.fleet, p.Parent, "--skip", "machine,store.memory,store.slow"); status != 0 || len(found) > 0 {
		t.Errorf("what is known is left out, and the exit status is %d:\n%s", status, printed)
	}
	for _, c := range slices.Concat(harborTroubles, certificateTroubles, machineTroubles, elsewhereTroubles) {
		t.Run(c.name, func(t *testing.T) { p.suffer(t, c) })
	}
}

// trouble is one thing that is wrong. do brings it about: by the fleet file's text that it
// returns, and what it starts.
type trouble struct {
	name string
	id   string
	warn bool
	do   func(t *testing.T, p *patient) (text string)
}

func (p *patient) suffer(t *testing.T, c trouble) {
	parent := p.Parent
	text := c.do(t, p)
	if at, rest, ok := strings.Cut(text, "\x00"); ok { // another parent zone
		parent, text = at, rest
	}
	found, status, printed := p.examine(t, text, parent)
	if c.id != "peer.sees" && slices.ContainsFunc(found, func(f finding) bool { return f.ID == "peer.sees" }) { // on a machine that is busy
		p.acquainted(t)
		found, status, printed = p.examine(t, text, parent)
	}
	found = slices.DeleteFunc(found, func(f finding) bool { return slices.Contains(p.machine, f.ID) })
	if len(found) != 1 || found[0].ID != c.id {
		t.Fatalf("want %s alone:\n%s", c.id, printed)
	}
	result, want := "fault", 1
	if c.warn {
		result, want = "warning", 2
	}
	f := found[0]
	if f.Result != result || status != want || f.What == "" || f.Do == "" || f.Check == "" {
		t.Errorf("exit status %d, %+v", status, f)
	}
}

// with is the fleet file with something in place of something else.
func (p *patient) with(t *testing.T, pairs ...string) string {
	t.Helper()
	text := p.fleet
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the fleet file has no %s", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// harbor is the fleet file with another address for the Harbor.
func (p *patient) harbor(t *testing.T, address string) string {
	return p.with(t, fmt.Sprintf("harbor: %q", p.Datacenters[0].Harbor), fmt.Sprintf("harbor: %q", address))
}

// peer is the fleet file with another address for mad1's edge.
func (p *patient) peer(t *testing.T, address string) string {
	return p.with(t, fmt.Sprintf("edge: %q", p.Datacenters[1].Edge), fmt.Sprintf("edge: %q", address))
}

// put writes a file of the test's own, and returns its name.
func put(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
