package gslb

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Lookup is a question as a resolver asks it for one of its clients.
type Lookup struct {
	Name   string
	Client netip.Prefix // what is said of the client (EDNS Client Subnet); invalid: nothing
}

// Looked is what one name server says to it.
type Looked struct {
	Node      string         `json:"node"`
	Server    netip.AddrPort `json:"server"`
	Rcode     string         `json:"rcode"` // "" where there is no answer
	Addresses []netip.Addr   `json:"addresses"`
	TTL       uint32         `json:"ttl"`   // seconds: the least
	Scope     int            `json:"scope"` // length of the client's prefix that has the same answer
	Took      float64        `json:"took"`  // seconds
	Error     string         `json:"error"` // why there is no answer
}

// Same reports whether both say the same of where the client is to go.
func (l Looked) Same(m Looked) bool {
	return l.Rcode == m.Rcode && l.Error == m.Error && l.Scope == m.Scope && slices.Equal(l.Addresses, m.Addresses)
}

// Ask asks all servers at once, for addresses of both families, over UDP.
func (l Lookup) Ask(ctx context.Context, servers map[netip.AddrPort]string) []Looked {
	all := make([]Looked, 0, len(servers))
	for at, node := range servers {
		all = append(all, Looked{Node: node, Server: at})
	}
	slices.SortFunc(all, func(a, b Looked) int { return a.Server.Compare(b.Server) })
	var group errgroup.Group
	for i := range all {
		group.Go(func() error {
			l.ask(ctx, &all[i])
			return nil
		})
	}
	group.Wait() //nolint:errcheck // none returns one
	return all
}

func (l Lookup) ask(ctx context.Context, to *Looked) {
	to.Addresses = []netip.Addr{}
	begun := time.Now()
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := exchange(ctx, "udp", to.Server, l.question(qtype))
		if err != nil {
			to.Rcode, to.Error = "", err.Error()
			return
		}
		to.Rcode = dns.RcodeToString[answer.Rcode]
		for _, rr := range answer.Answer {
			if a, ok := addressOf(rr); ok {
				if ttl := rr.Header().Ttl; len(to.Addresses) == 0 || ttl < to.TTL {
					to.TTL = ttl
				}
				to.Addresses = append(to.Addresses, a)
			}
		}
		if opt := answer.IsEdns0(); opt != nil {
			for _, o := range opt.Option {
				if subnet, ok := o.(*dns.EDNS0_SUBNET); ok {
					to.Scope = max(to.Scope, int(subnet.SourceScope))
				}
			}
		}
	}
	to.Took = time.Since(begun).Seconds()
	slices.SortFunc(to.Addresses, netip.Addr.Compare)
}

func (l Lookup) question(qtype uint16) *dns.Msg {
	m := asking(dns.CanonicalName(l.Name), qtype)
	if l.Client.IsValid() {
		family := uint16(2)
		if l.Client.Addr().Is4() {
			family = 1
		}
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(l.Client.Bits()), Address: l.Client.Masked().Addr().AsSlice()})
	}
	return m
}

// ClientNetwork reads who a question is for: a network, or an address, of which resolvers
// tell the /24 or /56.
func ClientNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no client: want an address or a network", text)
	}
	return together(a.Unmap().WithZone("")), nil
}
