package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// gone waits until an edge gives a tombstone for references.
func (s *site) gone(t *testing.T, references ...string) {
	t.Helper()
	trial.Until(t, func() error {
		for _, reference := range references {
			a := s.pullNote(t, reference)
			if a.status != http.StatusNotFound || a.header.Get("Cache-Status") != "breakwater; hit; detail=tombstone" || a.code() != "MANIFEST_UNKNOWN" {
				return fmt.Errorf("%s: %d %s (%s)", reference, a.status, a.body, a.header.Get("Cache-Status"))
			}
		}
		return nil
	})
}

// harborLoses waits until the site's Harbor has nothing under references.
func (s *site) harborLoses(t *testing.T, references ...string) {
	t.Helper()
	trial.Until(t, func() error {
		for _, reference := range references {
			if has := s.harborHas(t, reference); has != "" {
				return fmt.Errorf("Harbor has %s as %s", reference, has)
			}
		}
		return nil
	})
}

// What a person deletes past the edges is deleted everywhere, edges and Harbors.
func TestADeletePastTheEdgesIsATombstone(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1 := r.sites[0]
	par1.pushNote(t, "v1", "one")
	par1.pushNote(t, "also", "one")
	par1.pushNote(t, "v2", "two")
	r.agree(t, map[string]string{"v1": "one", "also": "one", "v2": "two"})
	par1.deletePast(t, "one")
	if a := par1.hook(t, hook("DELETE_ARTIFACT", "admin", "v1", "one", time.Now().Add(2*time.Second))); a.status != http.StatusNoContent || c.webhooks(t, "taken") != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, s := range r.sites {
		s.gone(t, "v1", "also", noteDigest("one"))
		s.harborLoses(t, "v1", "also", noteDigest("one"))
		s.shows(t, "another one", "v2", "two")
	}
	if a := par1.pushNote(t, "v1", "one"); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	r.agree(t, map[string]string{"v1": "one", "v2": "two"})
}

// A platform's image that was deleted is pushed again past the edges, by its digest, as clients
// push those of an index. Its tombstone ends everywhere; not by an event from before the delete.
func TestAPushByDigestPastTheEdgesEndsATombstone(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1, d := r.sites[0], noteDigest("one")
	par1.pushNote(t, "v1", "one")
	r.agree(t, map[string]string{"v1": "one"})
	par1.deleteNote(t, "one")
	for _, s := range r.sites {
		s.gone(t, d)
		s.harborLoses(t, d)
	}
	par1.putPast(t, d, "one")
	if a := par1.hook(t, hook("PUSH_ARTIFACT", "admin", d, "one", time.Now().Add(-time.Minute))); a.status != http.StatusNoContent || c.webhooks(t, "old") != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	par1.shows(t, "an event of before the delete", d, "")
	if a := par1.hook(t, hook("PUSH_ARTIFACT", "admin", d, "one", time.Now().Add(2*time.Second))); a.status != http.StatusNoContent || c.webhooks(t, "taken") != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, s := range r.sites {
		s.until(t, d, "one")
	}
	par1.shows(t, "its tag", "v1", "")
}

// An event of a delete that was overtaken by a push is no delete.
func TestALateDeleteIsNone(t *testing.T) {
	c := counters{}
	s := newRegion(t, hooked(c)).sites[0]
	s.pushNote(t, "v1", "one")
	s.deletePast(t, "one")
	s.pushNote(t, "v1", "one")
	if a := s.hook(t, hook("DELETE_ARTIFACT", "admin", "v1", "one", time.Now().Add(-time.Minute))); a.status != http.StatusNoContent || c.webhooks(t, "old") != 1 {
		t.Errorf("%d", a.status)
	}
	s.shows(t, "pushed again", "v1", "one")
}

// What Harbor's retention removes in one datacenter is no delete: it is served from
// elsewhere, and not brought back to that Harbor.
func TestWhatRetentionRemovesIsNoTombstone(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1 := r.sites[0]
	par1.pushNote(t, "v1", "one")
	par1.pushNote(t, "v2", "two")
	r.agree(t, map[string]string{"v1": "one", "v2": "two"})
	waitFor(t, "Harbor is known to have both", func() bool { return metric(t, c["par1"], "breakwater_edge_harbor_pending", "") == 0 })
	// The edge does not learn of the delete before Harbor tells it.
	if err := par1.harbor.SetFaults(lab.Fault{Name: "hang", Path: "(GET|HEAD) .*/manifests/v1"}); err != nil {
		t.Fatal(err)
	}
	par1.deletePast(t, "one") // by retention
	if a := par1.hook(t, hook("DELETE_ARTIFACT", "harbor-jobservice", "v1", "one", time.Now().Add(4*time.Second))); a.status != http.StatusNoContent || c.webhooks(t, "machine") != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if err := par1.harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	par1.deletePast(t, "two") // nobody says anything: it was lost
	for _, s := range r.sites {
		s.shows(t, "by retention", "v1", "one")
		s.shows(t, "lost", "v2", "two")
	}
	trial.Until(t, func() error {
		if has := par1.harborHas(t, "v2"); has != noteDigest("two") {
			return fmt.Errorf("what was lost is not brought back: %q", has)
		}
		return nil
	})
	if has := par1.harborHas(t, "v1"); has != "" {
		t.Errorf("what retention removed is brought back: %s", has)
	}
	for i, s := range r.sites[1:] {
		if s.harborHas(t, "v1") != noteDigest("one") {
			t.Errorf("the Harbor of peer %d has lost it", i)
		}
	}
}

