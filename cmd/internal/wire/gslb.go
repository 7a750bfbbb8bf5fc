package wire

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/fleet"
)

// GSLBConfig turns a fleet file into what the name server of one datacenter needs.
func GSLBConfig(f *fleet.Fleet, datacenter string, log *slog.Logger, metrics prometheus.Registerer) (gslb.Config, error) {
	g := f.GSLB
	if g == nil {
		return gslb.Config{}, fmt.Errorf("the fleet file has no gslb section; an empty one will do: gslb: {}")
	}
	if f.Datacenters[datacenter] == nil {
		return gslb.Config{}, fmt.Errorf("there is no datacenter %q in the fleet file", datacenter)
	}
	secret, err := Secret(g.Key)
	if err != nil {
		return gslb.Config{}, fmt.Errorf("gslb.key: %w", err)
	}
	trusted, err := trust(f.Harbor.CA)
	if err != nil {
		return gslb.Config{}, fmt.Errorf("harbor.ca: %w", err)
	}
	cfg := gslb.Config{
		Node: datacenter, Listen: g.Listen, State: g.State, Secret: secret, Log: log, Metrics: metrics,
		Fleet: gslb.FleetConfig{Order: members(f, g.Order), Topology: g.Topology, GeoIP: g.GeoIP},
		Probe: gslb.ProbeConfig{Interval: time.Duration(g.Probe.Interval), Timeout: time.Duration(g.Probe.Timeout), Fall: g.Probe.Fall, Rise: g.Probe.Rise,
			Confirm: time.Duration(g.Probe.Confirm), Hold: time.Duration(g.Probe.Hold)},
	}
	var roots *x509.CertPool
	if trusted != nil {
		roots = trusted.RootCAs
	}
	for _, name := range f.Order {
		cfg.Fleet.Datacenters = append(cfg.Fleet.Datacenters, datacenterOf(name, f.Datacenters[name]))
		cfg.Targets = append(cfg.Targets, target(f, name, roots))
	}
	for _, n := range g.Explain {
		cfg.Fleet.Explain = append(cfg.Fleet.Explain, n.Prefix)
	}
	cfg.Fleet.Zones = zones(f)
	return cfg, nil
}

// members are datacenters as indexes into the fleet's list.
func members(f *fleet.Fleet, names []string) (all []int) {
	for _, name := range names {
		all = append(all, slices.Index(f.Order, name))
	}
	return all
}

func datacenterOf(name string, dc *fleet.Datacenter) gslb.Datacenter {
	d := gslb.Datacenter{Name: name, Backup: dc.Role == fleet.Backup, Weight: *dc.Weight}
	if l := dc.Location; l != nil {
		d.Location = &gslb.Location{Latitude: l.Latitude, Longitude: l.Longitude, Country: l.Country, Continent: l.Continent}
	}
	for _, n := range dc.Networks {
		d.Networks = append(d.Networks, n.Prefix)
	}
	d.Addresses, d.NameServers = plain(dc.Addresses), plain(dc.GSLB)
	return d
}

func plain(addresses []fleet.Addr) (all []netip.Addr) {
	for _, a := range addresses {
		all = append(all, a.Addr.Unmap())
	}
	return all
}

// target is what is asked to see whether a datacenter serves: its edge, as clients
// do; Harbor itself where there is none; or what the fleet file says instead.
func target(f *fleet.Fleet, name string, roots *x509.CertPool) gslb.Target {
	dc := f.Datacenters[name]
	t := gslb.Target{Datacenter: name, Kind: gslb.ProbeHarbor, URL: string(dc.Harbor), ServerName: f.Domain, Roots: roots}
	if dc.Edge != "" {
		t.Kind, t.URL = gslb.ProbeEdge, string(dc.Edge)
	}
	if dc.Probe != "" {
		t.URL, t.ServerName = string(dc.Probe), ""
		t.Kind = gslb.KindOf(t.URL)
	}
	return t
}

// zones are the domain's and those of further names that are not below it.
func zones(f *fleet.Fleet) (all []gslb.Zone) {
	g := f.GSLB
	everybody := members(f, g.Order)
	for i := range f.Order {
		if !slices.Contains(everybody, i) {
			everybody = append(everybody, i)
		}
	}
	add := func(origin, name string, n fleet.GSLBName) {
		own := gslb.Name{Name: name + ".", Method: gslb.Method(n.Method), Panic: gslb.Panic(n.Panic), TTL: time.Duration(*n.TTL), MinPrimaries: g.MinPrimaries, Members: everybody}
		if n.Method == "twrr" { // as Polaris GSLB calls it
			own.Method = gslb.Nearest
		}
		if len(n.Datacenters) > 0 {
			own.Members = members(f, n.Datacenters)
		}
		at := slices.IndexFunc(all, func(z gslb.Zone) bool { return z.Origin == origin+"." })
		if at < 0 {
			at, all = len(all), append(all, gslb.Zone{Origin: origin + ".", Mbox: g.SOA.Mbox + "."})
		}
		all[at].Names = append(all[at].Names, own)
	}
	add(f.Domain, f.Domain, fleet.GSLBName{Method: g.Method, Panic: g.Panic, TTL: g.TTL})
	for _, name := range sortedNames(g.Names) {
		origin := name
		if len(name) > len(f.Domain) && name[len(name)-len(f.Domain)-1:] == "."+f.Domain {
			origin = f.Domain
		}
		add(origin, name, *g.Names[name])
	}
	return all
}

func sortedNames(m map[string]*fleet.GSLBName) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
