package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// Nobody asks this edge for anything: that its Harbor is down is seen all the same.
func TestHarborIsWatchedForMetrics(t *testing.T) {
	metrics := prometheus.NewRegistry()
	var minutes atomic.Int64
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Metrics, p.Now = metrics, func() time.Time { return time.Now().Add(time.Duration(minutes.Load()) * time.Minute) }
	})
	// An answer may take longer than a scrape waits for it; the next scrape has it.
	wait := func(want float64) {
		t.Helper()
		waitFor(t, fmt.Sprint("breakwater_edge_harbor_up ", want), func() bool {
			minutes.Add(1)
			return value(t, metrics, "breakwater_edge_harbor_up") == want
		})
	}
	wait(1)
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	wait(0)
	if err := s.harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	wait(1)
}

// value is a gauge that has no labels.
func value(t *testing.T, metrics *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// A disk that takes nothing costs the store, not the pulls, and health says so.
func TestHealthSaysThatTheDiskRefuses(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 3)
	mustPush(t, s.hub.URL(), "library/app:v1", img, authn.Anonymous)
	digest, layer := layerOf(t, img)
	says := func(want string) {
		t.Helper()
		if a := s.do(t, http.MethodGet, "/breakwater/v1/health", nil); a.status != http.StatusOK || !strings.Contains(string(a.body), `"store":"`+want+`"`) {
			t.Errorf("health is %d %s, want %q", a.status, a.body, want)
		}
	}
	says("ok")
	temporary := filepath.Join(s.dir, "tmp")
	if err := errors.Join(os.RemoveAll(temporary), os.WriteFile(temporary, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	repo := "cache-dockerhub/library/app"
	same(t, "past the store", s.do(t, http.MethodGet, "/v2/"+repo+"/blobs/"+digest, s.anonymous(t, repo)), layer)
	says("degraded")
}
