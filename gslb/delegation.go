package gslb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Delegation says what to check: that the zone is delegated to the fleet's name servers.
type Delegation struct {
	Zone    string                  // as harbor.example.org
	Servers map[string][]netip.Addr // the fleet's name servers: host name as ns-par1.harbor.example.org, addresses
	Port    int                     // of the fleet's name servers; 0: 53
	Roots   []netip.AddrPort        // where the chain begins; none: the root servers
}

// Finding is one fault of a delegation.
type Finding struct {
	Kind    string `json:"kind"`    // missing-glue, wrong-glue, lame, unreachable, no-tcp, wrong-ns, serials, parent-ttl, too-few, not-delegated
	Where   string `json:"where"`   // the server that it was seen at
	Message string `json:"message"` // what is wrong, and what to do
}

const (
	longestParentTTL = 24 * time.Hour // a name server that moves is asked for no longer
	lookupDeadline   = 3 * time.Second
	maxReferrals     = 16
	maxLookups       = 64 // of one check: a chain may be made to have no end
)

// referral is what a parent says of a zone below it.
type referral struct {
	from  string // the server that said it
	owner string
	ns    []*dns.NS
	glue  map[string][]netip.Addr
}

// Check follows the chain from the root and returns what is wrong with the
// delegation; the error says why it could not be followed.
func (d Delegation) Check(ctx context.Context) (found []Finding, err error) {
	c := &chain{ctx: ctx, roots: d.Roots}
	if len(c.roots) == 0 {
		c.roots = rootServers()
	}
	zone := dns.CanonicalName(d.Zone)
	r, err := c.delegation(zone)
	if errors.Is(err, errNotDelegated) {
		return []Finding{{"not-delegated", r.from, fmt.Sprintf("%s has no NS records for %s: add one for each of %s, with their addresses as glue", r.from, zone, strings.Join(sortedKeys(d.Servers), ", "))}}, nil
	}
	if err != nil {
		return nil, err
	}
	found = append(found, d.ofParent(zone, r)...)
	found = append(found, d.ofServers(ctx, zone, r)...)
	slices.SortStableFunc(found, func(a, b Finding) int { return strings.Compare(a.Kind+a.Where, b.Kind+b.Where) })
	return found, nil
}

func sortedKeys[V any](m map[string]V) []string {
	all := keys(m)
	slices.Sort(all)
	return all
}

// ofParent is what is wrong with the parent's records.
func (d Delegation) ofParent(zone string, r referral) (found []Finding) {
	add := func(kind, format string, args ...any) {
		found = append(found, Finding{kind, r.from, fmt.Sprintf(format, args...)})
	}
	said := map[string]bool{}
	for _, ns := range r.ns {
		host := dns.CanonicalName(ns.Ns)
		said[host] = true
		if ttl := time.Duration(ns.Hdr.Ttl) * time.Second; ttl > longestParentTTL {
			add("parent-ttl", "NS %s has a TTL of %v in the parent zone: a name server that moves is lost for as long; write %v or less", host, ttl, longestParentTTL)
		}
		switch glue, want := r.glue[host], d.Servers[host]; {
		case len(glue) == 0 && dns.IsSubDomain(zone, host):
			add("missing-glue", "%s is a name in the zone that it serves, and the parent has no address for it: add A and AAAA records for it there", host)
		case want != nil && len(glue) > 0 && !sameAddresses(glue, want):
			add("wrong-glue", "the parent's addresses of %s are %v, the fleet's are %v: change the parent's", host, glue, want)
		}
	}
	if want := sortedKeys(d.Servers); !slices.Equal(want, sortedKeys(said)) {
		add("wrong-ns", "the parent delegates to %s, the fleet's name servers are %s: change the parent's NS records", strings.Join(sortedKeys(said), ", "), strings.Join(want, ", "))
	}
	if len(said) < 2 {
		add("too-few", "one name server alone: with its datacenter the name is gone; give a second datacenter one (gslb)")
	}
	return found
}

func sameAddresses(a, b []netip.Addr) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, netip.Addr.Compare)
	slices.SortFunc(b, netip.Addr.Compare)
	return slices.Equal(a, b)
}

// ofServers asks every name server that the parent or the fleet names.
func (d Delegation) ofServers(ctx context.Context, zone string, r referral) []Finding {
	at := map[netip.Addr]string{}
	for _, hosts := range []map[string][]netip.Addr{r.glue, d.Servers} {
		for host, addresses := range hosts {
			for _, a := range addresses {
				at[a] = host
			}
		}
	}
	port := d.Port
	if port == 0 {
		port = 53
	}
	type seen struct {
		serial uint32
		found  []Finding
	}
	results := map[netip.Addr]*seen{}
	var group errgroup.Group
	group.SetLimit(8)
	for a, host := range at {
		s := &seen{}
		results[a] = s
		group.Go(func() error {
			s.serial, s.found = d.ofServer(ctx, zone, fmt.Sprintf("%s (%s)", host, a), netip.AddrPortFrom(a, uint16(port)))
			return nil
		})
	}
	group.Wait() //nolint:errcheck // none returns one
	var found []Finding
	serials := map[uint32][]string{}
	for a, s := range results {
		found = append(found, s.found...)
		if s.serial != 0 {
			serials[s.serial] = append(serials[s.serial], at[a])
		}
	}
	if len(serials) > 1 {
		var parts []string
		for serial, hosts := range serials {
			slices.Sort(hosts)
			parts = append(parts, fmt.Sprintf("%d at %s", serial, strings.Join(hosts, ", ")))
		}
		slices.Sort(parts)
		found = append(found, Finding{"serials", zone, "the name servers have different zones, as their SOA serials say (" + strings.Join(parts, "; ") + "): give all of them the same fleet file"})
	}
	return found
}

