package gslb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

const (
	lookupDeadline = 3 * time.Second
	maxReferrals   = 16
	maxServers     = 64 // of one zone
	maxLookups     = 64 // of one check: a chain may be made to have no end
)

// chain follows referrals from the root.
type chain struct {
	ctx     context.Context
	roots   []netip.AddrPort
	lookups int
}

// parents returns every server of the zone that delegates this one, or should.
func (c *chain) parents(zone string) ([]netip.AddrPort, error) {
	servers, from := c.roots, "the root"
	var here *referral // to the zone that the servers have; nil: it is the root
	for range maxReferrals {
		answer, err := c.askAny(servers, zone, dns.TypeNS)
		if err != nil {
			return nil, fmt.Errorf("follow the chain to %s: the servers of %s: %w", zone, from, err)
		}
		r := readReferral(answer)
		switch {
		case r.owner != zone && r.owner != "" && dns.IsSubDomain(r.owner, zone):
		case here == nil:
			return servers, nil
		default:
			return c.addresses(*here, true)
		}
		from, here = r.owner, &r
		if servers, err = c.addresses(r, false); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("follow the chain to %s: more than %d referrals", zone, maxReferrals)
}

// readReferral reads what a server says of who serves the zone, itself or another.
func readReferral(m *dns.Msg) referral {
	r := referral{glue: map[string][]netip.Addr{}}
	for _, rr := range slices.Concat(m.Ns, m.Answer) {
		if ns, ok := rr.(*dns.NS); ok {
			r.owner = dns.CanonicalName(ns.Hdr.Name)
			r.ns = append(r.ns, ns)
		}
	}
	for _, rr := range m.Extra {
		host := dns.CanonicalName(rr.Header().Name)
		if a, ok := addressOf(rr); ok {
			r.glue[host] = append(r.glue[host], a)
		}
	}
	return r
}

func addressOf(rr dns.RR) (a netip.Addr, ok bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok = netip.AddrFromSlice(rr.A.To4())
	case *dns.AAAA:
		a, ok = netip.AddrFromSlice(rr.AAAA)
	}
	return a, ok
}

// addresses are where the servers of a referral are: by its glue, else looked up. every: of
// those without glue too where others have some.
func (c *chain) addresses(r referral, every bool) (all []netip.AddrPort, err error) {
	port := c.roots[0].Port() // 53, but for tests
	add := func(found []netip.Addr) {
		for _, a := range found {
			if at := netip.AddrPortFrom(a, port); !slices.Contains(all, at) && len(all) < maxServers {
				all = append(all, at)
			}
		}
	}
	for _, ns := range r.ns {
		add(r.glue[dns.CanonicalName(ns.Ns)])
	}
	for _, ns := range r.ns {
		host := dns.CanonicalName(ns.Ns)
		if len(r.glue[host]) > 0 || len(all) > 0 && !every {
			continue
		}
		if found, err := c.lookup(host); err == nil {
			add(found)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("follow the chain: no address of the servers of %s is to be had", r.owner)
	}
	return all, nil
}

// lookup resolves a name server's name from the root.
func (c *chain) lookup(host string) (all []netip.Addr, err error) {
	servers := c.roots
	for range maxReferrals {
		answer, err := c.askAny(servers, host, dns.TypeA)
		if err != nil {
			return nil, err
		}
		for _, rr := range answer.Answer {
			if a, ok := addressOf(rr); ok {
				all = append(all, a)
			}
		}
		if len(all) > 0 || answer.Authoritative {
			return all, nil
		}
		if servers, err = c.addresses(readReferral(answer), false); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d referrals to %s", maxReferrals, host)
}

// askAny asks the servers in turn.
func (c *chain) askAny(servers []netip.AddrPort, name string, qtype uint16) (m *dns.Msg, err error) {
	for _, at := range servers {
		if c.lookups++; c.lookups > maxLookups {
			return nil, fmt.Errorf("more than %d questions", maxLookups)
		}
		var e error
		if m, e = ask(c.ctx, "udp", at, name, qtype, false); e == nil {
			return m, nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", at, e))
	}
	return nil, err
}

// ask sends one question. whatever: also an answer that is an error is one.
func ask(ctx context.Context, network string, at netip.AddrPort, name string, qtype uint16, whatever bool) (*dns.Msg, error) {
	answer, err := exchange(ctx, network, at, asking(name, qtype))
	if err == nil && !whatever && answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("it answers %s", dns.RcodeToString[answer.Rcode])
	}
	return answer, err
}

// asking is a question to who answers by himself.
func asking(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.RecursionDesired = false
	m.SetEdns0(sizeUDP, false)
	return m
}

// exchange asks, again over TCP when the answer is cut short.
func exchange(ctx context.Context, network string, at netip.AddrPort, m *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupDeadline)
	defer cancel()
	answer, _, err := (&dns.Client{Net: network}).ExchangeContext(ctx, m, at.String())
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fmt.Errorf("none within %v", lookupDeadline)
	case err != nil:
		return nil, err
	case answer.Truncated && network == "udp":
		return exchange(ctx, "tcp", at, m)
	}
	return answer, nil
}

// rootServers are the addresses of the root's servers (https://www.iana.org/domains/root/servers).
func rootServers() (all []netip.AddrPort) {
	for _, a := range []string{"198.41.0.4", "170.247.170.2", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241", "192.112.36.4",
		"198.97.190.53", "192.36.148.17", "192.58.128.30", "193.0.14.129", "199.7.83.42", "202.12.27.33"} {
		all = append(all, netip.AddrPortFrom(netip.MustParseAddr(a), 53))
	}
	return all
}
