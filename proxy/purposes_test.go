package proxy_test

import (
	"net/http"
	"testing"
	"time"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// Edges sign for several purposes, all with keys of one secret: what is good for one opens
// nothing of another.
func TestATokenIsForOnePurpose(t *testing.T) {
	s := newSite(t)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", image(t, 1000, 1), s.admin())
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		a.OutageGrace, a.Keys, p.Keys = time.Hour, peerKeys, peerKeys
	})
	edges, err := access.New(access.Config{Keys: peerKeys, OutageGrace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	own, _, err := edges.OwnToken("robot", []string{"multi-dc-demo/app"})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		path   string
		header map[string]string
	}{
		"keys: an edge's own token, at the peers' path": {peer.Path + manifests("multi-dc-demo/app"), bearer(own)},
		"keys: a peer's token, as a client's":           {manifests("multi-dc-demo/app"), asPeer(t)},
	} {
		before := len(front.of(""))
		a := s.do(t, http.MethodGet, c.path, c.header)
		judged(t, what, a, front.reached(before, ""))
		if a.status < 400 {
			t.Errorf("%s: %d", what, a.status)
		}
	}
	if a := s.do(t, http.MethodGet, peer.Path+manifests("multi-dc-demo/app"), asPeer(t)); a.status != http.StatusOK {
		t.Errorf("the same where it is good: %d %s", a.status, a.body)
	}
	if a := s.do(t, http.MethodGet, peer.HelloPath, bearer(own)); a.status != http.StatusForbidden {
		t.Errorf("hello to an edge's own token: %d %s", a.status, a.body)
	}
}
