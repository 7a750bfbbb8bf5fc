package proxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// fronts are what may stand before a Harbor that is gone, and answer for it.
var fronts = map[string]http.HandlerFunc{
	"a page": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html>log in")
	},
	"an ingress without a backend": func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "default backend - 404", http.StatusNotFound)
	},
}

// behindFront gives the region's first Harbor a front, which answers in its place
// once gone is true.
func behindFront(t *testing.T, r *region, answer http.HandlerFunc, gone *atomic.Bool) {
	t.Helper()
	s := r.sites[0]
	harbor := passTo(t, s.harbor.URL())
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if gone.Load() {
			answer(w, req)
			return
		}
		harbor.ServeHTTP(w, req)
	}))
	t.Cleanup(front.Close)
	s.edge.Close()
	s.edge, s.dir = httptest.NewUnstartedServer(nil), t.TempDir()
	r.startEdge(t, 0, []string{"par1", "mad1", "drp1"}, &s.harbor.Key().PublicKey, func(_ *access.Config, _ *proxy.Config, source *registry.SourceConfig) {
		source.URL = front.URL
	})
	t.Cleanup(s.edge.Close)
}

// What stands before a Harbor that is gone takes no pushes: they go to a peer, and
// the client never reads a page as a success, nor the edge as Harbor's word.
func TestAFrontWithoutHarborTakesNoPush(t *testing.T) {
	for name, answer := range fronts {
		t.Run(name, func(t *testing.T) {
			var gone atomic.Bool
			r := newRegion(t)
			behindFront(t, r, answer, &gone)
			s, mad1 := r.sites[0], r.sites[1]
			app, replicated := s.asWriter(t, "multi-dc-demo/app"), s.asWriter(t, "repl-core/app")
			gone.Store(true)
			img := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
			put := func(path string, h map[string]string) int {
				header := map[string]string{"Authorization": h["Authorization"], "Content-Type": "application/vnd.oci.image.index.v1+json"}
				status, _ := s.send(t, http.MethodPut, path, header, bytes.NewReader(img))
				return status
			}
			if status := put(manifests("multi-dc-demo/app"), app); status != http.StatusCreated {
				t.Errorf("a manifest: %d", status)
			}
			same(t, "it is at the peer", mad1.do(t, http.MethodGet, manifests("multi-dc-demo/app"), mad1.as(t, reader, "multi-dc-demo/app")), img)
			status, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", app, nil)
			if status != http.StatusAccepted || !strings.Contains(location, "_breakwater=") {
				t.Errorf("an upload: %d %s", status, location)
			}
			if status := put(manifests("repl-core/app"), replicated); status != http.StatusServiceUnavailable {
				t.Errorf("a manifest that only this Harbor may take: %d", status)
			}
			session := "/v2/multi-dc-demo/app/blobs/uploads/a-session"
			if status, _ := s.send(t, http.MethodPut, withDigest(session, digest.FromString("a")), app, strings.NewReader("a")); status != http.StatusServiceUnavailable {
				t.Errorf("the end of a session: %d", status)
			}
		})
	}
}
