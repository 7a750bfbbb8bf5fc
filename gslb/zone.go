package gslb

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/miekg/dns"
)

const (
	fixedTTL     = 3600 // seconds: of what says no other
	soaRefresh   = 3600
	soaRetry     = 600
	soaExpire    = 7 * 24 * 3600
	explainLabel = "_why." // before a name: its TXT says why
	acmeLabel    = "_acme-challenge."
	maxTXT       = 255 // bytes of a character-string (RFC 1035, section 3.3)
)

// zoneView is one zone at one moment.
type zoneView struct {
	*Zone
	names map[string]*nameView
	hosts map[string][]netip.Addr // the name servers' addresses
	soa   *dns.SOA
	ns    []dns.RR
	glue  []dns.RR
	inner map[string]bool // empty non-terminals

	signed  *signedZone // nil: it is not
	unknown slot        // of names that are not there, without proof
}

func newZoneView(f *Fleet, z *Zone, now func(n *Name) []status) *zoneView {
	v := &zoneView{Zone: z, names: map[string]*nameView{}, hosts: map[string][]netip.Addr{}, inner: map[string]bool{}}
	for _, dc := range f.Datacenters {
		if len(dc.NameServers) == 0 {
			continue
		}
		host := "ns-" + dc.Name + "." + z.Origin
		v.hosts[host] = dc.NameServers
		v.ns = append(v.ns, &dns.NS{Hdr: header(z.Origin, dns.TypeNS, seconds(z.NSTTL)), Ns: host})
		for _, a := range dc.NameServers {
			v.glue = append(v.glue, address(host, a, seconds(z.GlueTTL)))
		}
	}
	least := seconds(z.SOATTL)
	for i := range z.Names {
		n := &z.Names[i]
		v.names[n.Name] = newNameView(f, n, now(n))
		least = min(least, uint32(n.TTL.Seconds()))
	}
	for _, known := range [][]string{keys(v.names), keys(v.hosts)} {
		for _, name := range known {
			for up := parent(name); len(up) > len(z.Origin); up = parent(up) {
				v.inner[up] = true
			}
		}
	}
	v.soa = &dns.SOA{Hdr: header(z.Origin, dns.TypeSOA, seconds(z.SOATTL)), Ns: z.Origin, Mbox: z.Mbox, Serial: f.serial(z),
		Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: least}
	if len(v.ns) > 0 {
		v.soa.Ns = v.ns[0].(*dns.NS).Ns
	}
	return v
}

func seconds(ttl time.Duration) uint32 {
	if ttl == 0 {
		return fixedTTL
	}
	return uint32(ttl.Seconds())
}

func keys[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

func parent(name string) string {
	_, up, _ := strings.Cut(name, ".")
	return up
}

// serial is the same on all nodes that have the same fleet file, topology and geographic
// database: nothing transfers the zone, so all it has to do is to differ where what they say does.
func (f *Fleet) serial(z *Zone) uint32 {
	h := xxhash.New()
	fmt.Fprintf(h, "%+v%x", *z, f.Places.sum)
	for _, k := range f.Keys {
		fmt.Fprint(h, k.public)
	}
	for _, dc := range f.Datacenters {
		location := Location{}
		if dc.Location != nil {
			location = *dc.Location
		}
		dc.Location = nil
		fmt.Fprintf(h, "%+v%+v", dc, location)
	}
	return max(1, binary.BigEndian.Uint32(h.Sum(nil)))
}

func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func address(name string, a netip.Addr, ttl uint32) dns.RR {
	if a.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA, ttl), A: a.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA, ttl), AAAA: a.AsSlice()}
}

// zoneOf is the zone that the name is in, the most specific one.
func (v *view) zoneOf(name string) *zoneView {
	for _, z := range v.zones {
		if z.Origin == name || dns.IsSubDomain(z.Origin, name) {
			return z
		}
	}
	return nil
}

func newView(f *Fleet, m *metrics, now func(n *Name) []status) *view {
	v := &view{fleet: f, metrics: m}
	for i := range f.Zones {
		v.zones = append(v.zones, newZoneView(f, &f.Zones[i], now))
	}
	slices.SortStableFunc(v.zones, func(a, b *zoneView) int { return len(b.Origin) - len(a.Origin) })
	v.index()
	v.state = v.epoch()
	return v
}
