package proxy_test

import (
	"errors"
	"net/http"
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

// A push takes long, another one overtakes it, and that is deleted. Harbor's word of the slow
// one is no news, though it took it after the delete: it came through this edge.
func TestAWebhookOfASlowPushMovesNoDeletedTag(t *testing.T) {
	c := counters{}
	var passed atomic.Int64
	par1 := newRegion(t, hooked(c), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	}).sites[0]
	answered := par1.slowPush(t, "v1", "one")
	par1.pushNote(t, "v1", "two")
	par1.deleteNote(t, "two")
	passed.Store(int64(10 * time.Second))
	par1.hook(t, hook("DELETE_ARTIFACT", "admin", "v9", "never", time.Now())) // Harbor's clock is read
	if err := par1.harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	<-answered
	par1.putPast(t, "v1", "one")
	par1.hook(t, hook("PUSH_ARTIFACT", "admin", "v1", "one", time.Now()))
	par1.shows(t, "overtaken, and deleted", "v1", "")
	if n := c.webhooks(t, "old"); n != 1 {
		t.Errorf("%d of 1 is old", n)
	}
}

// Harbor takes a push, its answer is lost, and then Harbor is: the edge has the manifest
// still, and it is the newest that anybody knows.
func TestAPushWithoutAnAnswerOutlivesItsHarbor(t *testing.T) {
	r := newRegion(t, hooked(counters{}))
	par1 := r.sites[0]
	par1.pushNote(t, "v1", "one")
	for _, s := range r.sites {
		if err := s.harbor.SetFaults(lab.Fault{Name: "down", Path: "PUT .*/manifests/v1", Late: s == par1}); err != nil {
			t.Fatal(err)
		}
	}
	if a := par1.pushNote(t, "v1", "two"); a.status < 500 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, s := range r.sites {
		s.harbor.ClearFaults()
	}
	if err := par1.harbor.SetFaults(lab.Fault{Name: "down", Path: "GET .*/manifests/"}); err != nil {
		t.Fatal(err)
	}
	if a := par1.hook(t, hook("PUSH_ARTIFACT", "admin", "v1", "two", time.Now())); a.status != http.StatusNoContent {
		t.Fatalf("%d %s", a.status, a.body)
	}
	par1.deletePast(t, "two") // a backup has nothing of it
	par1.harbor.ClearFaults()
	par1.shows(t, "Harbor was restored", "v1", "two")
}

// cut is a way to another edge that can be cut.
type cut struct {
	http.RoundTripper
	is *atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (c cut) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.is.Load() {
		return nil, errors.New("the way is cut")
	}
	return c.RoundTripper.RoundTrip(req)
}

// A tag is moved while no edge hears of the others. Then a Harbor to which the first version
// was replicated tells its edge of it, which takes it for new: those that know better do not.
func TestAPushThatOneHarborTellsLateOfUndoesNoOther(t *testing.T) {
	var isCut atomic.Bool
	r := newRegion(t, hooked(counters{}), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		for i, other := range p.Peers {
			var err error
			if p.Peers[i].Edge, err = registry.NewSource(registry.SourceConfig{URL: other.Edge.URL().String(), Prefix: peer.Path, Trusted: true,
				Wrap: func(inner http.RoundTripper) http.RoundTripper { return cut{inner, &isCut} }}); err != nil {
				t.Fatal(err)
			}
		}
	})
	par1, mad1 := r.sites[0], r.sites[1]
	isCut.Store(true)
	par1.pushNote(t, "v1", "one")
	par1.pushNote(t, "v1", "two")
	mad1.putPast(t, "v1", "one")
	mad1.hook(t, hook("PUSH_ARTIFACT", "admin", "v1", "one", time.Now()))
	mad1.shows(t, "nobody else speaks", "v1", "one")
	isCut.Store(false)
	r.agree(t, map[string]string{"v1": "two"})
}

// A delete that is told late takes nothing from a push of the same digest that Harbor has yet to
// take: it is to be told again then.
func TestALateDeleteWaitsForAPush(t *testing.T) {
	c := counters{}
	par1 := newRegion(t, hooked(c)).sites[0]
	if err := par1.harbor.SetFaults(lab.Fault{Name: "hang", Path: "PUT .*/manifests/v1", Times: 1}); err != nil {
		t.Fatal(err)
	}
	par1.harbor.ResetRequests()
	pushed := make(chan answer)
	go func() { pushed <- par1.pushNote(t, "v1", "one") }()
	trial.Until(t, func() error {
		if count(par1.harbor.Requests(), "PUT "+app+"v1") == 0 {
			return errors.New("Harbor has not heard of the push")
		}
		return nil
	})
	told := hook("DELETE_ARTIFACT", "admin", "v1", "one", time.Now().Add(-10*time.Second))
	if a := par1.hook(t, told); a.status != http.StatusServiceUnavailable {
		t.Errorf("while it is being pushed: %d %s", a.status, a.body)
	}
	par1.harbor.ClearFaults()
	if a := <-pushed; a.status != http.StatusCreated {
		t.Fatalf("the push: %d %s", a.status, a.body)
	}
	par1.shows(t, "pushed", "v1", "one")
	if a := par1.hook(t, told); a.status != http.StatusNoContent {
		t.Errorf("told again: %d %s", a.status, a.body)
	}
	par1.shows(t, "told again", "v1", "one")
	if c.webhooks(t, "unanswered") != 1 || c.webhooks(t, "old") != 1 {
		t.Errorf("%d and %d", c.webhooks(t, "unanswered"), c.webhooks(t, "old"))
	}
}
