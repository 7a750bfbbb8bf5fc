package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// smallNames is a plan that takes seconds and measures nothing. The peers that
// others made are in it where they are installed.
func smallNames(t *testing.T) namePlan {
	small(t)                               // skips where there is no /proc
	dir, err := os.MkdirTemp("", "names-") // gdnsd's socket is in it, and has no room for a test's directory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := namePlan{Rounds: 1, Dir: dir, Servers: []string{"breakwater", "echo", "gdnsd", "knot", "pdns"}, Time: time.Second, Away: time.Second}
	if _, err := exec.LookPath("coredns"); err == nil { // building it takes minutes
		p.Servers = append(p.Servers, "coredns")
	}
	return p
}

func TestEveryNameServerIsInTheTable(t *testing.T) {
	p := smallNames(t)
	var out, progress strings.Builder
	if err := runNames(t.Context(), p, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	names := map[string]bool{}
	for _, k := range slices.Concat(nameKinds(), signedKinds(), failoverKinds()) {
		if slices.Contains(p.Servers, strings.Fields(k.name)[0]) {
			names[k.name] = true
		}
	}
	for name := range names {
		if !strings.Contains(out.String(), " "+name+" ") && !strings.Contains(out.String(), name+" is left out: ") && !strings.Contains(out.String(), "There is no load") {
			t.Errorf("there is no line for %s", name)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestNameServersThatThereAreNot(t *testing.T) {
	for says, p := range map[string]namePlan{
		`no name server "bind"`: {Servers: []string{"bind"}},
		`no work "half"`:        {Work: []string{"half"}},
		`name full too`:         {Work: []string{"70%"}},
	} {
		if err := runNames(t.Context(), p, nil, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

// Without the oracle a server that sends everybody to one place would look quick.
func TestAWrongAnswerIsSeen(t *testing.T) {
	list, err := questions(false)
	if err != nil {
		t.Fatal(err)
	}
	e := &nameEnvironment{plan: smallNames(t), dir: t.TempDir(), binaries: map[string]string{}, networks: geography(), questions: list, progress: new(strings.Builder)}
	if e.health, err = newSiteHealth(); err != nil {
		t.Fatal(err)
	}
	defer e.health.close()
	for _, k := range nameKinds() {
		if k.name != "echo" {
			continue
		}
		if e.binaries["echo"], err = e.findName(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		k.static = false
		s, err := e.newNameServer(t.Context(), k, 99)
		if err != nil {
			t.Fatal(err)
		}
		defer s.process.stop()
		if err := s.verify(list); err == nil || !strings.Contains(err.Error(), "for a client in ") {
			t.Errorf("want a wrong answer of a server that knows no geography, got %v", err)
		}
	}
}

func TestTheGeographyIsShared(t *testing.T) {
	list := geography()
	if len(list) < 300 {
		t.Errorf("%d networks, want some hundred", len(list))
	}
	share := map[string]int{}
	for i := range 1 << (24 - clientNetworks.Bits()) {
		share[nearest(list, subnet(clientNetworks, 24, i).Addr()).Name]++
	}
	for _, s := range sites() {
		if share[s.Name] < 500 {
			t.Errorf("%s has %d of 4096 networks of clients", s.Name, share[s.Name])
		}
	}
	asked, err := questions(false)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, q := range asked {
		switch {
		case q.rcode != 0:
			kinds["no name"]++
		case q.qtype == dns.TypeA:
			kinds["A"]++
		case q.qtype == dns.TypeAAAA:
			kinds["AAAA"]++
		default:
			kinds["no data"]++
		}
	}
	for kind, percent := range map[string]int{"A": 80, "AAAA": 10, "no data": 5, "no name": 5} {
		if got := kinds[kind] * 100 / len(asked); got != percent {
			t.Errorf("%d %% of the questions are for %s, want %d", got, kind, percent)
		}
	}
}
