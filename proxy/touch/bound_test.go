package touch_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/registry"
)

// memory is a touch.State.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) EachTouch(do func(key string, value []byte)) {
	m.mu.Lock()
	all := maps.Clone(m.values)
	m.mu.Unlock()
	for key, value := range all {
		do(key, value)
	}
}

func (m *memory) PutTouch(key string, value []byte, _ time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[key] = value; value == nil {
		delete(m.values, key)
	}
}

// edge is what pulls are told to, with a clock that a test puts forward.
type edge struct {
	*touch.Toucher
	metrics *prometheus.Registry
	state   *memory
	now     time.Time
	every   time.Duration
}

func newEdge(t *testing.T, state *memory, peers ...string) *edge {
	t.Helper()
	e := newEdgeAt(t, state, http.DefaultTransport, nil, peers...)
	e.now = time.Now()
	return e
}

// newEdgeAt makes one before a Harbor, with a clock; nil: its own.
func newEdgeAt(t *testing.T, state *memory, at http.RoundTripper, clock func() time.Time, peers ...string) *edge {
	t.Helper()
	harbor, err := registry.NewSource(registry.SourceConfig{URL: "http://harbor", Username: "robot$edge", Password: "secret", Wrap: func(http.RoundTripper) http.RoundTripper { return at }})
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{metrics: prometheus.NewRegistry(), state: state, every: 6 * time.Hour}
	if clock == nil {
		clock = func() time.Time { return e.now }
	}
	table := namespace.NewTable(nil)
	var others []*source.Source
	for _, name := range peers {
		others = append(others, source.New(t.Context(), source.Config{Datacenter: name, Registry: harbor}))
	}
	e.Toucher = touch.New(touch.Config{Harbor: source.New(t.Context(), source.Config{Registry: harbor}), Every: func() time.Duration { return e.every },
		Namespace: func(repo string) namespace.Namespace { return table.Of(strings.Split(repo, "/")[0]) },
		Peers:     func() []*source.Source { return others }, Machine: func(string) bool { return false }, Plain: func() bool { return false }, State: state, Log: slog.New(slog.DiscardHandler), Metrics: e.metrics, Now: clock})
	return e
}

var asked = httptest.NewRequest(http.MethodGet, "/", nil)

// pull is a client's.
func (e *edge) pull(repo, tag string, d digest.Digest) {
	e.Served(touch.Answer{To: asked, Status: http.StatusOK, Header: http.Header{"Docker-Content-Digest": {d.String()}}}, repo, tag)
}

func (e *edge) metric(t *testing.T, name string) (n float64) {
	t.Helper()
	families, err := e.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "breakwater_edge_touches_"+name {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return n
}

const repo = "multi-dc-demo/app"

// Of what is owed so much is kept and no more, in memory and on disk: what was pulled longest
// ago goes first, and that is counted.
func TestWhatIsOwedIsBounded(t *testing.T) {
	const most, more = 1 << 17, 1000
	e := newEdge(t, newMemory())
	for i := range most + more {
		e.now = e.now.Add(time.Millisecond)
		e.pull(repo, "", digest.FromString(fmt.Sprint(i)))
	}
	pending, dropped := int(e.metric(t, "pending")), int(e.metric(t, "total"))
	if pending > most || pending < most*8/10 || pending+dropped != most+more || len(e.state.values) != pending {
		t.Errorf("%d are owed, %d on disk, %d were dropped, of %d", pending, len(e.state.values), dropped, most+more)
	}
	for i, want := range map[int]bool{0: false, most + more - 1: true} {
		if _, has := e.state.values[repo+"\x00\x00"+digest.FromString(fmt.Sprint(i)).String()]; has != want {
			t.Errorf("pull %d is kept: %v", i, has)
		}
	}
}
