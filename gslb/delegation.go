package gslb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
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
	Signed  bool                    // the zone is, by the fleet file
}

// Finding is one fault of a delegation.
type Finding struct {
	Kind    string `json:"kind"`    // missing-glue, wrong-glue, lame, unreachable, no-tcp, wrong-ns, serials, parent-ttl, parent-silent, too-few, not-delegated; of signatures unsigned, bad-signature, keys, no-ds, wrong-ds, old-ds, old-key, stale-ds
	Where   string `json:"where"`   // the server that it was seen at
	Message string `json:"message"` // what is wrong, and what to do
}

// longestParentTTL: a name server that moves is asked for no longer.
const longestParentTTL = 24 * time.Hour

// referral is what a parent says of a zone below it.
type referral struct {
	owner string
	ns    []*dns.NS
	glue  map[string][]netip.Addr
	at    string // who said so
	ds    []*dns.DS
}

// Check follows the chain from the root and returns what is wrong with the
// delegation; the error says why it could not be followed.
func (d Delegation) Check(ctx context.Context) (found []Finding, err error) {
	c := &chain{ctx: ctx, roots: d.Roots}
	if len(c.roots) == 0 {
		c.roots = rootServers()
	}
	zone := dns.CanonicalName(d.Zone)
	parents, err := c.parents(zone)
	if err != nil {
		return nil, err
	}
	r, referrals, found := d.ofParents(ctx, zone, parents)
	if r.owner == zone {
		more, keys := d.ofServers(ctx, zone, r)
		var ofKeys []Finding
		for _, of := range referrals {
			ofKeys = append(ofKeys, ofDS(zone, of.at, of.ds, keys)...)
		}
		found = slices.Concat(found, more, once(ofKeys))
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return strings.Compare(a.Kind+a.Where, b.Kind+b.Where) })
	return found, nil
}

// ofParents asks every server of the parent zone: resolvers ask any of them. The referral is
// what all of them say together; each one's own are those of the servers that have one.
func (d Delegation) ofParents(ctx context.Context, zone string, parents []netip.AddrPort) (all referral, own []referral, found []Finding) {
	referrals, results := make([]referral, len(parents)), make([][]Finding, len(parents))
	var group errgroup.Group
	group.SetLimit(8)
	for i, at := range parents {
		group.Go(func() error {
			referrals[i], results[i] = d.ofParent(ctx, zone, at)
			return nil
		})
	}
	group.Wait() //nolint:errcheck // none returns one
	all.glue = map[string][]netip.Addr{}
	for _, r := range referrals {
		if r.owner == zone {
			all.owner, own = zone, append(own, r)
			for host, addresses := range r.glue {
				all.glue[host] = append(all.glue[host], addresses...)
			}
		}
	}
	return all, own, once(slices.Concat(results...))
}

// once says once what several servers say.
func once(all []Finding) (found []Finding) {
	for _, f := range all {
		if i := slices.IndexFunc(found, func(g Finding) bool { return g.Kind == f.Kind && g.Message == f.Message }); i >= 0 {
			found[i].Where += ", " + f.Where
		} else {
			found = append(found, f)
		}
	}
	return found
}

// ofParent asks one server of the parent zone.
func (d Delegation) ofParent(ctx context.Context, zone string, at netip.AddrPort) (r referral, found []Finding) {
	who := at.Addr().String()
	add := func(kind, format string, args ...any) {
		found = append(found, Finding{kind, who, fmt.Sprintf(format, args...)})
	}
	answer, err := ask(ctx, "udp", at, zone, dns.TypeNS, false)
	switch {
	case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT):
		return r, nil // this machine has no address of that family, and resolvers have
	case err != nil:
		add("parent-silent", "this server of the parent zone gives no answer (%v), and resolvers ask it too: have it mended, or taken out of the parent's NS records", err)
		return r, found
	}
	if r = readReferral(answer); r.owner != zone {
		add("not-delegated", "it has no NS records for %s: add one for each of %s, with their addresses as glue", zone, strings.Join(sortedKeys(d.Servers), ", "))
		return r, found
	}
	found = d.ofReferral(zone, who, r)
	r.at = who
	if answer, err = ask(ctx, "udp", at, zone, dns.TypeDS, false); err == nil {
		for _, rr := range answer.Answer {
			if ds, ok := rr.(*dns.DS); ok {
				r.ds = append(r.ds, ds)
			}
		}
		if len(r.ds) > 0 && !d.Signed {
			add("stale-ds", "the parent has a DS record for %s, and answers here are not signed: resolvers that validate give SERVFAIL for it; take the DS records out of the parent", zone)
		}
	}
	return r, found
}

func sortedKeys[V any](m map[string]V) []string {
	all := keys(m)
	slices.Sort(all)
	return all
}

// ofReferral is what is wrong with the parent's records, as that server has them.
func (d Delegation) ofReferral(zone, who string, r referral) (found []Finding) {
	add := func(kind, format string, args ...any) {
		found = append(found, Finding{kind, who, fmt.Sprintf(format, args...)})
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

// ofServers asks every name server that the parent or the fleet names. The keys are those
// that all have of whom one is known to have some.
func (d Delegation) ofServers(ctx context.Context, zone string, r referral) (found []Finding, keys []*dns.DNSKEY) {
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
		keys   []*dns.DNSKEY
		found  []Finding
	}
	results := map[netip.Addr]*seen{}
	var group errgroup.Group
	group.SetLimit(8)
	for a, host := range at {
		s := &seen{}
		results[a] = s
		group.Go(func() error {
			who, server := fmt.Sprintf("%s (%s)", host, a), netip.AddrPortFrom(a, uint16(port))
			if s.serial, s.found = d.ofServer(ctx, zone, who, server); d.Signed && s.serial != 0 {
				var more []Finding
				s.keys, more = d.keysOf(ctx, zone, who, server)
				s.found = append(s.found, more...)
			}
			return nil
		})
	}
	group.Wait() //nolint:errcheck // none returns one
	serials, own := map[uint32][]string{}, map[string][]*dns.DNSKEY{}
	for a, s := range results {
		found = append(found, s.found...)
		if len(s.keys) > 0 {
			own[fmt.Sprintf("%s (%s)", at[a], a)] = s.keys
		}
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
	keys, more := common(zone, own)
	return append(found, more...), keys
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
