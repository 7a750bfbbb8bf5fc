package gslb

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func newKey(t testing.TB) *SigningKey {
	t.Helper()
	k, err := NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signedConfig is a fleet of the zone that wire tests ask for, with names of all kinds.
func signedConfig(keys ...*SigningKey) Config {
	name := func(name string, method Method, panic Panic, members ...int) Name {
		return Name{Name: name + zoneOrigin, Method: method, Panic: panic, TTL: 30 * time.Second, Members: members}
	}
	return Config{Fleet: FleetConfig{
		Keys: keys,
		Datacenters: []Datacenter{
			{Name: "par1", Addresses: addrs("192.0.2.10", "192.0.2.11", "2001:db8:1::10"), Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, NameServers: addrs("192.0.2.1", "2001:db8:1::1", "192.0.2.2")},
			{Name: "mad1", Addresses: addrs("198.51.100.10", "2001:db8:2::10"), NameServers: addrs("198.51.100.1")},
			{Name: "drp1", Backup: true, Addresses: addrs("203.0.113.10"), NameServers: addrs("203.0.113.1", "2001:db8:3::1")},
		},
		Explain: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Zones: []Zone{{Origin: zoneOrigin, Mbox: "sre.example.org.", ACMEChallenge: "acme.example.net.", Names: []Name{
			name("", Nearest, PanicLastGood, 0, 1, 2), name("two.", Failover, PanicAll, 1, 0), name("four.", Static, PanicAll, 2),
			name("a.b.ent.", Nearest, PanicNodata, 0, 1), name("many.", Nearest, PanicNodata, 0, 1, 2),
		}}, {Origin: "registry.example.net.", Mbox: "sre.example.org.", Names: []Name{{Name: "registry.example.net.", Method: Nearest, TTL: time.Minute, Members: []int{0}}}}},
	}}
}

// viewOf is what is answered by a fleet of which these datacenters are healthy, signed or not.
func viewOf(t testing.TB, cfg Config, sign bool, healthy ...string) *view {
	t.Helper()
	f, err := readFleet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := &moment{at: time.Now(), health: map[string]DatacenterHealth{}}
	for _, dc := range healthy {
		m.health[dc] = DatacenterHealth{Up: true}
	}
	v := m.view(f.Fleet, nil)
	if sign {
		if err := f.signer.sign(v); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func signedView(t testing.TB, keys ...*SigningKey) *view {
	return viewOf(t, signedConfig(keys...), true, "par1", "mad1", "drp1")
}

// names are those that tests ask for: that are there, that are not, and odd ones.
func askedNames() (all []string) {
	for _, label := range []string{"", "two.", "four.", "x.four.", "*.four.", "b.ent.", "ent.", "a.b.ent.", "x.ent.", "zz.b.ent.", "ns-par1.", "ns-mad1.", "ns-par1x.", "ns-par.", "*.", "_acme-challenge.", "_acme-challenge.two.", "x._acme-challenge.",
		"_acme-challenge.ns-par1.", "_why.", "_why.two.", "_why.x.", `\000.`, `\000.four.`, `\255.`, `a\.b.ent.`, `fou\000r.`, `four\001.`, "nobody.", "a.", "zzz.", "TWO.", strings.Repeat("x", 63) + "."} {
		all = append(all, label+zoneOrigin)
	}
	return append(all, "registry.example.net.", "x.registry.example.net.", "ns-drp1.registry.example.net.")
}

var askedTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA, dns.TypeNS, dns.TypeTXT, dns.TypeCNAME, dns.TypeDS, dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeHTTPS, dns.TypeANY, 65280}

// respondTo is the response to a question over UDP.
func respondTo(t testing.TB, v *view, name string, qtype uint16, do bool, from string) (*dns.Msg, []byte) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Id = 7
	m.SetEdns0(sizeUDP, do)
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out := (&responder{answerer: v}).respond(b, netip.MustParseAddr(from), false, nil)
	var r dns.Msg
	if err := r.Unpack(out); err != nil {
		t.Fatalf("%s %s: %v", name, dns.TypeToString[qtype], err)
	}
	return &r, out
}

// Every answer of every state is proven to who asks for proofs, in one datagram, and who does
// not gets what an unsigned zone says.
func TestEveryAnswerIsProven(t *testing.T) {
	keys := []*SigningKey{newKey(t), newKey(t)}
	for _, healthy := range [][]string{{"par1", "mad1", "drp1"}, {"mad1"}, {"drp1"}, {}} {
		cfg := signedConfig(keys...)
		plain, signed := viewOf(t, cfg, false, healthy...), viewOf(t, cfg, true, healthy...)
		for _, name := range askedNames() {
			for _, qtype := range askedTypes {
				for _, from := range []string{"10.1.2.3", "198.51.100.200", "2001:db8::1"} {
					what := fmt.Sprintf("%v healthy, %s %s for %s", healthy, name, dns.TypeToString[qtype], from)
					m, wire := respondTo(t, signed, name, qtype, true, from)
					if len(wire) > sizeUDP || m.Truncated {
						t.Errorf("%s: %d bytes, truncated %t", what, len(wire), m.Truncated)
					}
					if err := proven(keys, m, time.Now()); err != nil {
						t.Errorf("%s: %v\n%v", what, err, m)
					}
					_, is := respondTo(t, signed, name, qtype, false, from)
					if _, was := respondTo(t, plain, name, qtype, false, from); !bytes.Equal(is, was) && qtype != dns.TypeDNSKEY && qtype != dns.TypeNSEC {
						t.Errorf("%s: without DO the answer is another one", what)
					}
				}
			}
		}
	}
}

// zoneOfTest is the zone that a name of the tests is in.
func zoneOfTest(name string) string {
	if dns.IsSubDomain("registry.example.net.", name) {
		return "registry.example.net."
	}
	return zoneOrigin
}

// proven says what an answer lacks for a resolver that knows one of the keys, whichever.
func proven(keys []*SigningKey, m *dns.Msg, now time.Time) error {
	q := m.Question[0]
	name := dns.CanonicalName(q.Name)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if err := signedBy(keys, section, zoneOfTest(name), now); err != nil {
			return err
		}
	}
	if len(m.Answer) > 0 {
		return nil
	}
	var all []*dns.NSEC
	for _, rr := range m.Ns {
		if n, ok := rr.(*dns.NSEC); ok {
			all = append(all, n)
		}
	}
	covers := func(name string) *dns.NSEC {
		for _, n := range all {
			last := !sortsBefore(n.Hdr.Name, n.NextDomain) // it leads back to the zone itself
			if sortsBefore(n.Hdr.Name, name) && (last || sortsBefore(name, n.NextDomain)) {
				return n
			}
		}
		return nil
	}
	at := slices.IndexFunc(all, func(n *dns.NSEC) bool { return dns.CanonicalName(n.Hdr.Name) == name })
	switch {
	case m.Rcode == dns.RcodeNameError:
		n := covers(name)
		if at >= 0 || n == nil || dns.IsSubDomain(name, n.NextDomain) {
			return fmt.Errorf("nothing proves that the name is not there")
		}
		closest := name // the longest that the two ends of the gap have in common with it
		for !dns.IsSubDomain(closest, n.Hdr.Name) && !dns.IsSubDomain(closest, n.NextDomain) {
			off, _ := dns.NextLabel(closest, 0)
			closest = closest[off:]
		}
		if covers("*."+closest) == nil {
			return fmt.Errorf("nothing proves that there is no wildcard below %s", closest)
		}
	case at >= 0:
		for _, has := range []uint16{q.Qtype, dns.TypeCNAME} {
			if has != dns.TypeNSEC && slices.Contains(all[at].TypeBitMap, has) {
				return fmt.Errorf("it says that there is such a record")
			}
		}
	default:
		if n := covers(name); n == nil || !dns.IsSubDomain(name, n.NextDomain) {
			return fmt.Errorf("nothing proves that the name has no records")
		}
	}
	return nil
}

