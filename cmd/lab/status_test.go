package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// fleetStatus is what status --json says, as far as tests look at it.
type fleetStatus struct {
	Verdict     string
	Datacenters []struct {
		Name  string
		Edges []struct{ Fault, Why string }
	}
	Findings []wrongFinding
	Missing  []string
	took     time.Duration
	exit     int
}

type wrongFinding struct{ Severity, Kind, Datacenter, Sentence, Runbook string }

// askStatus asks with a fleet file, as an operator does.
func askStatus(t *testing.T, file string) (s fleetStatus) {
	t.Helper()
	cmd := exec.Command(bin(t, "breakwater"), "status", "--json", "--config", file)
	begun := time.Now()
	text, err := cmd.Output()
	s.took = time.Since(begun)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	s.exit = cmd.ProcessState.ExitCode()
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return s
}

// says waits until the status says first what is wrong, and ends with the exit status.
func says(t *testing.T, file, kind, datacenter, sentence string, exit int, also ...string) {
	t.Helper()
	trial.Until(t, func() error {
		s := askStatus(t, file)
		if len(s.Findings) == 0 {
			return fmt.Errorf("nothing is wrong; want %q of %q", kind, datacenter)
		}
		if first := s.Findings[0]; first.Kind != kind || first.Datacenter != datacenter || !strings.Contains(first.Sentence, sentence) || s.exit != exit || !strings.Contains(first.Runbook, ".md") {
			return fmt.Errorf("exit status %d, and first of all %+v; want %d, %q of %q: %q", s.exit, first, exit, kind, datacenter, sentence)
		}
		for _, part := range also {
			if !slices.ContainsFunc(s.Findings, func(x wrongFinding) bool { return strings.Contains(x.Sentence, part) }) {
				return fmt.Errorf("none of %+v says %q", s.Findings, part)
			}
		}
		return nil
	})
}

