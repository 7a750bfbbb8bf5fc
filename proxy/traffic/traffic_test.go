package traffic

import (
	"testing"
	"time"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
)

// However long an edge runs, it keeps a quarter of an hour and six hours, no more; and what was
// counted while it could not sample is no more than counted once.
func TestSamplesAreBounded(t *testing.T) {
	now, m := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC), NewMetrics(nil, nil, nil)
	w := New(Config{Datacenter: "par1", Metrics: m, Sources: func() []*source.Source { return nil }, Hits: map[string]bool{"hit": true, "fill": false}, InFlight: func() int64 { return 3 },
		Fills: func() []store.FillReport { return nil }, Now: func() time.Time { return now }}, source.NewMetrics(nil))
	for n := 1; n <= 8*360; n++ { // eight hours
		m.Answered(Answer{Endpoint: "blob", Kind: "cache", Outcome: "hit", Status: 200, Bytes: 100, Content: true})
		m.Answered(Answer{Endpoint: "peer", Kind: "cache", Outcome: "hit", Status: 200, Bytes: 10, Peer: true, Content: true})
		m.Answered(Answer{Endpoint: "peer", Kind: "plain", Outcome: "own", Status: 200, Bytes: 5, Peer: true})
		m.Answered(Answer{Endpoint: "hello", Kind: "plain", Outcome: "own", Status: 200, Bytes: 1})
		m.Answered(Answer{Endpoint: "health", Kind: "plain", Outcome: "own", Status: 503, Bytes: 7})
		now = now.Add(10 * time.Second)
		w.sample(n%perMinute == 0)
	}
	r := w.Report()
	want := Flow{Requests: 90, Content: 90, Hits: 90, PeerRequests: 180, ToClients: 9000, ToPeers: 16 * 90, Saved: 9000}
	if len(r.Quarter.Points) != 90 || len(r.Hours.Points) != 360 || r.Recent != want || r.Seconds != 900 || r.Start.Requests != 8*360 || r.InFlight != 3 {
		t.Errorf("%d and %d points, %+v of %v s, %+v", len(r.Quarter.Points), len(r.Hours.Points), r.Recent, r.Seconds, r.Start)
	}
	for _, p := range r.Hours.Points {
		if p.Seconds != 60 || p.Requests != 6 || p.ToClients != 600 {
			t.Fatalf("%+v", p)
		}
	}
	if len(r.Requests) != 1 || r.Requests[0] != (Row{"blob", "cache", "hit", "2xx", 8 * 360, 90}) {
		t.Errorf("%+v", r.Requests)
	}
}