// ofServer asks one name server, over UDP and TCP. The serial is 0 where it has none.
func (d Delegation) ofServer(ctx context.Context, zone, who string, at netip.AddrPort) (serial uint32, found []Finding) {
	add := func(kind, format string, args ...any) {
		found = append(found, Finding{kind, who, fmt.Sprintf(format, args...)})
	}
	soa, err := ask(ctx, "udp", at, zone, dns.TypeSOA, true)
	if err != nil {
		add("unreachable", "no answer over UDP on port %d: %v; is it running, and is the port open to the internet?", at.Port(), err)
	} else if record, ok := first[*dns.SOA](soa.Answer); !soa.Authoritative || !ok {
		add("lame", "it is not authoritative for %s (%s): it serves another zone, or another program has the port", zone, dns.RcodeToString[soa.Rcode])
	} else {
		serial = record.Serial
	}
	if _, err := ask(ctx, "tcp", at, zone, dns.TypeSOA, true); err != nil {
		add("no-tcp", "no answer over TCP on port %d: %v; resolvers need it for what UDP truncates", at.Port(), err)
	}
	if serial == 0 {
		return serial, found
	}
	answer, err := ask(ctx, "udp", at, zone, dns.TypeNS, true)
	if err != nil {
		return serial, found
	}
	own := map[string]bool{}
	for _, rr := range answer.Answer {
		if ns, ok := rr.(*dns.NS); ok {
			own[dns.CanonicalName(ns.Ns)] = true
		}
	}
	if want := sortedKeys(d.Servers); !slices.Equal(want, sortedKeys(own)) {
		add("wrong-ns", "its NS records are %s, the fleet file's name servers are %s: it runs with another fleet file", strings.Join(sortedKeys(own), ", "), strings.Join(want, ", "))
	}
	return serial, found
}

func first[T dns.RR](rrs []dns.RR) (t T, ok bool) {
	for _, rr := range rrs {
		if t, ok = rr.(T); ok {
			return t, true
		}
	}
	return t, false
}

// chain follows referrals from the root.
type chain struct {
	ctx     context.Context
	roots   []netip.AddrPort
	lookups int
}

var errNotDelegated = errors.New("it is not delegated")

// delegation returns the referral to exactly the zone.
func (c *chain) delegation(zone string) (r referral, err error) {
	servers, from := c.roots, "the root"
	for range maxReferrals {
		answer, who, err := c.askAny(servers, zone, dns.TypeNS)
		if err != nil {
			return r, fmt.Errorf("follow the chain to %s: the servers of %s: %w", zone, from, err)
		}
		r = readReferral(who, answer)
		switch {
		case r.owner == zone:
			return r, nil
		case r.owner == "" || !dns.IsSubDomain(r.owner, zone):
			return r, errNotDelegated
		}
		from = r.owner
		if servers, err = c.addresses(r); err != nil {
			return r, err
		}
	}
	return r, fmt.Errorf("follow the chain to %s: more than %d referrals", zone, maxReferrals)
}

// readReferral reads what a server says of who serves the zone, itself or another.
func readReferral(from string, m *dns.Msg) referral {
	r := referral{from: from, glue: map[string][]netip.Addr{}}
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

// addresses are where the servers of a referral are: by its glue, else looked up.
func (c *chain) addresses(r referral) (all []netip.AddrPort, err error) {
	port := c.roots[0].Port() // 53, but for tests
	for _, ns := range r.ns {
		for _, a := range r.glue[dns.CanonicalName(ns.Ns)] {
			all = append(all, netip.AddrPortFrom(a, port))
		}
	}
	for _, ns := range r.ns {
		if len(all) > 0 {
			break
		}
		found, err := c.lookup(dns.CanonicalName(ns.Ns))
		if err != nil {
			continue
		}
		for _, a := range found {
			all = append(all, netip.AddrPortFrom(a, port))
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
		answer, who, err := c.askAny(servers, host, dns.TypeA)
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
		if servers, err = c.addresses(readReferral(who, answer)); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d referrals to %s", maxReferrals, host)
}

// askAny asks the servers in turn.
func (c *chain) askAny(servers []netip.AddrPort, name string, qtype uint16) (m *dns.Msg, who string, err error) {
	for _, at := range servers {
		if c.lookups++; c.lookups > maxLookups {
			return nil, "", fmt.Errorf("more than %d questions", maxLookups)
		}
		var e error
		if m, e = ask(c.ctx, "udp", at, name, qtype, false); e == nil {
			return m, at.Addr().String(), nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", at, e))
	}
	return nil, "", err
}

// ask sends one question, again over TCP when the answer is cut short. whatever: also
// an answer that is an error is one.
func ask(ctx context.Context, network string, at netip.AddrPort, name string, qtype uint16, whatever bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupDeadline)
	defer cancel()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.RecursionDesired = false
	m.SetEdns0(1232, false)
	answer, _, err := (&dns.Client{Net: network}).ExchangeContext(ctx, m, at.String())
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fmt.Errorf("none within %v", lookupDeadline)
	case err != nil:
		return nil, err
	case answer.Truncated && network == "udp":
		return ask(ctx, "tcp", at, name, qtype, whatever)
	case !whatever && answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("it answers %s", dns.RcodeToString[answer.Rcode])
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
