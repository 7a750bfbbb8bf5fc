package wire

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/trial"
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

// rereading is a name server whose files change.
type rereading struct {
	*GSLB
	t   *testing.T
	dir string
	log lockedBuffer
}

func (r *rereading) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// fleetOf is a fleet file of these datacenters, all of which are up.
func (r *rereading) fleetOf(names ...string) string {
	const datacenter = "  %s: { harbor: \"http://127.0.0.1:%d\", addresses: [192.0.2.%d], networks: [10.%d.0.0/16], gslb: [127.0.0.1], probe: \"file:%s/up\" }\n"
	text := "domain: harbor.example.org\ndatacenters:\n"
	for i, name := range names {
		text += fmt.Sprintf(datacenter, name, i+1, i+1, i+1, r.dir)
	}
	return text + fmt.Sprintf("gslb: { listen: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", peers: \"127.0.0.1:0\", state: %q, topology: %q, names: { registry.example.org: { method: failover } } }\n", r.dir+"/state.json", r.dir+"/topology.txt")
}

// startRereading starts one of par1 and mad1. The first of more is what stands in gslb at its
// start beside.
func startRereading(t *testing.T, more ...string) *rereading {
	t.Helper()
	r := &rereading{t: t, dir: t.TempDir()}
	r.write("up", "up")
	trial.Fresh(t, filepath.Join(r.dir, "up"))
	r.write("topology.txt", "198.51.100.0/24 par1\n")
	r.write("fleet.yaml", strings.Replace(r.fleetOf("par1", "mad1"), "gslb: { listen", "gslb: { "+strings.Join(more, "")+"listen", 1))
	var err error
	r.GSLB, err = NewGSLB(t.Context(), GSLBFile{Fleet: filepath.Join(r.dir, "fleet.yaml"), Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&r.log, nil)), Level: new(slog.LevelVar)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

// reload has the daemons of this process read their files again (SIGHUP), and waits until
// the one with the log has.
func reload(t *testing.T, log fmt.Stringer) {
	t.Helper()
	tries := func() int {
		return strings.Count(log.String(), "files read again") + strings.Count(log.String(), "files not taken")
	}
	before := tries()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	trial.Until(t, func() error {
		if tries() == before {
			return fmt.Errorf("the files were not read again:\n%s", log)
		}
		return nil
	})
}

// asked is the address that the name has for clients of the network.
func (r *rereading) asked(name, network string) string {
	r.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	m.SetEdns0(1232, false)
	rr, err := dns.NewRR(name + " 0 IN A " + strings.TrimSuffix(network, "/24"))
	if err != nil {
		r.t.Fatal(err)
	}
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: rr.(*dns.A).A})
	a, _, err := (&dns.Client{Timeout: trial.Patience}).Exchange(m, r.Addresses()[0])
	if err != nil || len(a.Answer) != 1 {
		r.t.Fatalf("%v %v\n%s", a, err, &r.log)
	}
	return a.Answer[0].(*dns.A).A.String()
}

func (r *rereading) is(when, network, want string) {
	r.t.Helper()
	if got := r.asked("harbor.example.org.", network); got != want {
		r.t.Errorf("%s: clients of %s get %s, want %s\n%s", when, network, got, want, &r.log)
	}
}

// says wants the log to say something.
func (r *rereading) says(what string) {
	r.t.Helper()
	if !strings.Contains(r.log.String(), what) {
		r.t.Errorf("the log does not say %s:\n%s", what, &r.log)
	}
}

// A fleet file that is broken changes nothing, and the log says file and line; one
// that is good is taken without a query that goes unanswered.
func TestAFleetFileIsReadAgain(t *testing.T) {
	r := startRereading(t)
	r.is("at the start", "10.2.0.0/24", "192.0.2.2")
	if got := r.asked("registry.example.org.", "10.2.0.0/24"); got != "192.0.2.1" {
		t.Errorf("another name, in declared order: %s", got)
	}
	for broken, says := range map[string]string{
		"domain: harbor.example.org\ndatacenters: {}\n": "fleet.yaml:2: datacenters",
		r.fleetOf("mad1"): `no datacenter \"par1\"`,
		strings.Replace(r.fleetOf("par1", "mad1"), "gslb: { listen", "x: {", 1): "fleet.yaml:5: x",
	} {
		r.write("fleet.yaml", broken)
		reload(t, &r.log)
		r.says(says)
		r.is("broken", "10.2.0.0/24", "192.0.2.2")
	}
	r.write("fleet.yaml", r.fleetOf("par1", "mad1", "fra1"))
	r.write("topology.txt", "198.51.100.0/24 mad9\n")
	reload(t, &r.log)
	r.says("topology.txt:1: there is no datacenter")
	r.is("a broken topology", "198.51.100.0/24", "192.0.2.1")
	if wrong := strings.Join(r.Report().Wrong, "; "); !strings.Contains(wrong, "topology.txt:1: there is no datacenter") {
		t.Errorf("%q; want the report to say that the files were not taken", wrong)
	}
	r.write("topology.txt", "198.51.100.0/24 mad1\n")
	reload(t, &r.log)
	if lacks := r.Report().Lacks; len(lacks) > 0 {
		t.Errorf("%v; want nothing, it is mended", lacks)
	}
	r.is("mended", "198.51.100.0/24", "192.0.2.2")
	trial.Until(t, func() error { // a new datacenter is probed first
		if got := r.asked("harbor.example.org.", "10.3.0.0/24"); got != "192.0.2.3" {
			return fmt.Errorf("clients of the new datacenter get %s\n%s", got, &r.log)
		}
		return nil
	})
}

