package traffic

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// Report is what went through an edge (GET /traffic). Times are the edge's own.
type Report struct {
	Datacenter string    `json:"datacenter"`
	Started    time.Time `json:"started"`
	Time       time.Time `json:"time"`
	InFlight   int64     `json:"in_flight"` // requests that are being answered
	Start      Flow      `json:"since_start"`
	Recent     Flow      `json:"recent"`         // of the last quarter of an hour, or since the start
	Seconds    float64   `json:"recent_seconds"` // how long that is
	Requests   []Row     `json:"requests"`       // of clients, the most first
	Sources    []Source  `json:"sources"`        // the local Harbor, the peers, the upstreams
	Quarter    Series    `json:"last_15m"`
	Hours      Series    `json:"last_6h"`
}

// Row is a kind of requests, by what became of them.
type Row struct {
	Endpoint  string `json:"endpoint"`
	Namespace string `json:"namespace"` // cache, repl, multi-dc or plain
	Outcome   string `json:"outcome"`   // how the edge came by the answer
	Status    string `json:"status"`    // as 2xx
	Start     int64  `json:"since_start"`
	Recent    int64  `json:"recent"`
}

// Source is what content comes from.
type Source struct {
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`           // harbor, peer or upstream
	Bytes    int64   `json:"bytes"`          // since the edge was started
	Recent   int64   `json:"recent_bytes"`   // of the last quarter of an hour
	Up       bool    `json:"up"`             // its circuit breaker is closed
	Paused   float64 `json:"paused_seconds"` // that it asked to be left alone yet
	Refuses  bool    `json:"refuses"`        // the credentials that the edge has for it
	RateLeft *int64  `json:"rate_left"`      // pulls that it last said are left of its limit; null: it has said nothing
}

// Series is what went through, point by point, the oldest first.
type Series struct {
	Every  float64 `json:"every_seconds"`
	Points []Point `json:"points"`
}

// Point is what went through until a time.
type Point struct {
	At       time.Time `json:"at"`
	Seconds  float64   `json:"seconds"`   // since the point before
	InFlight int64     `json:"in_flight"` // at that time
	Flow
}

// Config is what a Watch looks at.
type Config struct {
	Datacenter string
	Metrics    *Metrics
	Sources    func() []*source.Source // all of the edge's
	Hits       map[string]bool         // the outcomes that the hit ratio is of, and whether the store had the content
	InFlight   func() int64
	Fills      func() []store.FillReport
	RepoOf     func(digest.Digest) string // for which a blob is brought; "": that is not known
	Every      time.Duration              // between two samples; 0: 10 s
	Now        func() time.Time
}

// Watch keeps samples of what goes through an edge: one each 10 s for a quarter of an hour, and
// one a minute for six hours. They take some 300 kB at most, and requests nothing. Safe for
// concurrent use.
type Watch struct {
	cfg      Config
	started  time.Time
	counters *prometheus.Registry

	mu       sync.Mutex
	byRow    columns[row]
	bySource columns[string]
	recent   []counted
	hours    []counted
	before   sights // of the sample before the last
	seen     sights // of the last
}

// New returns a Watch of an edge that begins.
func New(cfg Config, sources *source.Metrics) *Watch {
	if cfg.Every == 0 {
		cfg.Every = every
	}
	w := &Watch{cfg: cfg, started: cfg.Now()}
	w.counters = counters(append(sources.Counters(), cfg.Metrics.requests, cfg.Metrics.bytes)...)
	w.sample(true)
	return w
}

// Report is what went through until now.
func (w *Watch) Report() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.count()
	oldest := w.recent[0]
	r := Report{Datacenter: w.cfg.Datacenter, Started: w.started.UTC(), Time: now.at.UTC(), InFlight: now.inFlight, Start: now.flow.since(Flow{}), Recent: now.flow.since(oldest.flow),
		Seconds: now.at.Sub(oldest.at).Seconds(), Requests: []Row{}, Sources: w.sources(now, oldest), Quarter: series(w.recent, w.cfg.Every), Hours: series(w.hours, perMinute*w.cfg.Every)}
	for i, k := range w.byRow.keys {
		if n := of(now.rows, i); n > 0 {
			r.Requests = append(r.Requests, Row{k.endpoint, k.namespace, k.outcome, k.status, n, n - of(oldest.rows, i)})
		}
	}
	slices.SortFunc(r.Requests, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Start, a.Start), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Status, b.Status))
	})
	return r
}

// sources are how the sources are doing; w.mu is held.
func (w *Watch) sources(now, oldest counted) []Source {
	all := []Source{}
	for _, s := range w.cfg.Sources() {
		state := s.State()
		row := Source{Name: s.Name, Kind: [...]string{source.Harbor: "harbor", source.Peer: "peer", source.Upstream: "upstream"}[s.Kind],
			Up: state.Up, Paused: state.Paused.Seconds(), Refuses: state.Refused, RateLeft: state.Left}
		if i, ok := w.bySource.at[s.Name]; ok {
			row.Bytes, row.Recent = of(now.sources, i), of(now.sources, i)-of(oldest.sources, i)
		}
		all = append(all, row)
	}
	return all
}

// series are the points between samples.
func series(all []counted, every time.Duration) Series {
	s := Series{Every: every.Seconds(), Points: []Point{}}
	for i, c := range all {
		if i > 0 {
			s.Points = append(s.Points, Point{c.at.UTC(), c.at.Sub(all[i-1].at).Seconds(), c.inFlight, c.flow.since(all[i-1].flow)})
		}
	}
	return s
}

// Admin adds what operators ask to the admin listener:
//
//	GET /traffic   what went through the edge (Report)
//	GET /fills     what comes into its store now (FillsReport)
func (w *Watch) Admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /traffic", func(rw http.ResponseWriter, _ *http.Request) { registry.WriteJSON(rw, w.Report()) })
	mux.HandleFunc("GET /fills", func(rw http.ResponseWriter, _ *http.Request) { registry.WriteJSON(rw, w.Fills()) })
}