// Harbor tells late of a delete that came through the edge, when another tag than the one
// that was deleted may have been the digest again, and not be it any more.
func TestALateWebhookOfAKnownDeleteDeletesNothing(t *testing.T) {
	c := counters{}
	s := newRegion(t, hooked(c)).sites[0]
	s.pushNote(t, "v1", "one")
	begun := time.Now()
	s.deleteNote(t, "one")
	s.pushNote(t, "v1", "one")
	s.pushNote(t, "v1", "two")
	s.deletePast(t, "one") // by retention
	if a := s.hook(t, hook("DELETE_ARTIFACT", "admin", "v1", "one", begun)); a.status != http.StatusNoContent || c.webhooks(t, "old") != 1 {
		t.Errorf("%d; %d are old", a.status, c.webhooks(t, "old"))
	}
	if a := s.pullNote(t, noteDigest("one")); strings.Contains(a.header.Get("Cache-Status"), "tombstone") { // no Harbor may have it any more
		t.Errorf("what was pushed after the delete: %d %s", a.status, a.header.Get("Cache-Status"))
	}
}

// Harbor's clock and the edge's may differ: which was first is seen all the same.
func TestAWebhookOfAHarborWithAnotherClock(t *testing.T) {
	for _, ahead := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			c := counters{}
			r := newRegion(t, hooked(c), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
				p.Now = func() time.Time { return time.Now().Add(ahead) }
			})
			s := r.sites[0]
			s.pushNote(t, "v1", "one")
			s.pushNote(t, "v2", "two")
			r.agree(t, map[string]string{"v1": "one", "v2": "two"})
			s.deletePast(t, "one")
			s.hook(t, hook("DELETE_ARTIFACT", "admin", "v1", "one", time.Now().Add(4*time.Second)))
			s.deletePast(t, "two")
			s.hook(t, hook("DELETE_ARTIFACT", "admin", "v2", "two", time.Now().Add(-4*time.Second))) // of an earlier one
			if taken, old := c.webhooks(t, "taken"), c.webhooks(t, "old"); taken != 1 || old != 1 {
				t.Errorf("%d taken, %d old", taken, old)
			}
			s.gone(t, "v1")
			s.shows(t, "its delete was before its push", "v2", "two")
		})
	}
}

// undated is a way to a Harbor whose answers do not say when, until they are dated.
type undated struct {
	inner http.RoundTripper
	dated *atomic.Bool
}

func (u undated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.inner.RoundTrip(r)
	if err == nil && !u.dated.Load() {
		resp.Header.Del("Date")
	}
	return resp, err
}

// An edge that has started a moment ago, with a clock that is late by minutes, takes no delete
// for newer than the push that followed it: Harbor is asked for its clock first.
func TestAWebhookBeforeHarborsClockIsKnown(t *testing.T) {
	c := counters{}
	var dated atomic.Bool
	r := newRegion(t, hooked(c), func(_ *access.Config, p *proxy.Config, harbor *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(-5 * time.Minute) }
		harbor.Wrap = func(inner http.RoundTripper) http.RoundTripper { return undated{inner, &dated} }
	})
	s := r.sites[0]
	for _, name := range []string{"one", "two"} {
		s.pushNote(t, "v-"+name, name)
	}
	r.agree(t, map[string]string{"v-one": "one", "v-two": "two"})
	s.deletePast(t, "one")
	s.deletePast(t, "two")
	dated.Store(true)
	s.hook(t, hook("DELETE_ARTIFACT", "admin", "v-one", "one", time.Now().Add(-4*time.Second))) // of an earlier one
	s.hook(t, hook("DELETE_ARTIFACT", "admin", "v-two", "two", time.Now().Add(4*time.Second)))
	if taken, old := c.webhooks(t, "taken"), c.webhooks(t, "old"); taken != 1 || old != 1 {
		t.Errorf("%d taken, %d old", taken, old)
	}
	s.gone(t, "v-two")
	s.shows(t, "its delete was before its push", "v-one", "one")
}

// Harbor tells late of what its retention removed: a push of the same digest since then is
// followed all the same.
func TestALateWebhookOfRetentionStopsNothing(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1 := r.sites[0]
	par1.pushNote(t, "v1", "one")
	r.agree(t, map[string]string{"v1": "one"})
	if a := par1.hook(t, hook("DELETE_ARTIFACT", "harbor-jobservice", "v1", "one", time.Now().Add(-time.Minute))); a.status != http.StatusNoContent || c.webhooks(t, "machine") != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	par1.putPast(t, "v1", "old") // by a replication
	r.agree(t, map[string]string{"v1": "one"})
}

// What is no repo is asked for nowhere: the secret is known to the project's administrators.
func TestAWebhookOfWhatIsNoRepo(t *testing.T) {
	c := counters{}
	s := newRegion(t, hooked(c)).sites[0]
	s.harbor.ResetRequests()
	for _, kind := range []string{"DELETE_ARTIFACT", "PUSH_ARTIFACT"} {
		told := strings.Replace(hook(kind, "admin", "v1", "one", time.Now()), `"repo_full_name":"multi-dc-demo/app"`, `"repo_full_name":"multi-dc-demo/../library/app"`, 1)
		if a := s.hook(t, told); a.status != http.StatusNoContent {
			t.Errorf("%s: %d %s", kind, a.status, a.body)
		}
	}
	for asked := range s.harbor.Requests() {
		if strings.Contains(asked, "library") {
			t.Errorf("Harbor is asked for %s", asked)
		}
	}
	if c.webhooks(t, "known") != 2 {
		t.Errorf("%d of 2 are known", c.webhooks(t, "known"))
	}
}
