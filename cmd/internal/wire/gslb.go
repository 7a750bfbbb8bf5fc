package wire

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/internal/signed"
)

// GSLBFile says which name server to start.
type GSLBFile struct {
	Fleet      string               // the fleet file's name: it is read again when it changes
	Datacenter string               // whose name server this is
	Siblings   string               // where all name servers of the datacenter are, joined by commas; "": there is only this one
	TakeOver   bool                 // another name server may run here, which ends when this one answers
	Lacks      func() []daemon.Lack // what is wrong with what the name server needs; nil: nothing
	Log        *slog.Logger
	Level      *slog.LevelVar  // what Log obeys; changed on the admin listener
	Journal    *daemon.Journal // where Log writes, whose losses are counted; nil: it has none
}

// GSLB is a name server that is ready to run.
type GSLB struct {
	*gslb.Node
	Servers []daemon.Server // metrics, admin and, where there is a key, peers
	cfg     GSLBFile
	daemon  daemon.Daemon
	reloads *daemon.Reloads
	began   *fleet.GSLB   // what it was started with
	keys    *keyring.Ring // of the secrets that were looked up last; nil: there was none at the start

	mu    sync.Mutex
	fleet *fleet.Fleet // what is in force
}

// NewGSLB reads the files and opens the name server's sockets and listeners.
func NewGSLB(ctx context.Context, cfg GSLBFile) (*GSLB, error) {
	metrics := prometheus.NewRegistry()
	cfg.Journal.Count(metrics)
	g := &GSLB{cfg: cfg, daemon: daemon.Daemon{Log: cfg.Log}, reloads: daemon.NewReloads("gslb", cfg.Log, metrics, cfg.Fleet)}
	f, err := g.read()
	if err != nil {
		return nil, err
	}
	own, err := gslbConfig(f, cfg.Datacenter, cfg.Log, metrics)
	if err != nil {
		return nil, err
	}
	warnOfIdle(&fleet.Fleet{}, f, cfg.Log)
	if own.Keys, err = gslbKeys(ctx, f); err != nil {
		return nil, err
	}
	if own.Keys != nil && *f.GSLB.Peers != "" {
		own.Exchange = g.exchange
	}
	own.Lacks, own.TakeOver = g.lacks, cfg.TakeOver
	node, err := gslb.New(ctx, own)
	if err != nil {
		return nil, err
	}
	g.Node, g.began, g.keys, g.fleet = node, f.GSLB, own.Keys, f
	admin := daemon.Admin(cfg.Level)
	node.Admin(admin)
	steer.Handle(admin, g.everybody)
	ready := func() error {
		if !node.Report().Answering {
			return errors.New("the first round of probes is not in")
		}
		return nil
	}
	g.Servers = []daemon.Server{{Name: "metrics", Handler: daemon.Named(daemon.NameServer, daemon.Metrics(metrics, ready))}, {Name: "admin", Handler: daemon.Named(daemon.NameServer, daemon.ForOperators(f.GSLB.Admin, admin))}}
	addresses := []string{f.GSLB.Metrics, f.GSLB.Admin}
	if at := *f.GSLB.Peers; g.keys != nil && at != "" {
		peers := &signed.Handler{Ring: g.keys, Self: cfg.Datacenter, Since: time.Now().Truncate(time.Millisecond), Next: node.Peers(signed.Asker, g.siblings(at).SteerAll)}
		addresses = append(addresses, at)
		g.Servers = append(g.Servers, daemon.Server{Name: "peers", Handler: peers, Public: true})
	}
	listen := daemon.Listen
	if cfg.TakeOver {
		listen = daemon.ListenWhenFree
	}
	for i, address := range addresses {
		if g.Servers[i].Listener, err = listen(fmt.Sprintf("gslb %s (%s)", cfg.Datacenter, g.Servers[i].Name), address); err != nil {
			g.Servers = g.Servers[:i]
			g.Close() //nolint:errcheck // the start failed in any case
			return nil, err
		}
	}
	return g, nil
}

