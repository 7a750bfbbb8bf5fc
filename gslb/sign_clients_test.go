package gslb

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// Tests with validators of others: delv, unbound and BIND, who believe nothing of h.example
// but what the key proves that they were given.

// anchors is a file of trust anchors as BIND's programs read it.
func anchors(t *testing.T, keys ...*SigningKey) (file, text string) {
	t.Helper()
	for _, k := range keys {
		text += fmt.Sprintf("\"h.example.\" static-key 257 3 13 %q; ", k.public)
	}
	text = "trust-anchors { " + text + "};\n"
	file = filepath.Join(t.TempDir(), "anchors")
	write(t, file, text)
	return file, text
}

// validator is a resolver that validates, and where it is asked.
type validator struct{ name, at string }

func startUnbound(t *testing.T, server string, keys ...*SigningKey) validator {
	t.Helper()
	return startUnboundWith(t, server, "  cache-max-ttl: 1\n  cache-max-negative-ttl: 1\n", keys...)
}

func startUnboundWith(t *testing.T, server, options string, keys ...*SigningKey) validator {
	t.Helper()
	dir, at := t.TempDir(), trial.Free(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(at)
	believed := options
	for _, k := range keys { // by what the parent is to have
		believed += fmt.Sprintf("  trust-anchor: %q\n", strings.ReplaceAll(k.DS("h.example.").String(), "\t", " "))
	}
	config := filepath.Join(dir, "unbound.conf")
	write(t, config, fmt.Sprintf(`server:
  interface: 127.0.0.1
  port: %s
  do-not-query-localhost: no
  do-ip6: no
  username: ""
  chroot: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  verbosity: 1
  module-config: "validator iterator"
  aggressive-nsec: yes
%sstub-zone:
  name: "h.example."
  stub-addr: %s
remote-control:
  control-enable: no
`, port, dir, believed, strings.Replace(server, ":", "@", 1)))
	startUntil(t, "start of service", trial.Client(t, "unbound"), "-d", "-c", config)
	return validator{"unbound", at}
}

func startBIND(t *testing.T, server string, keys ...*SigningKey) validator {
	t.Helper()
	dir, at := t.TempDir(), trial.Free(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(at)
	if err := os.Chmod(dir, 0o777); err != nil { // it gives up root
		t.Fatal(err)
	}
	_, believed := anchors(t, keys...)
	config := filepath.Join(dir, "named.conf")
	write(t, config, fmt.Sprintf(`options {
  directory %q; pid-file none; session-keyfile none;
  listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; };
  recursion yes; allow-query { any; }; dnssec-validation yes; empty-zones-enable no;
  max-cache-ttl 1; max-ncache-ttl 1;
};
controls { };
%szone "h.example" { type forward; forward only; forwarders { %s; }; };
`, dir, port, believed, strings.Replace(server, ":", " port ", 1)))
	startUntil(t, "all zones loaded", trial.Client(t, "named"), "-g", "-n", "1", "-c", config)
	return validator{"BIND", at}
}

// asked is what the validator answers; an error where it has not validated it.
func (v validator) asked(name string, qtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(sizeUDP, true)
	a, _, err := (&dns.Client{Timeout: trial.Patience}).Exchange(m, v.at)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", v.name, err)
	case !a.AuthenticatedData:
		return nil, fmt.Errorf("%s has not validated %s %s: %v", v.name, name, dns.TypeToString[qtype], a)
	}
	return a, nil
}

// delv wants delv to say that it has validated the answer.
func delv(t *testing.T, server, anchors, name string, qtype uint16, want string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(server)
	text, _ := exec.CommandContext(t.Context(), trial.Client(t, "delv"), "@"+host, "-p", port, "-a", anchors, "+root=h.example", name, dns.TypeToString[qtype]).CombinedOutput()
	if !strings.Contains(string(text), want) || want != "" && strings.Contains(string(text), "; unsigned answer") {
		t.Errorf("delv %s %s: want %q:\n%s", name, dns.TypeToString[qtype], want, text)
	}
}

// signedFleet is the fleet of files with zones that are signed.
func signedFleet(t *testing.T, keys ...*SigningKey) *fleetOfFiles {
	f := newFleetOfFiles(t)
	f.cfg.Fleet.Keys = keys
	z := &f.cfg.Fleet.Zones[0]
	z.ACMEChallenge = "h.acme.example.net."
	z.Names = append(slices.Clone(z.Names), Name{Name: "a.b.h.example.", Method: Nearest, Panic: PanicNodata, TTL: time.Second, Members: []int{0, 1}})
	return f
}

// questions are of all kinds of answers, with what is to come of each.
var questions = []struct {
	name  string
	qtype uint16
	rcode int
	some  bool // there are records
}{
	{"h.example.", dns.TypeA, dns.RcodeSuccess, true},
	{"H.eXample.", dns.TypeAAAA, dns.RcodeSuccess, true},
	{"two.h.example.", dns.TypeA, dns.RcodeSuccess, true},
	{"h.example.", dns.TypeSOA, dns.RcodeSuccess, true},
	{"h.example.", dns.TypeNS, dns.RcodeSuccess, true},
	{"h.example.", dns.TypeDNSKEY, dns.RcodeSuccess, true},
	{"ns-mad1.h.example.", dns.TypeA, dns.RcodeSuccess, true},
	{"_acme-challenge.h.example.", dns.TypeCNAME, dns.RcodeSuccess, true},
	{"h.example.", dns.TypeMX, dns.RcodeSuccess, false},
	{"ns-mad1.h.example.", dns.TypeAAAA, dns.RcodeSuccess, false},
	{"b.h.example.", dns.TypeA, dns.RcodeSuccess, false}, // an empty non-terminal
	{"nobody.h.example.", dns.TypeA, dns.RcodeNameError, false},
	{"*.h.example.", dns.TypeA, dns.RcodeNameError, false},
	{"x.two.h.example.", dns.TypeTXT, dns.RcodeNameError, false},
	{"_why.h.example.", dns.TypeTXT, dns.RcodeNameError, false},
	{`\000.h.example.`, dns.TypeA, dns.RcodeNameError, false},
	{"zzz.h.example.", dns.TypeHTTPS, dns.RcodeNameError, false},
}

// validates wants all of it to be validated by whoever is asked.
func validates(t *testing.T, validators ...validator) {
	t.Helper()
	for _, v := range validators {
		for _, q := range questions {
			if a, err := v.asked(q.name, q.qtype); err != nil {
				t.Error(err)
			} else if a.Rcode != q.rcode || (len(a.Answer) > 0) != q.some {
				t.Errorf("%s: %s %s: %v", v.name, q.name, dns.TypeToString[q.qtype], a)
			}
		}
	}
}

// becomesAt waits until the validator answers with that address alone; all answers until then
// are validated too. "": with none.
func (v validator) becomesAt(t *testing.T, name, want string) {
	t.Helper()
	trial.Until(t, func() error {
		a, err := v.asked(name, dns.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, rr := range a.Answer {
			if is, ok := rr.(*dns.A); ok {
				got += is.A.String()
			}
		}
		if got != want {
			return fmt.Errorf("%s answers %s with %q, want %q", v.name, name, got, want)
		}
		return nil
	})
}

func TestDelvValidates(t *testing.T) {
	key := newKey(t)
	f := signedFleet(t, key)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	good, _ := anchors(t, key)
	other, _ := anchors(t, newKey(t))
	for _, q := range questions {
		want := "; fully validated"
		if !q.some {
			want = "; negative response, fully validated"
		}
		delv(t, r.Addresses()[0], good, q.name, q.qtype, want)
	}
	delv(t, r.Addresses()[0], other, "h.example.", dns.TypeA, "resolution failed")
}

// Resolvers validate what is there and what is not, while health changes what is.
func TestResolversValidate(t *testing.T) {
	key := newKey(t)
	f := signedFleet(t, key)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	server := r.Addresses()[0]
	all := []validator{startUnbound(t, server, key), startBIND(t, server, key)}
	validates(t, all...)
	for _, v := range []validator{startUnbound(t, server, newKey(t)), startBIND(t, server, newKey(t))} {
		if a, err := v.asked("h.example.", dns.TypeA); err == nil {
			t.Errorf("%s believes another key: %v", v.name, a)
		}
	}
	f.say(t, "mad1", "down")
	for _, v := range all {
		v.becomesAt(t, "h.example.", "192.0.2.1")
		v.becomesAt(t, "two.h.example.", "192.0.2.1")
	}
	r.settled()
	f.say(t, "par1", "down")
	for _, v := range all {
		v.becomesAt(t, "h.example.", "192.0.2.3")
		v.becomesAt(t, "two.h.example.", "") // which has addresses at other times
		v.becomesAt(t, "a.b.h.example.", "")
	}
	validatesOthers := func() {
		for _, v := range all {
			if a, err := v.asked("nobody.h.example.", dns.TypeA); err != nil || a.Rcode != dns.RcodeNameError {
				t.Errorf("%v, %v", a, err)
			}
		}
	}
	validatesOthers()
	f.say(t, "par1", "up")
	for _, v := range all {
		v.becomesAt(t, "two.h.example.", "192.0.2.1")
	}
	validates(t, all...)
}

// Resolvers go on to validate when the first signatures have long run out.
func TestResolversValidateWhileSignaturesAreRenewed(t *testing.T) {
	key := newKey(t)
	f := signedFleet(t, key)
	f.cfg.signedFor = 4 * time.Second
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	server, begun := r.Addresses()[0], time.Now()
	all := []validator{startUnbound(t, server, key), startBIND(t, server, key)}
	trial.Until(t, func() error {
		validates(t, all...)
		if t.Failed() {
			t.FailNow()
		}
		if left := 3*f.cfg.signedFor - time.Since(begun); left > 0 {
			return fmt.Errorf("for %v more they are to be renewed", left)
		}
		return nil
	})
}

// A key is replaced: who believes the old one validates until the parent has the new one's DS,
// and who believes the new one from then on, also those who remember what was before each step.
func TestResolversValidateWhileTheKeyIsReplaced(t *testing.T) {
	before, key := newKey(t), newKey(t)
	f := signedFleet(t, before)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	server := r.Addresses()[0]
	signWith := func(keys ...*SigningKey) {
		t.Helper()
		f.cfg.Fleet.Keys = keys
		if err := r.Reload(f.cfg); err != nil {
			t.Fatal(err)
		}
	}
	remembers := func(t *testing.T, v validator, name string) {
		t.Helper()
		if a, err := v.asked(name, dns.TypeA); err != nil || len(a.Answer) < 2 {
			t.Errorf("%v, %v", a, err)
		}
	}
	const days = "  cache-min-ttl: 3600\n"
	old := []validator{startUnbound(t, server, before), startBIND(t, server, before)}
	longOld := startUnboundWith(t, server, days, before)
	validates(t, old...)
	remembers(t, longOld, "h.example.")

	signWith(key, before)
	validates(t, old...)
	remembers(t, longOld, "two.h.example.") // by the keys that it knows from before
	fresh := []validator{startUnbound(t, server, key), startBIND(t, server, key)}
	validates(t, fresh...)
	longBoth := startUnboundWith(t, server, days, key, before)
	remembers(t, longBoth, "h.example.")

	signWith(key)
	validates(t, fresh...)
	remembers(t, longBoth, "two.h.example.")
	for _, v := range old {
		trial.Until(t, func() error { // once it has forgotten the key
			if a, err := v.asked("ns-par1.h.example.", dns.TypeA); err == nil {
				return fmt.Errorf("%s believes a key that is gone: %v", v.name, a)
			}
			return nil
		})
	}
}
