package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// seen is what reaches Harbor: a front of it that takes notes.
type seen struct {
	*httptest.Server
	mu       sync.Mutex
	requests []http.Header // each with its method and path as "Line"
}

func watch(t *testing.T, s *site, beside func(w http.ResponseWriter, r *http.Request) bool) *seen {
	t.Helper()
	front, harbor := &seen{}, passTo(t, s.harbor.URL())
	front.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Clone()
		header.Set("Line", r.Method+" "+r.URL.Path)
		front.mu.Lock()
		front.requests = append(front.requests, header)
		front.mu.Unlock()
		if beside == nil || !beside(w, r) {
			harbor.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections)
	return front
}

// of are the requests whose method and path hold a part.
func (s *seen) of(part string) (all []http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.requests {
		if strings.Contains(h.Get("Line"), part) {
			all = append(all, h)
		}
	}
	return all
}

// asPeer is the header of another datacenter's edge.
func asPeer(t *testing.T) map[string]string {
	t.Helper()
	h := http.Header{}
	if err := peer.NewKey(peerKeys, "mad1", time.Now).Shows("par1")(h); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"Authorization": h.Get("Authorization")}
}

// Edges have to do with managed projects only: a peer reads no plain project through this
// edge's robot, and Harbor does not hear of it.
func TestPeersReadNoPlainProject(t *testing.T) {
	s := newSite(t)
	img := image(t, 1000, 1)
	mustPush(t, s.harbor.URL(), "plain/app:v1", img, s.admin())
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	layer, _ := layerOf(t, img)
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Keys = peerKeys
	})
	header := asPeer(t)
	if a := s.do(t, http.MethodGet, peer.Path+manifests("multi-dc-demo/app"), header); a.status != http.StatusOK {
		t.Fatalf("a managed project: %d %s", a.status, a.body)
	}
	for _, path := range []string{manifests("plain/app"), "/v2/plain/app/blobs/" + layer, "/v2/plain/app/tags/list", "/v2/_catalog"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut} {
			if a := s.do(t, method, peer.Path+path, header); a.status != http.StatusMethodNotAllowed && a.status != http.StatusForbidden {
				t.Errorf("%s %s: %d %.100s", method, path, a.status, a.body)
			}
		}
	}
	if n := len(front.of("plain")) + len(front.of("_catalog")); n > 0 {
		t.Errorf("Harbor was asked %d times", n)
	}
}

// What a peer shows to an edge is between the two: its token does not go on to Harbor, also
// where the edge has no robot and relays its clients' credentials.
func TestAPeersTokenDoesNotGoOnToHarbor(t *testing.T) {
	s := newSite(t)
	mustPush(t, s.harbor.URL(), "repl-open/app:v1", image(t, 1000, 1), s.admin())
	for name, options := range map[string][]option{"with a robot": nil, "without": {withoutRobot}} {
		t.Run(name, func(t *testing.T) {
			front := watch(t, s, nil)
			edge := &site{harbor: s.harbor, edge: startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, append(options, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
				p.Keys = peerKeys
			})...)}
			header := asPeer(t)
			for _, c := range [][2]string{{http.MethodGet, manifests("repl-open/app")}, {http.MethodGet, "/v2/repl-open/app/tags/list"}, {http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/"}, {http.MethodDelete, manifests("multi-dc-demo/app")}} {
				edge.do(t, c[0], peer.Path+c[1], header)
			}
			edge.do(t, http.MethodGet, peer.TokenPath+"?service=harbor-registry&scope=repository:repl-open/app:pull", header)
			if len(front.of("")) == 0 {
				t.Fatal("nothing reached Harbor")
			}
			for _, h := range front.of("") {
				if strings.Contains(fmt.Sprint(h), strings.TrimPrefix(header["Authorization"], "Bearer ")) {
					t.Errorf("Harbor was shown it: %v", h)
				}
			}
		})
	}
}

// Over TLS nobody stands between the client and the edge: a list of addresses that the client
// brings is its own invention. Without TLS it is of who terminates that.
func TestAForwardedAddressIsNotBelievedOverTLS(t *testing.T) {
	s := newSite(t)
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	secure := httptest.NewTLSServer(s.edge.Config.Handler)
	t.Cleanup(secure.Close)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(client.CloseIdleConnections)
	for url, want := range map[string]string{s.edge.URL: "203.0.113.7, 127.0.0.1", secure.URL: "127.0.0.1"} {
		for _, path := range []string{"/api/v2.0/ping", "/service/token?service=harbor-registry"} {
			before := len(front.of(""))
			req, err := http.NewRequest(http.MethodGet, url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Forwarded-For", "203.0.113.7")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // it is not looked at
			resp.Body.Close()
			if got := front.of("")[before].Get("X-Forwarded-For"); got != want {
				t.Errorf("%s%s: Harbor was told %q, want %q", url, path, got, want)
			}
		}
	}
}

// A blob that is arriving for another project is not joined by who may not read that: its own
// repo has to be proven to hold it, and is not.
func TestARunningFillOfAnotherProjectIsNoWayIn(t *testing.T) {
	s := newSite(t)
	img := image(t, 600<<10, 6)
	mustPush(t, s.harbor.URL(), "multi-dc-other/app:v1", img, s.admin())
	s.harbor.CreateRobot("multi-dc-other", "reader", secret, "pull")
	digest, layer := layerOf(t, img)
	gate := make(chan struct{})
	front := watch(t, s, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/v2/multi-dc-other/app/blobs/") {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
		w.Write(layer[:400<<10]) //nolint:errcheck // shown by who reads it
		http.NewResponseController(w).Flush()
		<-gate
		w.Write(layer[400<<10:]) //nolint:errcheck // as above
		return true
	})
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	owner, eve := s.as(t, "robot$multi-dc-other+reader", "multi-dc-other/app"), s.as(t, reader, "multi-dc-demo/app")
	owned := make(chan answer)
	go func() { owned <- s.do(t, http.MethodGet, "/v2/multi-dc-other/app/blobs/"+digest, owner) }()
	waitFor(t, "the fill", func() bool { return len(front.of("GET /v2/multi-dc-other/app/blobs/")) == 1 })
	for _, header := range []map[string]string{eve, {"Authorization": eve["Authorization"], "Range": "bytes=0-99"}} {
		for range 2 {
			a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest, header)
			if a.status != http.StatusNotFound || len(a.body) > 20 && strings.Contains(string(layer), string(a.body)) {
				t.Errorf("while it arrives: %d, %d bytes", a.status, len(a.body))
			}
		}
	}
	close(gate)
	same(t, "the owner", <-owned, layer)
}
