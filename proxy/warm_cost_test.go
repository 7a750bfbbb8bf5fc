package proxy_test

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// nowhere takes an answer.
type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(status int)      { n.status = status }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkWarmManifest is what a manifest by tag costs that is held and fresh, for a client
// with a token that verifies here: the handler alone, with its log, without net/http.
func BenchmarkWarmManifest(b *testing.B) {
	log, err := os.Create(filepath.Join(b.TempDir(), "edge.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	journal := daemon.NewJournal(log)
	defer journal.Close()
	s := newSite(b, freshFor(time.Hour), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Log = journal.Logger(slog.LevelInfo)
	})
	mustPush(b, s.hub.URL(), "library/app:v1", image(b, 1000, 1), authn.Anonymous)
	token := s.anonymous(b, "cache-dockerhub/library/app")
	if a := s.do(b, http.MethodGet, manifests("cache-dockerhub/library/app"), token); a.status != http.StatusOK {
		b.Fatal(a.status)
	}
	r, err := http.NewRequest(http.MethodGet, manifests("cache-dockerhub/library/app"), nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Host, r.RemoteAddr = "registry.example.org", "192.0.2.1:40000"
	for k, v := range token {
		r.Header.Set(k, v)
	}
	handler, w := s.edge.Config.Handler, &nowhere{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		handler.ServeHTTP(w, r)
	}
	if got := w.header.Get("Cache-Status"); w.status != http.StatusOK || got != "breakwater; hit" {
		b.Errorf("%d, %s", w.status, got)
	}
}
