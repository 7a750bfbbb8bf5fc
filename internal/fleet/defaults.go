package fleet

import (
	"net"
	"net/netip"
	"time"

	"example.org/breakwater/internal/naming"
)

const day = 24 * time.Hour

func or[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}

func orPointer[T any](v **T, fallback T) {
	if *v == nil {
		*v = &fallback
	}
}

func (f *Fleet) setDefaults() {
	orPointer(&f.Version, Version)
	for _, dc := range f.Datacenters {
		or(&dc.Role, Primary)
		orPointer(&dc.Weight, 1)
	}
	or(&f.Harbor.RobotPrefix, "robot$")
	or(&f.Harbor.SyncRobot.Name, "breakwater-sync")
	if o := f.Harbor.OIDC; o != nil {
		or(&o.Scope, "openid")
		or(&o.UserClaim, "preferred_username")
		orPointer(&o.AutoOnboard, true)
	}
	if gc := f.Harbor.GC; gc != nil {
		or(&gc.Every, Duration(7*day))
	}
	if a := f.Secrets.Vault.Login.AppRole; a != nil {
		or(&a.Mount, "approle")
	}
	if k := f.Secrets.Vault.Login.Kubernetes; k != nil {
		or(&k.Mount, "kubernetes")
		or(&k.Token, Ref{Scheme: "file", Path: "/var/run/secrets/kubernetes.io/serviceaccount/token"})
	}
	f.Edge.setDefaults()
	f.setConsoleDefaults()
	if f.GSLB != nil {
		f.GSLB.setDefaults(f.Domain)
	}
	tags := TagsHarbor
	if len(f.EdgesLack()) == 0 {
		tags = TagsEdges
	}
	f.Projects.MultiDC.setDefaults(tags, len(f.Datacenters))
	f.Projects.setDefaults()
}

// EdgesLack lists the fields without which edges cannot own tags: an edge must be
// reached by its peers, be known to them, and write into its own Harbor.
func (f *Fleet) EdgesLack() (fields []string) {
	for _, name := range sorted(f.Datacenters) {
		if f.Datacenters[name].Edge == "" {
			fields = append(fields, "datacenters."+name+".edge")
		}
	}
	if f.Edge.Robot.Secret.IsZero() {
		fields = append(fields, "edge.robot.secret")
	}
	if f.Edge.Peers.Key.IsZero() && f.Edge.Peers.CA == "" {
		fields = append(fields, "edge.peers")
	}
	return fields
}

func (e *Edge) setDefaults() {
	listen := ":443"
	if e.PlainHTTP {
		listen = ":80"
	}
	or(&e.Listen, listen)
	if e.TLS.Certificate == "" && e.TLS.Key == "" && onLoopback(e.Listen) {
		e.PlainHTTP = true // nobody but this machine can listen in
	}
	or(&e.Metrics, ":9090")
	or(&e.Admin, "127.0.0.1:9091")
	or(&e.Store.Path, "/var/lib/breakwater")
	or(&e.Store.Size, 100<<30)
	or(&e.Robot.Name, "breakwater-edge")
	orPointer(&e.Freshness.Cache, Duration(time.Minute))
	orPointer(&e.Freshness.Repl, Duration(time.Minute))
	orPointer(&e.Freshness.MultiDC, 0)
	orPointer(&e.Touch, Duration(6*time.Hour))
	orPointer(&e.OutageGrace, Duration(time.Hour))
}

// setConsoleDefaults has the console be what is known of the edge and of Harbor's login.
func (f *Fleet) setConsoleDefaults() {
	c := &f.Edge.Console
	if c.TLS.Certificate == "" && c.TLS.Key == "" {
		c.TLS = f.Edge.TLS
	}
	if o := f.Harbor.OIDC; o != nil && c.ClientID.IsZero() && c.ClientSecret.IsZero() && len(c.Groups) > 0 {
		c.ClientID, c.ClientSecret = o.ClientID, o.ClientSecret
	}
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip, _ := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || ip.IsLoopback())
}

func (g *GSLB) setDefaults(domain string) {
	or(&g.Listen, ":53")
	or(&g.Metrics, ":9092")
	or(&g.Admin, "127.0.0.1:9093")
	orPointer(&g.Peers, ":9094")
	if *g.Peers == "off" {
		*g.Peers = ""
	}
	orPointer(&g.TTL, Duration(30*time.Second))
	or(&g.SOA.Mbox, "hostmaster."+domain)
	for _, ttl := range []**Duration{&g.SOA.TTL, &g.NS.TTL, &g.NS.Glue} {
		orPointer(ttl, Duration(time.Hour))
	}
	or(&g.Method, "nearest")
	or(&g.Probe.Interval, Duration(time.Second))
	or(&g.Probe.Timeout, Duration(500*time.Millisecond))
	or(&g.Probe.Fall, 2)
	or(&g.Probe.Rise, 3)
	or(&g.Probe.Confirm, Duration(200*time.Millisecond))
	or(&g.Probe.Hold, Duration(5*time.Second))
	orPointer(&g.Probe.Addresses, true)
	or(&g.Panic, "last-good")
	or(&g.MinPrimaries, 1)
	or(&g.State, "/var/lib/breakwater/gslb.json")
	for _, n := range g.Names {
		or(&n.Method, g.Method)
		or(&n.Panic, g.Panic)
		orPointer(&n.TTL, *g.TTL)
	}
}

func (p *Projects) setDefaults() {
	p.Cache.setDefaults()
	p.Repl.setDefaults()
	if a := p.Artifactory; a != nil {
		or(&a.Defaults.Quota, 50<<30)
		orPointer(&a.Defaults.Retention, Retention{PulledWithin: Duration(30 * day), MostRecentlyPulled: 5})
	}
}

