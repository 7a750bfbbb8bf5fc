package wire

import (
	"cmp"
	"context"
	"crypto/rsa"
	"slices"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/proxy"
)

// reading is what the fleet file says to an edge, and what it refers to.
type reading struct {
	proxy.Settings
	fleet       *fleet.Fleet
	certificate *daemon.Certificate // nil: plain HTTP
	door        *door               // nil: the console has no listener of its own
	tokenKeys   []*rsa.PublicKey
	keys        *keyring.Ring     // shared by all edges; nil: none
	without     map[string]string // why there is no way of the edge's own to the upstream of a cache
}

// files are what can be watched before the fleet file was read.
func (cfg EdgeConfig) files() []string {
	if cfg.File == "" {
		return nil
	}
	return []string{cfg.File}
}

// loginRefs are what a Vault is logged in to with.
func loginRefs(f *fleet.Fleet) []fleet.Ref {
	login := f.Secrets.Vault.Login
	refs := []fleet.Ref{login.Token}
	if login.AppRole != nil {
		refs = append(refs, login.AppRole.RoleID, login.AppRole.SecretID)
	}
	return refs
}

// filesBehind are the files that references lead to.
func filesBehind(refs ...fleet.Ref) (all []string) {
	for _, ref := range refs {
		if ref.Scheme == "file" {
			all = append(all, ref.Path)
		}
	}
	return all
}

// named are the names without those that are not set.
func named(all []string) []string {
	return slices.DeleteFunc(all, func(name string) bool { return name == "" })
}

// filesOf are the files from which an edge has what it is configured with. Its certificate
// looks for itself.
func filesOf(f *fleet.Fleet, datacenter string) (all []string) {
	e := &f.Edge
	refs := append(loginRefs(f), e.Robot.Secret, e.Peers.Key, e.Peers.PreviousKey, e.Console.ClientID.Ref, e.Console.ClientSecret)
	refs = append(refs, f.Harbor.TokenCertificates...)
	all = []string{f.Harbor.CA, e.Peers.CA, f.Secrets.Vault.CA}
	for name, cache := range f.Projects.Cache.Items {
		cache = cache.In(datacenter)
		refs = append(refs, cache.Username.Ref, secret.For(cache.Password, name))
		all = append(all, cache.CA)
	}
	return named(append(all, filesBehind(refs...)...))
}

// read reads the fleet file and all that it refers to. It changes nothing but what is watched.
func (e *Edge) read(ctx context.Context) (*reading, error) {
	f := e.cfg.Fleet
	if e.cfg.File != "" {
		var err error
		if f, err = fleet.ReadFile(e.cfg.File); err != nil {
			return nil, err
		}
	}
	dc, ok := f.Datacenters[e.cfg.Datacenter]
	if !ok {
		return nil, f.NoDatacenter(e.cfg.Datacenter)
	}
	e.reloads.Watch(append(e.cfg.files(), filesOf(f, e.cfg.Datacenter)...)...)
	secrets, err := secret.New(f)
	if err != nil {
		return nil, err
	}
	next := &reading{fleet: f}
	robot, keys, err := edgeSecrets(ctx, secrets, &f.Edge)
	if err != nil {
		return nil, err
	}
	next.keys = keys
	if next.Harbor, err = newHarbor(e.cfg, f, cmp.Or(e.harborsAddress(), dc.Harbor), robot); err != nil {
		return nil, err
	}
	if next.tokenKeys, err = readKeys(f.Harbor.TokenCertificates); err != nil {
		return nil, err
	}
	if next.Upstreams, next.without, err = upstreams(ctx, e.cfg, secrets, f, e.now); err != nil {
		return nil, err
	}
	if next.certificate, err = newCertificate(&f.Edge, e.cfg.Log); err != nil {
		return nil, err
	}
	if next.door, err = newDoor(ctx, e.cfg, secrets, f); err != nil {
		return nil, err
	}
	shown := next.certificate
	if e.began != nil { // it is these that become what the new ones are
		shown, keys = e.began.certificate, e.began.keys
	}
	if next.Peers, next.PeerRoots, err = peers(e.cfg, f, shown); err != nil {
		return nil, err
	}
	next.Names, next.Namespaces, next.Freshness = names(f), namespaces(f, e.cfg.Datacenter), freshness(&f.Edge)
	next.Touch, next.Warm = time.Duration(*f.Edge.Touch), warmSets(f, e.cfg.Datacenter)
	next.WebhookSecrets = webhookSecrets(e.cfg.Datacenter, keys)
	next.PreheatSecrets = preheatSecrets(e.cfg.Datacenter, keys)
	next.Machine, next.OwnsTags = machine(f), ownsTags(f, e.cfg.Datacenter)
	return next, nil
}

