package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// geoZone is the name that all name servers are asked for.
const geoZone = "harbor.bench.example.org"

// site is one datacenter as name servers answer it.
type site struct {
	Name string
	Four netip.Addr // also where its health is asked: peers ask no other address than that they answer
	Six  netip.Addr
}

func sites() []site {
	return []site{
		{"par1", netip.MustParseAddr("127.0.61.1"), netip.MustParseAddr("2001:db8:1::10")},
		{"mad1", netip.MustParseAddr("127.0.61.2"), netip.MustParseAddr("2001:db8:2::10")},
		{"fra1", netip.MustParseAddr("127.0.61.3"), netip.MustParseAddr("2001:db8:3::10")},
	}
}

// network is a line of the topology: all its clients are near to the same sites.
type network struct {
	Prefix netip.Prefix
	Order  []string // of sites, the nearest first
	Site   site     // the nearest
}

// clientNetworks is where all clients are: 4,096 networks of 256 addresses.
var clientNetworks = netip.MustParsePrefix("20.16.0.0/12")

// geography divides the clients' networks among the sites, the same on every run:
// prefixes of /17 to /24 that lie side by side, and smaller ones within them.
func geography() (list []network) {
	r := rand.New(rand.NewPCG(20, 16))
	all := sites()
	add := func(p netip.Prefix, nearest int) {
		order := []string{all[nearest].Name}
		for i := range all {
			if i != nearest {
				order = append(order, all[i].Name)
			}
		}
		list = append(list, network{p, order, all[nearest]})
	}
	var divide func(p netip.Prefix)
	divide = func(p netip.Prefix) {
		if p.Bits() >= 24 || p.Bits() >= 17 && r.IntN(4) == 0 {
			nearest := r.IntN(len(all))
			add(p, nearest)
			if p.Bits() < 22 { // one network within is somebody else's
				add(subnet(p, 24, r.IntN(1<<(24-p.Bits()))), (nearest+1)%len(all))
			}
			return
		}
		for half := range 2 {
			divide(subnet(p, p.Bits()+1, half))
		}
	}
	divide(clientNetworks)
	slices.SortFunc(list, func(a, b network) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

// subnet is the n-th prefix of that length within p.
func subnet(p netip.Prefix, bits, n int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(p.Addr().AsSlice())+uint32(n)<<(32-bits))
	return netip.PrefixFrom(netip.AddrFrom4(b), bits)
}

// nearest is the site of the longest prefix that holds the client.
func nearest(list []network, client netip.Addr) site {
	best := network{Prefix: netip.PrefixFrom(client, 0), Site: sites()[0]}
	for _, n := range list {
		if n.Prefix.Contains(client) && n.Prefix.Bits() > best.Prefix.Bits() {
			best = n
		}
	}
	return best.Site
}

// question is one query, and what is to be answered.
type question struct {
	wire  []byte
	name  string
	qtype uint16
	net   netip.Prefix // of the client
	rcode int
	near  site // who is answered, where an address is

	signed bool // the proof is wanted (DO)
}

// questionsEach is how many questions each network of clients asks.
const questionsEach = 5

// questions are what is asked, in the same order on every run: of 20, 16 A, two AAAA,
// one of a type that is not there and one of a name that is not there. signed: each wants the
// proof.
func questions(signed bool) (list []question, err error) {
	networks := geography()
	r := rand.New(rand.NewPCG(4096, 5))
	for i := range 1 << (24 - clientNetworks.Bits()) * questionsEach {
		q := question{signed: signed, net: subnet(clientNetworks, 24, i/questionsEach), name: geoZone + ".", qtype: dns.TypeA}
		switch (i + i/20*questionsEach) % 20 { // other questions from one network to the next
		case 3, 9:
			q.qtype = dns.TypeAAAA
		case 12:
			q.qtype = []uint16{dns.TypeTXT, dns.TypeCAA}[r.IntN(2)]
		case 18:
			q.name, q.rcode = fmt.Sprintf("no%d.%s.", i, geoZone), dns.RcodeNameError
		}
		q.near = nearest(networks, q.net.Addr())
		if q.wire, err = q.pack(); err != nil {
			return nil, err
		}
		list = append(list, q)
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, nil
}

// pack makes the query as a resolver sends it for a client.
func (q *question) pack() ([]byte, error) {
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.qtype)
	m.RecursionDesired = false
	m.SetEdns0(1232, q.signed)
	o := m.IsEdns0()
	o.Option = append(o.Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(q.net.Bits()), Address: q.net.Addr().AsSlice()})
	return m.Pack()
}

// check says what is wrong with a response; static: the server sends everybody to the
// first site, and knows no client subnet.
func (q *question) check(b []byte, static bool) error {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return err
	}
	near := q.near
	if static {
		near = sites()[0]
	}
	want := ""
	switch {
	case q.rcode != 0:
	case q.qtype == dns.TypeA:
		want = near.Four.String()
	case q.qtype == dns.TypeAAAA:
		want = near.Six.String()
	}
	got, ok, signatures := "", len(m.Answer) < 2 || q.signed && len(m.Answer) == 2, 0
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		switch rr := rr.(type) {
		case *dns.RRSIG:
			signatures++
		case *dns.SOA, *dns.NSEC:
		case *dns.A:
			got = rr.A.String()
		case *dns.AAAA:
			got = rr.AAAA.String()
		default:
			ok = false
		}
	}
	if !ok || got != want || m.Rcode != q.rcode || !m.Authoritative {
		return fmt.Errorf("%s %s for a client in %s: want %s %q, got %s (authoritative: %t), %q of %d records", q.name, dns.TypeToString[q.qtype], q.net,
			dns.RcodeToString[q.rcode], want, dns.RcodeToString[m.Rcode], m.Authoritative, got, len(m.Answer))
	}
	if q.signed && signatures == 0 {
		return fmt.Errorf("%s %s for a client in %s: nothing is signed", q.name, dns.TypeToString[q.qtype], q.net)
	}
	if !static && want != "" && !subnetEchoed(m, q.net) {
		return fmt.Errorf("%s %s for a client in %s: the subnet is not in the answer", q.name, dns.TypeToString[q.qtype], q.net)
	}
	return nil
}

func subnetEchoed(m *dns.Msg, net netip.Prefix) bool {
	o := m.IsEdns0()
	if o == nil {
		return false
	}
	return slices.ContainsFunc(o.Option, func(e dns.EDNS0) bool {
		s, ok := e.(*dns.EDNS0_SUBNET)
		return ok && int(s.SourceNetmask) == net.Bits() && s.Address.Equal(net.Addr().AsSlice())
	})
}