// otherFile is a fleet file with something replaced.
func otherFile(t *testing.T, file string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(pairs...).Replace(string(text))
	if changed == string(text) {
		t.Fatalf("%s has none of %q", file, pairs)
	}
	other := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(other, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return other
}

// TestStatus breaks a fleet in many ways: what is wrong is said first each time, and that
// the fleet is well when it is.
func TestStatus(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	if f.Datacenters[0].GSLB == "" {
		t.Skip("this system has one loopback address")
	}
	program, file := bin(t, "breakwater"), f.Datacenters[0].Fleet
	well := func() {
		t.Helper()
		trial.Until(t, func() error {
			text, err := exec.Command(program, "status", "--config", file).CombinedOutput()
			if err != nil || !strings.Contains(string(text), "The fleet is well.") {
				return fmt.Errorf("%v\n%s", err, text)
			}
			for line := range strings.Lines(string(text)) {
				if len([]rune(line)) > 121 {
					t.Errorf("a line has more than 120 columns: %q", line)
				}
			}
			return nil
		})
	}
	well()
	steer := func(datacenter int, args ...string) {
		t.Helper()
		output(t, exec.Command(program, append([]string{"gslb", args[0], "--admin", f.Datacenters[datacenter].Steer}, args[1:]...)...))
	}
	admin := func(i int) string { return strings.TrimPrefix(f.Datacenters[i].Admin, "http://") }
	for _, c := range []struct {
		name                   string
		broken                 func()
		kind, datacenter, says string
		exit                   int
		healed                 func()
		also                   string
	}{
		{"an edge is stopped", func() { f.act(t, "break", "edge", "mad1", "--for", "0") }, "edges down", "mad1", "it refuses connections", 1,
			func() { f.act(t, "heal", "edge", "mad1", "--for", "0") }, ""},
		{"a Harbor is stopped", func() { f.act(t, "break", "harbor", "par1", "--for", "0") }, "harbor down", "par1", "its Harbor is down", 1,
			func() { f.act(t, "heal", "harbor", "par1", "--for", "0") }, ""},
		{"two edges do not reach each other", func() { f.act(t, "partition", "par1", "drp1", "--for", "0") }, "name servers disagree", "", "10.1.0.0/16", 1,
			func() { f.act(t, "heal", "--for", "0") }, "par1: the edge says: the edge of drp1 does not answer"},
		{"an edge is drained on its machine", func() { output(t, exec.Command(program, "edge", "drain", "--admin", admin(0))) }, "draining", "par1", "operator said so", 0,
			func() { output(t, exec.Command(program, "edge", "release", "--admin", admin(0))) }, ""},
		{"one name server was told to leave one out", func() { steer(2, "drain", "par1") }, "overridden", "par1", "name servers were told \"drain\"", 0,
			func() { steer(0, "release", "par1") }, ""},
	} {
		t.Log(c.name)
		c.broken()
		says(t, file, c.kind, c.datacenter, c.says, c.exit, c.also)
		c.healed()
		well()
	}
	t.Run("components", func(t *testing.T) { // as Harbor says it, some seconds late
		fault(t, f.Datacenters[1].Faults, `[{"name":"registry-down"}]`)
		says(t, file, "harbor down", "mad1", "registry", 1)
	})
	well()
	t.Run("files", func(t *testing.T) { f.statusByFiles(t, file) })
	f.drainedFromAnywhere(t, program, file)
	well()
	end(t, f)
}

// statusByFiles asks with fleet files that differ from the nodes'.
func (f *fleetUnderTest) statusByFiles(t *testing.T, file string) {
	another := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(another, []byte(strings.Repeat("another key ", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := "127.0.10.77" // where nothing listens
	for name, c := range map[string]struct {
		pairs                  []string
		kind, datacenter, says string
		exit                   int
	}{
		"another key":             {[]string{f.Dir + "/peer-key", another}, "key differs", "par1", "another edge.peers.key", 1},
		"another gslb.key":        {[]string{f.Dir + "/gslb-key", another}, "name server key differs", "par1", "another gslb.key", 1},
		"no key":                  {[]string{f.Dir + "/peer-key", another + "-is-not-there"}, "not looked at", "", "edge.peers.key", 2},
		"a name server elsewhere": {[]string{"gslb: [127.0.20.1]", "gslb: [" + nobody + "]"}, "name server down", "mad1", "it refuses connections", 1},
		"another fleet file":      {[]string{"ttl: 2s", "ttl: 3s"}, "fleet files differ", "", "is not the one that the nodes go by", 2},
		"TLS where there is none": {[]string{"http://" + f.edge(2), "https://" + f.edge(2)}, "certificate bad", "drp1", "does not speak TLS", 1},
		"an edge of another name": {[]string{"http://" + f.edge(1), "http://" + f.edge(2), "http://" + f.edge(2), "http://" + f.edge(1)}, "edge", "", "", 1},
		"no such host":            {[]string{"http://" + f.edge(1), "http://edge.invalid:80"}, "edges down", "mad1", "its name has no address", 1},
	} {
		t.Run(name, func(t *testing.T) {
			other := otherFile(t, file, c.pairs...)
			if c.kind != "edge" {
				says(t, other, c.kind, c.datacenter, c.says, c.exit)
				return
			}
			s := askStatus(t, other)
			if why := s.Datacenters[1].Edges[0].Why; !strings.Contains(why, "the question is for the edge of mad1, and this is the edge of drp1") {
				t.Errorf("%q: it is not said whose edge that is", why)
			}
		})
	}
	if s := askStatus(t, otherFile(t, file, f.Dir+"/peer-key", another+"-is-not-there")); len(s.Missing) != 1 {
		t.Errorf("%q is missing; want one sentence", s.Missing)
	}
}

// drainedFromAnywhere: edges are drained and released where they are not.
func (f *fleetUnderTest) drainedFromAnywhere(t *testing.T, program, file string) {
	t.Helper()
	drain := func(args ...string) *exec.Cmd {
		return exec.Command(program, append([]string{"edge", args[0], "--config", file, "--fleet"}, args[1:]...)...)
	}
	if text := fails(t, drain("drain", "par1", "mad1", "drp1")); !strings.Contains(text, "--yes") {
		t.Errorf("nobody would be left, and it is not said: %s", text)
	}
	steer := func(say, datacenter string) {
		t.Helper()
		output(t, exec.Command(program, "gslb", say, "--config", file, "--fleet", datacenter))
	}
	steer("drain", "mad1")
	steer("drain", "drp1")
	if text := fails(t, drain("drain", "par1")); !strings.Contains(text, "--yes") {
		t.Errorf("name servers would have nobody left, and it is not said: %s", text)
	}
	steer("release", "mad1")
	steer("release", "drp1")
	if text := fails(t, drain("drain", "par9")); !strings.Contains(text, "par9") {
		t.Error(text)
	}
	serves := func(i int, want int) {
		t.Helper()
		resp, err := http.Get(f.Datacenters[i].Edge + "/breakwater/v1/health")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("the health of %s is %s; want %d", f.Datacenters[i].Name, resp.Status, want)
		}
	}
	serves(0, http.StatusOK)
	if text := output(t, drain("drain", "par1", "--reason", "new switches\x1b[31m")); !strings.Contains(text, "par1") || strings.Contains(text, "mad1") {
		t.Error(text)
	}
	serves(0, http.StatusServiceUnavailable)
	serves(1, http.StatusOK)
	text, err := exec.Command(program, "status", "--config", file).CombinedOutput()
	if strings.Contains(string(text), "\x1b") || !strings.Contains(string(text), "new switches?[31m") || !strings.Contains(string(text), "@") {
		t.Errorf("%v: it is not said who drained it and why, or a terminal would obey it:\n%s", err, text)
	}
	output(t, drain("drain", "--yes"))
	serves(2, http.StatusServiceUnavailable)
	f.act(t, "break", "edge", "drp1", "--for", "0")
	if text := fails(t, drain("release")); strings.Count(text, "serves") != 2 || !strings.Contains(text, "it refuses connections") || !strings.Contains(text, "1 of 3 failed") {
		t.Errorf("a release that one did not hear: %s", text)
	}
	f.act(t, "heal", "--for", "0")
	serves(0, http.StatusOK)
}

// TestStatusOfAFleetThatHangs: nothing answers, and nothing is refused, and it is said all
// the same, within three seconds.
func TestStatusOfAFleetThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	dir, port := t.TempDir(), 0
	file, text := filepath.Join(dir, "fleet.yaml"), "domain: harbor.example.org\ndatacenters:\n"
	for i, name := range []string{"par1", "mad1", "drp1"} {
		host := fmt.Sprintf("127.0.50.%d", i+1)
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port)) // it takes connections, and says nothing
		if err != nil {
			t.Skip("this system has one loopback address")
		}
		defer l.Close()
		port = l.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		text += fmt.Sprintf("  %s: { harbor: \"https://harbor.%s.example.org\", edge: \"http://%s\", addresses: [192.0.2.%d], gslb: [%s] }\n", name, name, l.Addr(), i+1, host)
	}
	text += fmt.Sprintf("gslb: { listen: %q }\nedge: { plain_http: true, peers: { key: \"file:%s/key\" } }\n", fmt.Sprintf(":%d", port), dir)
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "key"), []byte(strings.Repeat("k", 40)), 0o600)); err != nil {
		t.Fatal(err)
	}
	bin(t, "breakwater")
	trial.Until(t, func() error { // on a busy machine a process may start late
		s := askStatus(t, file)
		for _, d := range s.Datacenters {
			if d.Edges[0].Why != "no answer within 1s" {
				t.Errorf("%s: %q", d.Name, d.Edges[0].Why)
			}
		}
		if kinds := []string{s.Findings[0].Kind, s.Findings[3].Kind}; !slices.Equal(kinds, []string{"name servers down", "edges down"}) || s.exit != 1 {
			t.Errorf("exit status %d, %q", s.exit, kinds)
		}
		if s.took > 3*time.Second {
			return fmt.Errorf("it took %v", s.took)
		}
		return nil
	})
}
