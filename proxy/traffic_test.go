package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/traffic"
)

// flows asks an edge what went through it.
func (s *site) flows(t *testing.T) (r traffic.Report) {
	t.Helper()
	if code := s.operate(t, http.MethodGet, "/traffic", nil, &r); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	return r
}

// What clients got, and what Harbor, peers and upstreams sent for it, is told apart; and the
// points of the last quarter of an hour are the whole.
func TestTrafficSaysWhatWentThrough(t *testing.T) {
	const size = 200_000
	r := newRegion(t, quick, paced(100*time.Millisecond)) // the last quarter of an hour is 9 s
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	img := image(t, size, 1)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	d, _ := layerOf(t, img)
	pull := func(s *site) {
		t.Helper()
		h := s.header(t, "cache-dockerhub/library/app")
		for _, path := range []string{manifests("cache-dockerhub/library/app"), "/v2/cache-dockerhub/library/app/blobs/" + d} {
			if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	for range 3 {
		pull(par1)
	}
	if err := mad1.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/cache-dockerhub/"}); err != nil {
		t.Fatal(err)
	}
	pull(mad1)
	trial.Until(t, func() error { // an answer is counted behind its last byte
		a, b, c := par1.flows(t), mad1.flows(t), drp1.flows(t)
		switch f := a.Start; {
		case f.Content != 6 || f.Hits != 4 || f.FromHarbor < size || f.FromHarbor > 2*size || f.FromPeers+f.FromUpstreams != 0 || f.ToClients < 3*size || f.ToClients > 4*size || f.Saved < 3*size:
			return fmt.Errorf("par1: %+v", f)
		case f.ToPeers+c.Start.ToPeers < size || f.PeerRequests < 2: // they tell each other things all the time; the peer that answers first gives it
			return fmt.Errorf("par1 gave a peer %+v, drp1 %+v, mad1 got %+v", f, c.Start, b.Start)
		}
		if f := b.Start; f.FromPeers < size || f.FromPeers > 2*size || f.FromUpstreams != 0 || f.SourceFailures == 0 || f.Saved > 2000 {
			return fmt.Errorf("mad1: %+v", f)
		}
		var points int64
		for _, p := range a.Quarter.Points {
			points += p.ToClients
		}
		if points != a.Start.ToClients || a.Recent != a.Start {
			return fmt.Errorf("the points have %d bytes of %d", points, a.Start.ToClients)
		}
		return nil
	})
	told := par1.flows(t)
	if s := told.Sources[0]; told.Datacenter != "par1" || s.Name != "harbor" || s.Kind != "harbor" || !s.Up || s.Bytes != told.Start.FromHarbor || s.Recent != s.Bytes || s.RateLeft != nil {
		t.Errorf("%+v", told.Sources)
	}
	var hits int64
	for _, row := range told.Requests {
		if row.Namespace == "cache" && row.Outcome == "hit" && row.Status == "2xx" {
			hits += row.Start
		}
	}
	if hits != told.Start.Hits {
		t.Errorf("%d hits of %d: %+v", hits, told.Start.Hits, told.Requests)
	}
	trial.Until(t, func() error {
		if hours := par1.flows(t).Hours.Points; len(hours) == 0 || hours[0].ToClients != told.Start.ToClients {
			return fmt.Errorf("the hours are %+v", hours)
		}
		return nil
	})
}

// A fill shows how far it is, for whom, from whom and how fast; then it is gone.
func TestFillsAreSeenWhileTheyCome(t *testing.T) {
	c := newCold(t, 6<<20)
	fills := func() (r traffic.FillsReport) {
		t.Helper()
		if code := c.operate(t, http.MethodGet, "/fills", nil, &r); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		return r
	}
	if r := fills(); r.Count != 0 || r.Fills == nil {
		t.Errorf("nothing comes: %+v", r)
	}
	c.faults(t, lab.Fault{Name: "slow", Bytes: 4 << 20})
	resp := c.get(t.Context(), t, "")
	defer resp.Body.Close()
	trial.Until(t, func() error {
		r := fills()
		if len(r.Fills) != 1 {
			return fmt.Errorf("%+v", r)
		}
		f := r.Fills[0]
		if !strings.HasSuffix(c.path, f.Digest.String()) || f.Size != 6<<20 || f.Bytes < 1<<20 || f.Bytes >= f.Size || f.Project != "multi-dc-demo" || f.Repo != "multi-dc-demo/app" || f.Readers != 1 || f.Bodies != 1 ||
			len(f.Sources) != 1 || f.Sources[0] != "harbor" || f.Rate < 1<<20 || f.Warming || r.Count != 1 || r.BytesToGo != f.Size-f.Bytes {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if err := equal(resp.Body, c.content); err != nil {
		t.Error(err)
	}
	trial.Until(t, func() error {
		if r := fills(); r.Count != 0 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
}
