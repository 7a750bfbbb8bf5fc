package proxy_test

import (
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/naming"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

const peerSecret = "Peers1Only2SecretPeers1Only2Secret"

var peerKeys = trial.Keys(peerSecret, "")

// region is a fleet: three datacenters, each a Harbor and an edge, and an upstream.
type region struct {
	hub   *lab.Upstream
	sites []*site // the first is the one that clients use
}

var sharedKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// newRegion starts a fleet whose tags are always looked at again.
func newRegion(t *testing.T, options ...option) *region {
	t.Helper()
	return newRegionOf(t, func(int) lab.HarborConfig { return lab.HarborConfig{} }, options...)
}

// newRegionOf is a region of Harbors that are as said, by their number.
func newRegionOf(t *testing.T, harbor func(i int) lab.HarborConfig, options ...option) *region {
	t.Helper()
	key, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &region{}
	if r.hub, err = lab.StartUpstream(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.hub.Close() })
	names := []string{"par1", "mad1", "drp1"}
	for i := range names {
		s := &site{hub: r.hub, dir: t.TempDir()}
		cfg := harbor(i)
		cfg.Dir, cfg.Key = t.TempDir(), key
		if s.harbor, err = lab.StartHarbor(cfg); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.harbor.Close() })
		if err := s.harbor.CreateCache("cache-dockerhub", "docker-hub", r.hub.URL(), true); err != nil {
			t.Fatal(err)
		}
		s.harbor.CreateProject("repl-core", true)
		s.harbor.CreateProject("multi-dc-demo", false)
		s.harbor.CreateRobot("*", "edge", secret, "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
		s.harbor.CreateRobot("multi-dc-demo", "reader", secret, "pull")
		s.harbor.CreateRobot("multi-dc-demo", "writer", secret, "pull", "push")
		s.edge = httptest.NewUnstartedServer(nil)
		r.sites = append(r.sites, s)
	}
	for i, s := range r.sites {
		r.startEdge(t, i, names, &key.PublicKey, options...)
		t.Cleanup(s.edge.Close)
	}
	return r
}

func (r *region) startEdge(t *testing.T, i int, names []string, key *rsa.PublicKey, options ...option) {
	t.Helper()
	s := r.sites[i]
	source := registry.SourceConfig{URL: s.harbor.URL(), Trusted: true, Username: "robot$edge", Password: secret}
	a := access.Config{Verifier: &registry.Verifier{Keys: []*rsa.PublicKey{key}}}
	p := proxy.Config{Datacenter: names[i], Keys: peerKeys, Log: slog.New(slog.DiscardHandler), Deadline: 1500 * time.Millisecond}
	p.Freshness = func(k namespace.Kind) time.Duration {
		if k == namespace.MultiDC {
			return 0
		}
		return time.Nanosecond
	}
	upstream, err := registry.NewSource(registry.SourceConfig{URL: r.hub.URL()})
	if err != nil {
		t.Fatal(err)
	}
	p.Namespaces = []namespace.Namespace{
		{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true},
		{Project: "repl-core", Kind: namespace.Repl, Rules: []namespace.Rule{{From: "cache-dockerhub", Name: "library/*", Tags: "v*", Flatten: naming.FlattenAll}}},
		{Project: "multi-dc-demo", Kind: namespace.MultiDC},
	}
	p.Upstreams = map[string]*registry.Source{"cache-dockerhub": upstream}
	for j, other := range r.sites {
		if j == i {
			continue
		}
		edge, err := registry.NewSource(registry.SourceConfig{URL: "http://" + other.edge.Listener.Addr().String(), Prefix: peer.Path, Trusted: true})
		if err != nil {
			t.Fatal(err)
		}
		p.Peers = append(p.Peers, peer.Peer{Datacenter: names[j], Edge: edge})
	}
	for _, o := range options {
		o(&a, &p, &source)
	}
	if p.Harbor, err = registry.NewSource(source); err != nil {
		t.Fatal(err)
	}
	a.Harbor = p.Harbor
	if p.Access, err = access.New(a); err != nil {
		t.Fatal(err)
	}
	if p.Store, err = store.Open(store.Config{Dir: s.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Store.Close() })
	s.edge.Config.Handler = proxy.New(t.Context(), p)
	s.edge.Start()
}