// harborsAddress is where the local Harbor is for as long as the edge runs; "": it was not
// yet read. What is known of projects and tags is that Harbor's.
func (e *Edge) harborsAddress() fleet.URL {
	if e.began == nil {
		return ""
	}
	return e.began.fleet.Datacenters[e.cfg.Datacenter].Harbor
}

// warn says what is in force and may surprise, where that was not said before.
func (e *Edge) warn(before *reading) {
	warnOfIdle(before.fleet, e.now.fleet, e.cfg.Log)
	for project, why := range e.now.without {
		if before.without[project] != why {
			e.cfg.Log.Warn("the edge has no way of its own to an upstream; only Harbor fetches from there", "project", project, "err", why)
		}
	}
}

// reload takes what the files say now, or with a fault nothing of it.
func (e *Edge) reload(ctx context.Context) error {
	next, err := e.read(ctx)
	if err != nil {
		return err
	}
	if err := e.takeDoor(next.door); err != nil {
		return err
	}
	if e.began.certificate != nil && next.certificate != nil {
		e.began.certificate.Use(next.certificate)
	}
	if e.began.keys != nil && next.keys != nil {
		e.began.keys.Take(next.keys) // who has the ring has the new keys
	}
	if !slices.EqualFunc(e.now.tokenKeys, next.tokenKeys, func(a, b *rsa.PublicKey) bool { return a.Equal(b) }) {
		e.access.UseKeys(next.tokenKeys)
	}
	e.access.UseGrace(time.Duration(*next.fleet.Edge.OutageGrace))
	e.coming.Store(next.fleet)
	defer e.coming.Store(nil)
	e.handler.Reload(next.Settings)
	before := e.now
	e.now = next
	e.fleet.Store(next.fleet)
	e.warn(before)
	e.warnOfRestart()
	return nil
}

// restart is a field that a daemon takes at its start alone, and whether it is another than then.
type restart struct {
	field   string
	differs bool
}

// changed are the fields that differ.
func changed(all []restart) (fields []string) {
	for _, r := range all {
		if r.differs {
			fields = append(fields, r.field)
		}
	}
	return fields
}

func (e *Edge) warnOfRestart() {
	was, is := &e.began.fleet.Edge, &e.now.fleet.Edge
	e.reloads.Restart(changed([]restart{
		{"datacenters." + e.cfg.Datacenter + ".harbor", e.harborsAddress() != e.now.fleet.Datacenters[e.cfg.Datacenter].Harbor},
		{"edge.listen", was.Listen != is.Listen},
		{"edge.metrics", was.Metrics != is.Metrics},
		{"edge.admin", was.Admin != is.Admin},
		{"edge.console.listen", was.Console.Listen != is.Console.Listen},
		{"edge.console.tls", (was.Console.TLS.Certificate == "") != (is.Console.TLS.Certificate == "")},
		{"edge.plain_http", was.PlainHTTP != is.PlainHTTP},
		{"edge.tls", (e.began.certificate == nil) != (e.now.certificate == nil)},
		{"edge.store.path", was.Store.Path != is.Store.Path},
		{"edge.store.size", was.Store.Size != is.Store.Size},
		{"edge.peers.key", (e.began.keys == nil) != (e.now.keys == nil)},
	})...)
}
