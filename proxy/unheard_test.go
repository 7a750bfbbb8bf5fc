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
	"example.org/breakwater/registry"
)

// An edge that has not heard of a push yet shows what replication brings to its Harbor. What
// that Harbor goes back to was brought by a replication that is late: it is not shown again.
func TestWhatALateReplicationBringsBackIsNotShown(t *testing.T) {
	var ahead atomic.Int64
	s := newRegion(t, hooked(counters{}), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}).sites[0]
	for _, brought := range []struct{ what, text, want string }{
		{"the first", "one", "one"},
		{"a newer one", "two", "two"},
		{"the first, late", "one", "two"},
		{"a third", "three", "three"},
		{"the second, late", "two", "three"},
	} {
		s.putPast(t, "v1", brought.text)
		s.shows(t, brought.what, "v1", brought.want)
	}
	ahead.Store(int64(time.Hour)) // nobody has told of a version: Harbor was changed so
	s.shows(t, "what stays", "v1", "two")
}

// A pull that began before its tag had a version shows nothing that a later pull would take
// back: what a peer's Harbor had under the tag then nobody has ordered.
func TestAPullThatBeganBeforeTheFirstVersion(t *testing.T) {
	r := newRegion(t)
	par1, mad1 := r.sites[0], r.sites[1]
	mad1.putPast(t, "v1", "two")
	if err := mad1.harbor.SetFaults(lab.Fault{Name: "hang", Path: "(GET|HEAD) .*/manifests/v1", Times: 1, Late: true}); err != nil {
		t.Fatal(err)
	}
	mad1.harbor.ResetRequests()
	pulled := make(chan answer)
	go func() { pulled <- par1.pullNote(t, "v1") }()
	trial.Until(t, func() error {
		if n := count(mad1.harbor.Requests(), "GET "+app+"v1"); n == 0 {
			return errors.New("mad1's Harbor is not asked")
		}
		return nil
	})
	if a := par1.pushNote(t, "v1", "one"); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	mad1.harbor.ClearFaults()
	if a := <-pulled; string(a.body) != note("one") {
		t.Errorf("the pull that waited: %d %s", a.status, a.body)
	}
	par1.shows(t, "the next", "v1", "one")
}

// What something brings back after its delete is remembered for nobody: it is not shown either
// when nobody can say any more what the tag is.
func TestWhatIsBroughtBackIsNotShownWhenHarborIsGone(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	s.putPast(t, "v1", "one")
	s.shows(t, "before", "v1", "one")
	s.deleteNote(t, "one")
	s.putPast(t, "v1", "one")
	s.shows(t, "what is brought back", "v1", "")
	for _, other := range r.sites {
		if err := other.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/multi-dc-demo/"}); err != nil {
			t.Fatal(err)
		}
	}
	if a := s.pullNote(t, "v1"); a.status == http.StatusOK {
		t.Errorf("while no Harbor answers: %d %s (%s)", a.status, a.body, a.header.Get("Cache-Status"))
	}
}
