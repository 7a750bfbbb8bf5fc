package source_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// again is a source as a later reading of its configuration has it.
func again(t *testing.T, s *source.Source, cfg registry.SourceConfig) source.Config {
	t.Helper()
	r, err := registry.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	next := s.Config
	next.Registry = r
	return next
}

// Sources are replaced while they are asked: what is as before keeps its breaker and its
// times; what is reached in another way begins anew; what is gone is neither asked nor probed.
func TestSourcesAreReplacedWhileTheyAreAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		same := func(s *source.Source) source.Config {
			return again(t, s, registry.SourceConfig{URL: s.Registry.URL().String()})
		}
		for _, s := range []struct {
			*source.Source
			far *far
		}{{f.mad1, f.mad1Far}, {f.drp1, f.drp1Far}, {f.hub, f.hubFar}} {
			down(t, s.Source, s.far)
		}
		with := again(t, f.hub, registry.SourceConfig{URL: "http://upstream-dockerhub", Username: "robot", Password: "secret"})
		quay, _ := newSource(t, t.Context(), "upstream-quay", source.Upstream)
		f.routes.Use([]source.Config{same(f.mad1)}, map[string]source.Config{"cache-dockerhub": with, "cache-quay": quay.Config})
		if got, want := names(f.route("cache-dockerhub/library/app", "v1")), "harbor:R peer-mad1:R upstream-dockerhub:library/app"; got != strings.ReplaceAll(want, "R", "cache-dockerhub/library/app") {
			t.Errorf("without drp1: %s", got)
		}
		if got := names(f.route("cache-quay/app", "v1")); !strings.HasSuffix(got, " upstream-quay:app") {
			t.Errorf("the new cache: %s", got)
		}
		if peers := f.routes.Peers(); len(peers) != 1 || peers[0] != f.mad1 || f.mad1.Usable() {
			t.Errorf("mad1 is unchanged, and not what it was: %v, usable %t", peers, f.mad1.Usable())
		}
		hub := f.route("cache-dockerhub/library/app", "v1")[2].Source
		if hub != f.hub || !hub.Usable() || hub.Registry.Anonymous() {
			t.Errorf("the upstream has other credentials; usable %t, anonymous %t", hub.Usable(), hub.Registry.Anonymous())
		}
		for _, far := range []*far{f.drp1Far, f.hubFar, f.mad1Far} {
			far.mu.Lock()
			far.asked = nil
			far.mu.Unlock()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := f.drp1Far.probes(); n != 0 {
			t.Errorf("a peer that is gone is probed %d times", n)
		}
		if n := f.hubFar.probes(); n != 0 {
			t.Errorf("the upstream as it was is probed %d times", n)
		}
		f.mad1Far.answers(http.StatusOK, nil)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if !f.mad1.Usable() {
			t.Error("mad1 is back, and its breaker stays open")
		}
	})
}

// Nothing is said any more of how a source does that is gone, also while it is probed.
func TestMetricsOfASourceThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		r, err := registry.NewSource(registry.SourceConfig{URL: "http://gone", Wrap: func(http.RoundTripper) http.RoundTripper { return &far{after: 500 * time.Millisecond} }})
		if err != nil {
			t.Fatal(err)
		}
		s := source.New(t.Context(), source.Config{Name: "peer-gone", Kind: source.Peer, Registry: r, Metrics: source.NewMetrics(metrics)})
		routes := source.NewRoutes(s, []*source.Source{s}, nil, nil)
		says := func() bool {
			families, err := metrics.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "breakwater_edge_source_down" {
					return true
				}
			}
			return false
		}
		s.Suspect()
		time.Sleep(time.Second)
		synctest.Wait()
		if !says() {
			t.Fatal("a source that is down is not in the metrics")
		}
		time.Sleep(700 * time.Millisecond) // in the middle of a probe
		routes.Use(nil, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if says() {
			t.Error("the metrics say that a source is down which is gone")
		}
	})
}