// What is in the fleet file and not in force yet is in the report for as long as that is so.
func TestAReportSaysWhatNeedsARestart(t *testing.T) {
	r := startRereading(t)
	for file, want := range map[string]string{
		strings.Replace(r.fleetOf("par1", "mad1"), "gslb: { ", "gslb: { rate_limit: 77, ", 1):                 "gslb.rate_limit",
		strings.Replace(r.fleetOf("par1", "mad1"), "gslb: { ", "gslb: { dnstap: { to: \"unix:/none\" }, ", 1): "gslb.dnstap",
		r.fleetOf("par1", "mad1"): "",
	} {
		r.write("fleet.yaml", file)
		reload(t, &r.log)
		said := ""
		for _, l := range r.Report().Lacks {
			said += l.What
		}
		if (said == "") != (want == "") || !strings.Contains(said, want) {
			t.Errorf("%q; want %q", said, want)
		}
	}
}

// A report says which keys a name server goes by, and not what they are.
func TestAReportSaysWhichKeysAreUsed(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(firstKey), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startRereading(t, fmt.Sprintf("key: \"file:%s\", ", key))
	before := r.Report().Keys
	if err := os.WriteFile(key, []byte(secondKey), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(t, &r.log)
	if after := r.Report().Keys; len(before) != 1 || len(after) != 1 || before[0] == after[0] || strings.Contains(firstKey+secondKey, after[0]) {
		t.Errorf("%q, and with another key %q", before, after)
	}
}

// Zones are signed from the moment that the fleet file names a key, and with another one when
// that is in the file; what is no key changes nothing, and the log says where it is named.
func TestZonesAreSignedOnceThereIsAKey(t *testing.T) {
	r := startRereading(t)
	keys := func() (all []uint16) {
		t.Helper()
		m := new(dns.Msg)
		m.SetQuestion("harbor.example.org.", dns.TypeDNSKEY)
		a, _, err := (&dns.Client{Timeout: trial.Patience}).Exchange(m, r.Addresses()[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range a.Answer {
			all = append(all, rr.(*dns.DNSKEY).KeyTag())
		}
		return all
	}
	r.is("at the start", "10.2.0.0/24", "192.0.2.2")
	if got := keys(); len(got) > 0 {
		t.Errorf("keys of a zone that is not signed: %v", got)
	}
	named := func(names string) {
		t.Helper()
		r.write("fleet.yaml", strings.Replace(r.fleetOf("par1", "mad1"), "gslb: { listen", "gslb: { dnssec: { "+names+" }, listen", 1))
		reload(t, &r.log)
	}
	made := map[string]uint16{}
	for _, name := range []string{"old.key", "new.key"} {
		k, err := gslb.NewSigningKey()
		if err == nil {
			err = k.WriteNew(filepath.Join(r.dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
		made[name] = k.DNSKEY("harbor.example.org").KeyTag()
	}
	serial := r.Report().Serial["harbor.example.org."]
	for _, c := range []struct {
		names string
		want  []uint16
	}{
		{"key: " + r.dir + "/old.key", []uint16{made["old.key"]}},
		{"key: " + r.dir + "/new.key, previous_key: " + r.dir + "/old.key", []uint16{made["new.key"], made["old.key"]}},
		{"key: " + r.dir + "/up", []uint16{made["new.key"], made["old.key"]}}, // which is none
		{"key: " + r.dir + "/new.key", []uint16{made["new.key"]}},
	} {
		named(c.names)
		if got := keys(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v\n%s", c.names, got, c.want, &r.log)
		}
		r.is("signed", "10.2.0.0/24", "192.0.2.2")
	}
	r.says("fleet.yaml:5: gslb.dnssec.key: " + r.dir + "/up: there is no private key in it")
	if r.Report().Serial["harbor.example.org."] == serial {
		t.Error("name servers with other keys have the same serial")
	}
}
