package wire

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A fleet file that is broken changes nothing, and the log says file and line; one
// that is good is taken without a query that goes unanswered.
func TestAFleetFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "fleet.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const datacenter = "  %s: { harbor: \"http://127.0.0.1:%d\", addresses: [192.0.2.%d], networks: [10.%d.0.0/16], gslb: [127.0.0.1], probe: \"file:%s/up\" }\n"
	fleetOf := func(names ...string) string {
		text := "domain: harbor.example.org\ndatacenters:\n"
		for i, name := range names {
			text += fmt.Sprintf(datacenter, name, i+1, i+1, i+1, dir)
		}
		return text + fmt.Sprintf("gslb: { listen: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", state: %q, topology: %q, names: { registry.example.org: { method: failover } } }\n", dir+"/state.json", dir+"/topology.txt")
	}
	write("up", "up")
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "up"), later, later); err != nil {
		t.Fatal(err)
	}
	write("topology.txt", "198.51.100.0/24 par1\n")
	write("fleet.yaml", fleetOf("par1", "mad1"))
	var log lockedBuffer
	g, err := NewGSLB(t.Context(), GSLBFile{Fleet: file, Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&log, nil)), Level: new(slog.LevelVar)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	asked := func(name, network string) string {
		t.Helper()
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		m.SetEdns0(1232, false)
		rr, err := dns.NewRR(name + " 0 IN A " + strings.TrimSuffix(network, "/24"))
		if err != nil {
			t.Fatal(err)
		}
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: rr.(*dns.A).A})
		a, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, g.Addresses()[0])
		if err != nil || len(a.Answer) != 1 {
			t.Fatalf("%v %v\n%s", a, err, &log)
		}
		return a.Answer[0].(*dns.A).A.String()
	}
	is := func(when, network, want string) {
		t.Helper()
		if got := asked("harbor.example.org.", network); got != want {
			t.Errorf("%s: clients of %s get %s, want %s\n%s", when, network, got, want, &log)
		}
	}
	is("at the start", "10.2.0.0/24", "192.0.2.2")
	if got := asked("registry.example.org.", "10.2.0.0/24"); got != "192.0.2.1" {
		t.Errorf("another name, in declared order: %s", got)
	}
	for broken, says := range map[string]string{
		"domain: harbor.example.org\ndatacenters: {}\n": "fleet.yaml:2: datacenters",
		fleetOf("mad1"): `no datacenter \"par1\"`,
		strings.Replace(fleetOf("par1", "mad1"), "gslb: { listen", "x: {", 1): "fleet.yaml:5: x",
	} {
		write("fleet.yaml", broken)
		g.reload()
		if !strings.Contains(log.String(), says) {
			t.Errorf("the log does not say %s:\n%s", says, &log)
		}
		is("broken", "10.2.0.0/24", "192.0.2.2")
	}
	write("fleet.yaml", fleetOf("par1", "mad1", "fra1"))
	write("topology.txt", "198.51.100.0/24 mad9\n")
	g.reload()
	if says := "topology.txt:1: there is no datacenter"; !strings.Contains(log.String(), says) {
		t.Errorf("the log does not say %s:\n%s", says, &log)
	}
	is("a broken topology", "198.51.100.0/24", "192.0.2.1")
	write("topology.txt", "198.51.100.0/24 mad1\n")
	g.reload()
	is("mended", "198.51.100.0/24", "192.0.2.2")
	var got string
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); { // a new datacenter is probed first
		if got = asked("harbor.example.org.", "10.3.0.0/24"); got == "192.0.2.3" {
			return
		}
	}
	t.Errorf("clients of the new datacenter get %s\n%s", got, &log)
}