func (m *MultiDCs) setDefaults(tags string, datacenters int) {
	or(&m.Replication, PerProject)
	or(&m.Copies, Everywhere)
	d := &m.Defaults
	or(&d.Quota, 10<<30)
	orPointer(&d.Retention, Retention{PulledWithin: Duration(180 * day), MostRecentlyPulled: 10, PushedWithin: Duration(180 * day)})
	orPointer(&d.Webhooks, true)
	or(&d.Replication.Pull, Duration(15*time.Minute))
	orPointer(&d.Replication.Single, true)
	or(&d.Replication.Tags, tags)
	for _, p := range m.Items {
		or(&p.Description, d.Description)
		or(&p.Quota, d.Quota)
		orShared(&p.Retention, d.Retention)
		orShared(&p.AutoScan, d.AutoScan)
		orShared(&p.Webhooks, d.Webhooks)
		orList(&p.Members, d.Members)
		orList(&p.Immutable, d.Immutable)
		or(&p.Robots.ReadOnly, d.Robots.ReadOnly)
		or(&p.Robots.ReadWrite, d.Robots.ReadWrite)
		or(&p.Robots.Sync, d.Robots.Sync)
		or(&p.Replication.Pull, d.Replication.Pull)
		orShared(&p.Replication.Single, d.Replication.Single)
		orShared(&p.Replication.ByChunk, d.Replication.ByChunk)
		or(&p.Replication.Tags, d.Replication.Tags)
		or(&p.Replication.Push, d.Replication.Push)
		or(&p.Replication.Push, p.defaultPush(datacenters))
		or(&p.Copies, m.Copies)
	}
}

// defaultPush is to push on events where that cannot move a tag back. Harbors that push
// to each other do: a replication that is late carries the old version to the others.
func (m *MultiDC) defaultPush(datacenters int) string {
	pushing := datacenters
	for _, over := range m.Datacenters {
		if over.Replication.Push == "none" {
			pushing--
		}
	}
	if m.Replication.Tags == TagsEdges || m.AllImmutable() || pushing <= 1 {
		return "event"
	}
	return "none"
}

func (c *Caches) setDefaults() {
	d := &c.Defaults
	or(&d.Provider, "docker-registry")
	orPointer(&d.Public, false)
	orPointer(&d.Keep, 0)
	or(&d.Quota, 1<<40)
	orPointer(&d.Retention, Retention{PulledWithin: Duration(30 * day), PushedWithin: Duration(30 * day)})
	for _, p := range c.Items {
		or(&p.Provider, d.Provider)
		if p.Provider == DockerHub {
			or(&p.Endpoint, "https://hub.docker.com")
		}
		or(&p.Description, d.Description)
		or(&p.Quota, d.Quota)
		orShared(&p.Retention, d.Retention)
		orShared(&p.AutoScan, d.AutoScan)
		orList(&p.Members, d.Members)
		or(&p.Proxy, d.Proxy)
		or(&p.CA, d.CA)
		orList(&p.Realms, d.Realms)
		orList(&p.Redirects, d.Redirects)
		orShared(&p.Keep, d.Keep)
		orList(&p.Freeze, d.Freeze)
		orShared(&p.Public, d.Public)
	}
}

func (r *Repls) setDefaults() {
	d := &r.Defaults
	or(&d.Quota, 50<<30)
	orPointer(&d.Public, false)
	orPointer(&d.Retention, Retention{PulledWithin: Duration(365 * day), MostRecentlyPulled: 10, PushedWithin: Duration(30 * day)})
	or(&d.Every, Duration(day))
	or(&d.Flatten, Flatten{true, naming.FlattenAll})
	orPointer(&d.Single, true)
	for _, p := range r.Items {
		or(&p.Description, d.Description)
		or(&p.Quota, d.Quota)
		orShared(&p.Retention, d.Retention)
		orShared(&p.AutoScan, d.AutoScan)
		orList(&p.Members, d.Members)
		or(&p.Every, d.Every)
		or(&p.Flatten, d.Flatten)
		orShared(&p.Single, d.Single)
		orShared(&p.ByChunk, d.ByChunk)
		orShared(&p.Public, d.Public)
		setImageDefaults(p.Images, p)
		for _, over := range p.Datacenters {
			setImageDefaults(over.Images, overlaid(p, over))
		}
	}
}

func setImageDefaults(images []Image, p *Repl) {
	for i := range images {
		or(&images[i].Tags, "**")
		or(&images[i].Every, p.Every)
		or(&images[i].Flatten, p.Flatten)
	}
}

func orShared[T any](v **T, fallback *T) {
	if *v == nil {
		*v = fallback
	}
}

func orList[T any](v *[]T, fallback []T) {
	if *v == nil {
		*v = fallback
	}
}

// retentions are all that are written anywhere, by path.
func (f *Fleet) retentions() map[string]*Retention {
	p, all := &f.Projects, map[string]*Retention{}
	all["projects.multi-dc.defaults.retention"], all["projects.cache.defaults.retention"], all["projects.repl.defaults.retention"] = p.MultiDC.Defaults.Retention, p.Cache.Defaults.Retention, p.Repl.Defaults.Retention
	for name, x := range p.MultiDC.Items {
		all["projects.multi-dc."+name+".retention"] = x.Retention
	}
	for name, x := range p.Cache.Items {
		all["projects.cache."+name+".retention"] = x.Retention
	}
	for name, x := range p.Repl.Items {
		all["projects.repl."+name+".retention"] = x.Retention
	}
	return all
}
