package gslb

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Who asks most is in the report, by network, with what it gets.
func TestTopTalkers(t *testing.T) {
	r := newFleetOfFiles(t).run(t)
	if top := r.Report().Talkers; top.Networks == nil || len(top.Networks)+len(top.Answers) != 0 || top.Queries != 0 {
		t.Errorf("nobody has asked: %+v", top)
	}
	for range 5 {
		r.ask("h.example.", "10.2.3.77/32", dns.TypeA)
	}
	for range 3 {
		r.ask("h.example.", "10.1.3.77/32", dns.TypeA)
	}
	for range 2 {
		r.ask("h.example.", "10.2.3.78/32", dns.TypeA)
		r.ask("elsewhere.example.", "10.2.3.78/32", dns.TypeA) // whose it is, is who asks
	}
	top := r.Report().Talkers
	var networks, answers []string
	for _, n := range top.Networks {
		networks = append(networks, fmt.Sprint(n.Network, " ", n.Queries))
	}
	for _, n := range top.Answers {
		answers = append(answers, fmt.Sprint(n.Network, " ", n.Queries, " ", n.Datacenter, " ", n.Tier, " ", n.Rcode))
	}
	for want, got := range map[string]string{
		"10.2.3.0/24 7, 10.1.3.0/24 3, 127.0.0.0/24 2":                                                     strings.Join(networks, ", "),
		"10.2.3.0/24 7 mad1 nearest NOERROR, 10.1.3.0/24 3 par1 nearest NOERROR, 127.0.0.0/24 2   REFUSED": strings.Join(answers, ", "),
		"12": fmt.Sprint(top.Queries),
	} {
		if got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	if text, err := json.Marshal(r.Report()); err != nil || strings.Contains(string(text), "10.2.3.7") {
		t.Errorf("a client's address is in the report: %s, %v", text, err)
	}
}

// fastTalkers are at a time that the test has.
func fastTalkers() (*talkers, *time.Time) {
	now := time.Unix(1e9, 0)
	return newTalkers(func() time.Time { return now }), &now
}

func (t *talkers) saw(network string, times int) {
	of := talk{network: netip.MustParsePrefix(network), datacenter: "par1", tier: tierNearest}
	for range times {
		if n := t.samples(); n > 0 {
			t.add(of, n)
		}
	}
}

// With many queries samples are looked at, and what is said of all is about right.
func TestTopTalkersOfMany(t *testing.T) {
	top, now := fastTalkers()
	looked := 0
	for range 10 { // seconds
		for range 20_000 {
			top.saw("192.0.2.0/24", 3)
			top.saw("198.51.100.0/24", 1)
		}
		looked += top.taken
		*now = now.Add(time.Second)
	}
	if looked > 10*2*talkerSamples {
		t.Errorf("%d queries were looked at in ten seconds", looked)
	}
	r := top.report()
	if r.Queries < 600_000 || r.Queries > 1_000_000 || len(r.Networks) != 2 {
		t.Fatalf("of 800000 queries %+v", r)
	}
	if share := float64(r.Networks[0].Queries) / float64(r.Queries); share < 0.65 || share > 0.85 || r.Networks[0].Network.String() != "192.0.2.0/24" {
		t.Errorf("three quarters are of 192.0.2.0/24: %+v", r)
	}
	*now = now.Add(time.Hour) // with few, all are again
	top.saw("192.0.2.0/24", 2000)
	*now = now.Add(time.Second)
	for range 200 {
		*now = now.Add(100 * time.Millisecond)
		top.saw("203.0.113.0/24", 1)
	}
	if n := top.oneIn.Load(); n != 1 {
		t.Errorf("one in %d is looked at, of ten a second", n)
	}
	if r := top.report(); r.Networks[0].Network.String() == "203.0.113.0/24" && r.Networks[0].Queries < 150 || len(r.Networks) != 2 {
		t.Errorf("an hour later: %+v", r)
	}
	*now = now.Add(talkerMinutes * time.Minute)
	if r := top.report(); r.Queries != 0 || len(r.Networks)+len(r.Answers) != 0 {
		t.Errorf("what is old is remembered: %+v", r)
	}
}

// A flood from everywhere takes no more memory, hides nobody who asks a lot, and makes
// nobody ask more than it did.
func TestTopTalkersInAFlood(t *testing.T) {
	top, now := fastTalkers()
	for i := range 30_000 {
		*now = now.Add(2 * time.Millisecond) // all are looked at
		top.saw(fmt.Sprintf("10.%d.%d.0/24", i/256%256, i%256), 1)
		if i%30 == 0 {
			top.saw("192.0.2.0/24", 1)
		}
	}
	r := top.report()
	if r.Networks[0].Network.String() != "192.0.2.0/24" || r.Networks[0].Queries > 1000 || r.Networks[0].Queries < 500 {
		t.Errorf("who asked a thousand times: %+v", r.Networks)
	}
	if second := r.Networks[1].Queries; second > 3 {
		t.Errorf("who asked once is said to have asked %d times", second)
	}
	for _, m := range top.minutes {
		if len(m.networks.at) > talkerPlaces || len(m.answers.places) > talkerPlaces {
			t.Errorf("%d networks are kept", len(m.networks.at))
		}
	}
}

func BenchmarkTalkers(b *testing.B) {
	top := newTalkers(time.Now)
	of := talk{network: netip.MustParsePrefix("192.0.2.0/24"), datacenter: "par1", tier: tierNearest}
	b.ReportAllocs()
	for b.Loop() {
		if n := top.samples(); n > 0 {
			top.add(of, n)
		}
	}
}
