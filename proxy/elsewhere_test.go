package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

const signature = "/v2/multi-dc-demo/app/manifests/sha256-0123456789abcdef.sig"

// asked counts what a Harbor was asked about a path.
func asked(h *lab.Harbor, path string) (n int) {
	for what, times := range h.Requests() {
		if strings.HasSuffix(what, path) {
			n += times
		}
	}
	return n
}

// What no other datacenter has is asked of none of them again, until one of them takes it.
func TestANoOfPeersIsRemembered(t *testing.T) {
	r := newRegion(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Pace = 200 * time.Millisecond })
	s, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	h := s.as(t, reader, "multi-dc-demo/app")
	others := func() int { return asked(mad1.harbor, signature) + asked(drp1.harbor, signature) }
	missing := func() error {
		before := others()
		if a := s.do(t, http.MethodGet, signature, h); a.status != http.StatusNotFound {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if now := others(); now != before {
			return fmt.Errorf("the others were asked %d times", now-before)
		}
		return nil
	}
	if missing() == nil {
		t.Error("nobody else was asked at all")
	}
	trial.Until(t, missing) // as soon as they have said that they have nothing to tell
	own := asked(s.harbor, signature)
	if missing(); asked(s.harbor, signature) == own {
		t.Error("the local Harbor is not asked")
	}
	mustPush(t, mad1.edge.URL, "multi-dc-demo/app:sha256-0123456789abcdef.sig", image(t, 1000, 1), basic(writer, secret))
	if a := s.do(t, http.MethodGet, signature, h); a.status != http.StatusOK {
		t.Errorf("pushed at another edge: %d %s", a.status, a.body)
	}
}

// A signature that nobody has costs a fleet of fifty datacenters few questions: each other
// edge, and its Harbor, is asked for it once.
func TestWhatNobodyHasCostsFewQuestions(t *testing.T) {
	const fleet, pulls, most = 50, 20, 4
	var questions atomic.Int64
	var peers []peer.Peer
	for i := range fleet - 1 {
		far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, signature) {
				questions.Add(1)
			}
			registry.WriteError(w, registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest"))
		}))
		t.Cleanup(far.Close)
		edge, err := registry.NewSource(registry.SourceConfig{URL: far.URL, Prefix: peer.Path, Trusted: true})
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, peer.Peer{Datacenter: fmt.Sprintf("dc%d", i), Edge: edge})
	}
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Peers, p.Keys, p.Pace = peers, peerKeys, time.Minute
	})
	for _, p := range peers { // each says that it has nothing to tell
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.edge.URL+peer.AnnouncePath, strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := peer.NewKey(peerKeys, p.Datacenter, time.Now).Shows("par1")(req.Header); err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	h := s.as(t, reader, "multi-dc-demo/app")
	for range pulls {
		if a := s.do(t, http.MethodGet, signature, h); a.status != http.StatusNotFound {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if all := questions.Load() + int64(asked(s.harbor, signature)); all > pulls*most || questions.Load() != fleet-1 {
		t.Errorf("%d questions for %d answers, %d of them to other datacenters", all, pulls, questions.Load())
	}
}