// sortsBefore is the order of names (RFC 4034, section 6.1).
func sortsBefore(a, b string) bool {
	labels := func(name string) (all [][]byte) {
		wire := wireName(dns.CanonicalName(name))
		for at := 0; wire[at] > 0; at += 1 + int(wire[at]) {
			all = append(all, wire[at+1:at+1+int(wire[at])])
		}
		slices.Reverse(all)
		return all
	}
	return slices.CompareFunc(labels(a), labels(b), bytes.Compare) < 0
}

// signedBy wants each set of records to be signed by each of the keys, now.
func signedBy(keys []*SigningKey, section []dns.RR, zone string, now time.Time) error {
	sets := map[setOf][]dns.RR{}
	signatures := map[setOf][]*dns.RRSIG{}
	for _, rr := range section {
		of := setOf{dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype}
		switch r := rr.(type) {
		case *dns.OPT:
		case *dns.RRSIG:
			of.rtype = r.TypeCovered
			signatures[of] = append(signatures[of], r)
		default:
			sets[of] = append(sets[of], rr)
		}
	}
	for of, records := range sets {
		for _, k := range keys {
			key := k.DNSKEY(zone)
			good := slices.ContainsFunc(signatures[of], func(r *dns.RRSIG) bool {
				return r.KeyTag == key.KeyTag() && r.Verify(key, records) == nil && r.ValidityPeriod(now) && r.Hdr.Ttl <= r.OrigTtl && r.Hdr.Ttl == records[0].Header().Ttl
			})
			if !good && len(signatures[of]) == 0 && section[0].Header().Rrtype == dns.TypeOPT {
				continue // of what is additional, signatures are left out first
			}
			if !good {
				return fmt.Errorf("%s %s is not signed with key %d", of.name, dns.TypeToString[of.rtype], key.KeyTag())
			}
		}
	}
	return nil
}

