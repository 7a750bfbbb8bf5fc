package traffic

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	every      = 10 * time.Second // between two samples of the last quarter of an hour
	perMinute  = 6                // so many of them make one of the last hours
	maxRecent  = 15*perMinute + 1 // samples; between two there is a point
	maxHours   = 6*60 + 1
	maxColumns = 512 // rows and sources that are told apart; their labels have no more values
)

// Flow is what went through an edge, in requests and in bytes of bodies.
type Flow struct {
	Requests       int64 `json:"requests"`        // that clients were answered, without the questions for the edge's health
	Content        int64 `json:"content"`         // those of them that read content of a managed project
	Hits           int64 `json:"hits"`            // those of them that the store had
	Failed         int64 `json:"failed"`          // that were answered 5xx
	Refused        int64 `json:"refused"`         // 4xx: also those that bring no credentials yet, and are told where to get some
	PeerRequests   int64 `json:"peer_requests"`   // of other edges
	ToClients      int64 `json:"to_clients"`      // bytes
	ToPeers        int64 `json:"to_peers"`        // bytes, over the WAN
	FromHarbor     int64 `json:"from_harbor"`     // bytes, of the local one, by the edge itself
	FromPeers      int64 `json:"from_peers"`      // bytes, over the WAN
	FromUpstreams  int64 `json:"from_upstreams"`  // bytes
	Saved          int64 `json:"saved"`           // bytes of content that clients were given, less those from peers and upstreams; not below 0
	SourceFailures int64 `json:"source_failures"` // questions to sources that none, or 5xx, answered
}

// since is what went through between two samples.
func (f Flow) since(g Flow) Flow {
	return Flow{f.Requests - g.Requests, f.Content - g.Content, f.Hits - g.Hits, f.Failed - g.Failed, f.Refused - g.Refused, f.PeerRequests - g.PeerRequests,
		f.ToClients - g.ToClients, f.ToPeers - g.ToPeers, f.FromHarbor - g.FromHarbor, f.FromPeers - g.FromPeers, f.FromUpstreams - g.FromUpstreams,
		max(0, f.Saved-g.Saved), f.SourceFailures - g.SourceFailures}
}

// row is of requests that are counted together.
type row struct{ endpoint, namespace, outcome, status string }

// counted is what was counted since the edge was started.
type counted struct {
	at       time.Time
	inFlight int64
	flow     Flow // its Saved may be below 0
	rows     []int64
	sources  []int64 // bytes
}

// columns number what is counted apart, in the order in which it was seen first.
type columns[K comparable] struct {
	at   map[K]int
	keys []K
}

// put adds to the number of a key.
func (c *columns[K]) put(to *[]int64, key K, n int64) {
	i, ok := c.at[key]
	if !ok {
		if len(c.keys) == maxColumns {
			return
		}
		if c.at == nil {
			c.at = map[K]int{}
		}
		i = len(c.keys)
		c.at[key], c.keys = i, append(c.keys, key)
	}
	for len(*to) <= i {
		*to = append(*to, 0)
	}
	(*to)[i] += n
}

// of is the number of a column; 0 where it was not there yet.
func of(numbers []int64, i int) int64 {
	if i >= len(numbers) {
		return 0
	}
	return numbers[i]
}

// Run takes samples until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(w.cfg.Every)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.sample(n%perMinute == 0)
	}
}

// sample keeps what is counted now, for the last quarter of an hour and, with hours, for the
// last hours too.
func (w *Watch) sample(hours bool) {
	sights := w.sight()
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.count()
	w.recent = keep(w.recent, now, maxRecent)
	if hours {
		now.rows, now.sources = nil, nil
		w.hours = keep(w.hours, now, maxHours)
	}
	w.before, w.seen = w.seen, sights
}

// keep appends a sample, and lets the oldest go where there are more than most.
func keep(all []counted, c counted, most int) []counted {
	if len(all) == most {
		copy(all, all[1:])
		all = all[:most-1]
	}
	return append(all, c)
}

// apart are the end points that are no client's.
var apart = map[string]bool{"health": true, "hello": true, "operator": true, "peer": true}

// count reads the counters; w.mu is held. What requests do they do without this lock.
func (w *Watch) count() counted {
	c := counted{at: w.cfg.Now(), inFlight: w.cfg.InFlight()}
	families, _ := w.counters.Gather() // what of it fails is left out
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			n := int64(m.GetCounter().GetValue())
			switch family.GetName() {
			case "breakwater_edge_requests_total":
				w.countRequests(&c, row{labels["endpoint"], labels["namespace"], labels["outcome"], labels["status"]}, n)
			case "breakwater_edge_response_bytes_total":
				c.flow.ToClients += n
				if _, content := w.cfg.Hits[labels["outcome"]]; content {
					c.flow.Saved += n
				}
			case "breakwater_edge_source_bytes_total":
				w.bySource.put(&c.sources, labels["source"], n)
				c.flow.brought(labels["source"], n)
			case "breakwater_edge_source_requests_total":
				if labels["status"] == "0xx" || labels["status"] == "5xx" {
					c.flow.SourceFailures += n
				}
			}
		}
	}
	c.flow.ToPeers = w.cfg.Metrics.toPeers.Load()
	c.flow.ToClients -= c.flow.ToPeers + w.cfg.Metrics.aside.Load()
	c.flow.Saved -= w.cfg.Metrics.content.Load() + c.flow.FromPeers + c.flow.FromUpstreams
	return c
}

func (w *Watch) countRequests(c *counted, r row, n int64) {
	if r.endpoint == "peer" {
		c.flow.PeerRequests += n
	}
	if apart[r.endpoint] {
		return
	}
	w.byRow.put(&c.rows, r, n)
	c.flow.Requests += n
	if hit, content := w.cfg.Hits[r.outcome]; content {
		c.flow.Content += n
		if hit {
			c.flow.Hits += n
		}
	}
	switch r.status {
	case "5xx":
		c.flow.Failed += n
	case "4xx":
		c.flow.Refused += n
	}
}

// brought counts bytes that came from a source.
func (f *Flow) brought(source string, n int64) {
	switch {
	case strings.HasPrefix(source, "peer-"):
		f.FromPeers += n
	case strings.HasPrefix(source, "upstream-"):
		f.FromUpstreams += n
	default:
		f.FromHarbor += n
	}
}

// counters are what samples are taken of, whoever else they are shown to.
func counters(all ...prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(all...)
	return r
}
