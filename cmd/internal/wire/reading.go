package wire

import (
	"cmp"
	"context"
	"crypto/rsa"
	"fmt"
	"slices"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/proxy"
)

// reading is what the fleet file says to an edge, and what it refers to.
type reading struct {
	proxy.Settings
	fleet       *fleet.Fleet
	certificate *daemon.Certificate // nil: plain HTTP
	tokenKeys   []*rsa.PublicKey
	peerSecret  string
	without     map[string]string // why there is no way of the edge's own to the upstream of a cache
}

// files are what can be watched before the fleet file was read.
func (cfg EdgeConfig) files() []string {
	if cfg.File == "" {
		return nil
	}
	return []string{cfg.File}
}

// filesOf are the files from which an edge has what it is configured with. Its certificate
// looks for itself.
func filesOf(f *fleet.Fleet) (all []string) {
	login, e := f.Secrets.Vault.Login, &f.Edge
	refs := append([]fleet.Ref{e.Robot.Secret, e.Peers.Key, login.Token}, f.Harbor.TokenCertificates...)
	if login.AppRole != nil {
		refs = append(refs, login.AppRole.RoleID, login.AppRole.SecretID)
	}
	all = []string{f.Harbor.CA, e.Peers.CA, f.Secrets.Vault.CA}
	for _, cache := range f.Projects.Cache.Items {
		refs = append(refs, cache.Username.Ref, cache.Password)
		all = append(all, cache.CA)
	}
	for _, ref := range refs {
		if ref.Scheme == "file" {
			all = append(all, ref.Path)
		}
	}
	return slices.DeleteFunc(all, func(name string) bool { return name == "" })
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
		return nil, fmt.Errorf("there is no datacenter %q in the fleet file", e.cfg.Datacenter)
	}
	e.reloads.Watch(append(e.cfg.files(), filesOf(f)...)...)
	secrets, err := secret.New(f)
	if err != nil {
		return nil, err
	}
	robot, err := secrets.Get(ctx, f.Edge.Robot.Secret)
	if err != nil {
		return nil, fmt.Errorf("edge.robot.secret: %w", err)
	}
	next := &reading{fleet: f}
	if next.Harbor, err = newHarbor(e.cfg, f, cmp.Or(e.harborsAddress(), dc.Harbor), robot); err != nil {
		return nil, err
	}
	if next.tokenKeys, err = readKeys(f.Harbor.TokenCertificates); err != nil {
		return nil, err
	}
	if next.peerSecret, err = secrets.Get(ctx, f.Edge.Peers.Key); err != nil {
		return nil, fmt.Errorf("edge.peers.key: %w", err)
	}
	if next.Upstreams, next.without, err = upstreams(ctx, e.cfg, secrets, f, e.now); err != nil {
		return nil, err
	}
	if next.certificate, err = newCertificate(&f.Edge, e.cfg.Log); err != nil {
		return nil, err
	}
	shown := next.certificate
	if e.began != nil { // it is that one that becomes what the new one is
		shown = e.began.certificate
	}
	if next.Peers, next.PeerRoots, err = peers(e.cfg, f, shown); err != nil {
		return nil, err
	}
	next.Namespaces, next.Freshness = namespaces(f), freshness(&f.Edge)
	next.WebhookSecret = webhookSecret(e.cfg.Datacenter, next.peerSecret)
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

// warn says of which upstreams Harbor alone fetches, where that was not said before.
func (e *Edge) warn(before map[string]string) {
	for project, why := range e.now.without {
		if before[project] != why {
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
	if pending := e.needRestart(next); len(pending) > 0 {
		e.cfg.Log.Warn("changed, and needs a restart: all else is in force", "fields", pending)
	}
	if e.began.certificate != nil && next.certificate != nil {
		e.began.certificate.Use(next.certificate)
	}
	if !slices.EqualFunc(e.now.tokenKeys, next.tokenKeys, func(a, b *rsa.PublicKey) bool { return a.Equal(b) }) {
		e.access.UseKeys(next.tokenKeys)
	}
	e.access.UseGrace(time.Duration(*next.fleet.Edge.OutageGrace))
	e.handler.Reload(next.Settings)
	before := e.now.without
	e.now = next
	e.warn(before)
	return nil
}

// needRestart are the fields that are others than when the edge began, and that it takes
// at its start alone.
func (e *Edge) needRestart(next *reading) (fields []string) {
	was, is := &e.began.fleet.Edge, &next.fleet.Edge
	for _, field := range []struct {
		name    string
		differs bool
	}{
		{"datacenters." + e.cfg.Datacenter + ".harbor", e.harborsAddress() != next.fleet.Datacenters[e.cfg.Datacenter].Harbor},
		{"edge.listen", was.Listen != is.Listen},
		{"edge.metrics", was.Metrics != is.Metrics},
		{"edge.admin", was.Admin != is.Admin},
		{"edge.plain_http", was.PlainHTTP != is.PlainHTTP},
		{"edge.tls", (e.began.certificate == nil) != (next.certificate == nil)},
		{"edge.store.path", was.Store.Path != is.Store.Path},
		{"edge.store.size", was.Store.Size != is.Store.Size},
		{"edge.peers.key", e.began.peerSecret != next.peerSecret},
	} {
		if field.differs {
			fields = append(fields, field.name)
		}
	}
	return fields
}