// What was signed is signed again at half of its time, and not before; when the clock is set
// back too far, at once.
func TestSignaturesAreRenewedAtHalfOfTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := signedConfig(newKey(t))
		f, err := readFleet(cfg)
		if err != nil {
			t.Fatal(err)
		}
		sign := func() *view {
			v := (&moment{at: time.Now()}).view(f.Fleet, nil)
			if err := f.signer.sign(v); err != nil {
				t.Fatal(err)
			}
			return v
		}
		soa := func(v *view) *dns.RRSIG {
			return v.zoneOf(zoneOrigin).signed.of(zoneOrigin, dns.TypeSOA).signatures[0].(*dns.RRSIG)
		}
		first := soa(sign())
		if begin, end := time.Unix(int64(first.Inception), 0), time.Unix(int64(first.Expiration), 0); time.Since(begin) != time.Hour || time.Until(end) != 7*24*time.Hour {
			t.Errorf("good from %v to %v, and it is %v", begin, end, time.Now())
		}
		time.Sleep(signedFor/2 - time.Minute)
		if f.signer.due() || soa(sign()) != first {
			t.Error("it was signed anew before it had to be")
		}
		time.Sleep(time.Minute)
		if !f.signer.due() {
			t.Error("it is not to be signed anew at half of its time")
		}
		v := sign()
		if second := soa(v); second == first || second.Expiration-first.Expiration != uint32((signedFor/2).Seconds()) || f.signer.due() {
			t.Errorf("%v, and then %v", first, second)
		}
		future := f.signer.made
		for _, all := range future {
			all[0].Inception += uint32((2 * time.Hour).Seconds())
		}
		if !f.signer.due() {
			t.Error("the clock was set back, and nobody believes the signatures")
		}
	})
}

// What is signed as it is asked for keeps one processor busy at most: who comes meanwhile gets
// the answer without a proof.
func TestOneIsSignedForAtATime(t *testing.T) {
	v := signedView(t, newKey(t))
	signatures := func() (n int) {
		m, _ := respondTo(t, v, "_why."+zoneOrigin, dns.TypeTXT, true, "198.51.100.200")
		for _, rr := range m.Answer {
			if isSignature(rr) {
				n++
			}
		}
		if len(m.Answer) != n+1 {
			t.Errorf("%v", m)
		}
		return n
	}
	if got := signatures(); got != 1 {
		t.Errorf("%d signatures", got)
	}
	one := &v.zoneOf(zoneOrigin).signed.signer.one
	one.Lock()
	if got := signatures(); got != 0 {
		t.Errorf("%d signatures while another one is made", got)
	}
	one.Unlock()
}
