package announce_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/registry"
)

// newTouches is what an edge knows of pulls. Nothing runs that would show its Harbor any.
func (e *edge) newTouches(t *testing.T, ctx context.Context, peers []*source.Source) *touch.Toucher {
	t.Helper()
	harbor, err := registry.NewSource(registry.SourceConfig{URL: "http://harbor", Username: "robot$edge", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return touch.New(touch.Config{Harbor: source.New(ctx, source.Config{Registry: harbor}), Every: func() time.Duration { return 6 * time.Hour },
		Namespace: func(string) namespace.Namespace { return namespace.Namespace{Kind: namespace.MultiDC} }, Peers: func() []*source.Source { return peers },
		Machine: func(string) bool { return false }, Plain: func() bool { return false }, Log: slog.New(slog.DiscardHandler), Metrics: e.metrics, Now: time.Now})
}

// pull is a client's.
func (e *edge) pull(tag string) {
	d := digest.FromString(tag)
	e.touches.Served(touch.Answer{To: httptest.NewRequest(http.MethodGet, "/", nil), Status: http.StatusOK, Header: http.Header{"Docker-Content-Digest": {d.String()}}}, repo, tag)
}

// Pulls go to the peers with what else is announced, all of them one after the other; what a
// peer does not acknowledge is told again, and what it hears twice counts once.
func TestPullsAreTold(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1, mad1, drp1 := f.edges["par1"], f.edges["mad1"], f.edges["drp1"]
		f.set("par1", "mad1", link{lost: true})
		f.set("par1", "drp1", link{down: true})
		pass(time.Second)
		const pulls = 1700
		for i := range pulls {
			par1.pull(fmt.Sprint("v", i))
		}
		pass(time.Minute)
		untold := func() float64 { return gauge(t, par1.metrics, "breakwater_edge_touches_untold") }
		if n := gauge(t, mad1.metrics, "breakwater_edge_touches_pending"); n != 500 || untold() != pulls {
			t.Errorf("mad1, whose answers are lost, has heard of %v; %v are untold", n, untold())
		}
		f.set("par1", "mad1", link{twice: true})
		f.set("par1", "drp1", link{})
		pass(12 * time.Second)
		for _, e := range []*edge{mad1, drp1} {
			if n := gauge(t, e.metrics, "breakwater_edge_touches_pending"); n != pulls {
				t.Errorf("%s has heard of %v of %d", e.name, n, pulls)
			}
		}
		if n := untold(); n != 0 {
			t.Errorf("%v are untold", n)
		}
		told := 0
		for _, b := range f.batches("par1", "drp1") {
			if told += len(b.Pulls); len(b.Pulls) > 500 {
				t.Errorf("a batch has %d", len(b.Pulls))
			}
		}
		pass(time.Minute)
		for _, b := range f.batches("par1", "drp1") {
			told += len(b.Pulls)
		}
		if told != pulls {
			t.Errorf("drp1 was told of %d", told)
		}
	})
}