// read reads the fleet file, and has all that is read with it watched.
func (g *GSLB) read() (*fleet.Fleet, error) {
	f, err := fleet.ReadFile(g.cfg.Fleet)
	if err != nil {
		return nil, err
	}
	names := []string{g.cfg.Fleet, f.Harbor.CA, f.Secrets.Vault.CA}
	if own := f.GSLB; own != nil {
		names = append(names, own.Topology, own.GeoIP, own.DNSSEC.Key, own.DNSSEC.PreviousKey)
		names = append(names, filesBehind(append(loginRefs(f), own.Key, own.PreviousKey)...)...)
	}
	g.reloads.Watch(named(names)...)
	return f, nil
}

// gslbKeys looks up the secrets that the name servers share.
func gslbKeys(ctx context.Context, f *fleet.Fleet) (*keyring.Ring, error) {
	secrets, err := secret.New(f)
	if err != nil {
		return nil, err
	}
	if err := secrets.Need(ctx, f.GSLB.Key, f.GSLB.PreviousKey); err != nil {
		return nil, err
	}
	return secrets.Keys(ctx, "gslb", f.GSLB.Key, f.GSLB.PreviousKey)
}

// Close gives the sockets back of a name server that never ran.
func (g *GSLB) Close() error {
	g.reloads.Stop()
	for _, s := range g.Servers {
		s.Listener.Close() //nolint:errcheck // closed already after a run
	}
	g.Node.Close()
	return nil
}

// Run answers until ctx ends, and reads the files again when they change.
func (g *GSLB) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Node.Run(ctx) })
	group.Go(func() error { return g.daemon.Run(ctx, g.Servers...) })
	group.Go(func() error {
		g.reloads.Run(ctx, g.reload)
		return nil
	})
	return group.Wait()
}

// reload takes what the files say now, or with a fault nothing of it.
func (g *GSLB) reload(ctx context.Context) error {
	f, err := g.read()
	if err != nil {
		return err
	}
	own, err := gslbConfig(f, g.cfg.Datacenter, g.cfg.Log, nil)
	if err != nil {
		return err
	}
	keys, err := gslbKeys(ctx, f)
	if err != nil {
		return err
	}
	own.Keys = keys
	if err := g.Node.Reload(own); err != nil {
		return err
	}
	if g.keys != nil && keys != nil {
		g.keys.Take(keys) // who has the ring has the new keys
	}
	g.mu.Lock()
	before := g.fleet
	g.fleet = f
	g.mu.Unlock()
	warnOfIdle(before, f, g.cfg.Log)
	was, is := g.began, f.GSLB
	g.reloads.Restart(changed([]restart{
		{"gslb.listen", was.Listen != is.Listen},
		{"gslb.metrics", was.Metrics != is.Metrics},
		{"gslb.admin", was.Admin != is.Admin},
		{"gslb.peers", *was.Peers != *is.Peers},
		{"gslb.state", was.State != is.State},
		{"gslb.rate_limit", was.RateLimit != is.RateLimit},
		{"gslb.dnstap", was.DNSTap != is.DNSTap},
		{"gslb.proxy_protocol", !slices.Equal(was.ProxyProtocol.From, is.ProxyProtocol.From)},
		{"gslb.version", was.Version != is.Version},
		{"gslb.key", (g.keys == nil) != (keys == nil)},
	})...)
	return nil
}

// everybody are all name servers of the fleet, for who asks them by way of this one.
func (g *GSLB) everybody() (*steer.Fleet, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return steer.New(g.fleet, g.keys, g.cfg.Datacenter, g.siblings(*g.fleet.GSLB.Peers))
}

// exchange tells the other name servers what this one sees (gslb.Exchange).
func (g *GSLB) exchange(ctx context.Context, own gslb.Observation, hear func(gslb.Observation)) {
	if all, err := g.everybody(); err == nil { // else there is nobody to ask, as status says
		all.Exchange(ctx, own, hear)
	}
}

// siblings are the name servers of this datacenter, which listen for each other on the same port.
func (g *GSLB) siblings(peers string) *steer.Siblings {
	_, port, _ := net.SplitHostPort(peers)
	return &steer.Siblings{Node: g.Node, Name: g.cfg.Datacenter, Host: g.cfg.Siblings, Port: port, Ring: g.keys}
}

// Delegations are what the parents of the fleet's zones should say.
func Delegations(f *fleet.Fleet) (all []gslb.Delegation, err error) {
	if f.GSLB == nil {
		return nil, errNoGSLB
	}
	_, port, _ := net.SplitHostPort(f.GSLB.Listen)
	for _, z := range zones(f) {
		d := gslb.Delegation{Zone: z.Origin, Servers: map[string][]netip.Addr{}, Signed: f.GSLB.DNSSEC.Key != ""}
		if d.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("gslb.listen: %w", err)
		}
		for name, dc := range f.Datacenters {
			if len(dc.GSLB) > 0 {
				d.Servers["ns-"+name+"."+z.Origin] = plain(dc.GSLB)
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// Places is what says where a fleet's clients are, with the files that its name servers read.
func Places(f *fleet.Fleet) gslb.PlacesConfig {
	cfg := gslb.PlacesConfig{Order: members(f, f.GSLB.Order), Topology: f.GSLB.Topology, GeoIP: f.GSLB.GeoIP}
	for _, name := range f.Order {
		cfg.Datacenters = append(cfg.Datacenters, datacenterOf(name, f.Datacenters[name]))
	}
	return cfg
}

var errNoGSLB = errors.New("the fleet file has no gslb section; write gslb: {}, and the addresses of its name servers (datacenters.<name>.gslb)")

// gslbConfig turns a fleet file into what the name server of one datacenter needs, but
// for the keys that name servers know each other by.
func gslbConfig(f *fleet.Fleet, datacenter string, log *slog.Logger, metrics prometheus.Registerer) (gslb.Config, error) {
	g := f.GSLB
	if g == nil {
		return gslb.Config{}, errNoGSLB
	}
	if f.Datacenters[datacenter] == nil {
		return gslb.Config{}, f.NoDatacenter(datacenter)
	}
	keys, err := zoneKeys(f)
	if err != nil {
		return gslb.Config{}, err
	}
	trusted, err := trust(f.Harbor.CA)
	if err != nil {
		return gslb.Config{}, fmt.Errorf("harbor.ca: %w", err)
	}
	cfg := gslb.Config{
		Node: datacenter, Listen: g.Listen, State: g.State, Rate: g.RateLimit, QueryLog: g.QueryLog.OneIn, DNSTap: g.DNSTap.To, Version: g.Version, Build: daemon.Version(), Log: log, Metrics: metrics,
		Witnesses: plain(g.Witnesses),
		Fleet:     gslb.FleetConfig{Order: members(f, g.Order), Topology: g.Topology, GeoIP: g.GeoIP, Keys: keys},
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
	for _, n := range g.ProxyProtocol.From {
		cfg.Proxies = append(cfg.Proxies, n.Prefix)
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
	d := gslb.Datacenter{Name: name, Backup: dc.Role == fleet.Backup, Weight: *dc.Weight, Location: location(dc)}
	for _, n := range dc.Networks {
		d.Networks = append(d.Networks, n.Prefix)
	}
	d.Addresses, d.NameServers = plain(dc.Addresses), plain(dc.GSLB)
	return d
}

func location(dc *fleet.Datacenter) *gslb.Location {
	if l := dc.Location; l != nil {
		return &gslb.Location{Latitude: l.Latitude, Longitude: l.Longitude, Country: l.Country, Continent: l.Continent}
	}
	return nil
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
	if *f.GSLB.Probe.Addresses {
		t.Addresses = plain(dc.Addresses)
	}
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
			at, all = len(all), append(all, gslb.Zone{Origin: origin + ".", Mbox: g.SOA.Mbox + ".", ACMEChallenge: absolute(g.ACMEChallenge), SOATTL: time.Duration(*g.SOA.TTL), NSTTL: time.Duration(*g.NS.TTL), GlueTTL: time.Duration(*g.NS.Glue)})
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

// absolute is a name with its final dot; "" stays.
func absolute(name string) string {
	if name == "" {
		return ""
	}
	return name + "."
}

func sortedNames(m map[string]*fleet.GSLBName) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
