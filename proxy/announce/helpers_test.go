package announce_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

const repo = "multi-dc-demo/app"

// fleet is edges that reach each other without a network.
type fleet struct {
	edges map[string]*edge

	mu    sync.Mutex
	links map[string]link // by "from to"; the zero link is well
	said  map[string][]announce.Batch
	tried map[string][]time.Time // when an edge announced something to another, whatever became of it
}

// link is the way from one edge to another.
type link struct {
	down, hangs bool
	twice       bool          // what is sent arrives two times
	lost        bool          // what is sent arrives, and the answer does not
	deaf        bool          // what is sent is answered, and not heard
	status      int           // of the answer; 0: as it is heard
	there, back time.Duration // how long what is sent takes, and its answer
}

// edge is one datacenter's.
type edge struct {
	name      string
	fleet     *fleet
	ledger    *version.Ledger
	announcer *announce.Announcer
	metrics   *prometheus.Registry
	touches   *touch.Toucher
	peers     map[string]*source.Source
	stop      context.CancelFunc

	mu     sync.Mutex
	serves map[version.Key]version.Record // else than its ledger has
	mute   bool                           // it does not say what it serves
	takes  time.Duration                  // to say what it serves
	asked  map[version.Key][]time.Time    // when it was asked what it serves
	stored map[digest.Digest][]byte
	keeps  int // how often it was given a manifest to keep
}

func newFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	f := &fleet{edges: map[string]*edge{}, links: map[string]link{}, said: map[string][]announce.Batch{}, tried: map[string][]time.Time{}}
	for _, name := range names {
		f.edges[name] = &edge{name: name, fleet: f, serves: map[version.Key]version.Record{}, asked: map[version.Key][]time.Time{}, stored: map[digest.Digest][]byte{}}
	}
	var run []func()
	for _, name := range names {
		run = append(run, f.edges[name].make(t, nil))
	}
	for _, run := range run {
		go run()
	}
	return f
}

// start begins an edge again, with a state.
func (e *edge) start(t *testing.T, s version.State) { go e.make(t, s)() }

func (e *edge) make(t *testing.T, s version.State) (run func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	e.stop, e.metrics = stop, prometheus.NewRegistry()
	e.ledger = version.New(version.Config{Datacenter: e.name, State: s, Log: slog.New(slog.DiscardHandler), Now: time.Now, Changed: func(_ map[version.Key]version.Record, own bool) {
		if own {
			e.announcer.Changed()
		}
	}})
	var peers []*source.Source
	e.peers = map[string]*source.Source{}
	for name := range e.fleet.edges {
		if name == e.name {
			continue
		}
		r, err := registry.NewSource(registry.SourceConfig{URL: "http://" + name, Prefix: peer.Path, Trusted: true, Wrap: func(http.RoundTripper) http.RoundTripper { return e }})
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, source.New(ctx, source.Config{Name: "peer-" + name, Kind: source.Peer, Datacenter: name, Registry: r}))
		e.peers[name] = peers[len(peers)-1]
	}
	e.touches = e.newTouches(t, ctx, peers)
	e.announcer = announce.New(announce.Config{Ledger: e.ledger, Touches: e.touches, Peers: peers, Settled: time.Hour, Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: e.metrics,
		Takes:  func(key version.Key) bool { return strings.HasPrefix(key.Repo, "multi-dc-") },
		Served: e.servedBy, Manifest: e.manifest, Keep: e.keep})
	announcer := e.announcer
	return func() { announcer.Run(ctx) }
}

// RoundTrip implements http.RoundTripper: requests of this edge.
func (e *edge) RoundTrip(r *http.Request) (*http.Response, error) {
	e.fleet.mu.Lock()
	way := e.name + " " + r.URL.Host
	l := e.fleet.links[way]
	if r.URL.Path == peer.AnnouncePath {
		e.fleet.tried[way] = append(e.fleet.tried[way], time.Now())
	}
	e.fleet.mu.Unlock()
	switch {
	case l.down:
		return nil, errors.New("connection refused")
	case l.hangs:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	answer := func(status int, v any) *http.Response {
		text, _ := json.Marshal(v)
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(text)), Request: r}
	}
	if r.URL.Path != peer.AnnouncePath {
		return answer(http.StatusOK, nil), nil
	}
	var b announce.Batch
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		return nil, err
	}
	e.fleet.mu.Lock()
	e.fleet.said[way] = append(e.fleet.said[way], b)
	e.fleet.mu.Unlock()
	if l.deaf {
		return answer(http.StatusOK, announce.Position{Position: b.After}), nil
	}
	time.Sleep(l.there)
	defer time.Sleep(l.back)
	to := e.fleet.edges[r.URL.Host]
	position, ok := to.announcer.Hear(e.name, b)
	if l.twice {
		position, ok = to.announcer.Hear(e.name, b)
	}
	if l.lost {
		return nil, io.ErrUnexpectedEOF
	}
	if l.status != 0 {
		return answer(l.status, position), nil
	}
	if !ok {
		return answer(http.StatusConflict, position), nil
	}
	return answer(http.StatusOK, position), nil
}

// servedBy asks another edge what it serves.
func (e *edge) servedBy(ctx context.Context, s *source.Source, key version.Key) (version.Record, error) {
	from := e.fleet.edges[s.Datacenter]
	from.mu.Lock()
	from.asked[key] = append(from.asked[key], time.Now())
	r, err := from.answer(key)
	takes := from.takes
	from.mu.Unlock()
	select {
	case <-time.After(takes):
		return r, err
	case <-ctx.Done():
		return version.Record{}, ctx.Err()
	}
}

// answer is what the edge serves; e.mu is held.
func (e *edge) answer(key version.Key) (version.Record, error) {
	if e.mute {
		return version.Record{}, registry.Errorf(registry.CodeUnavailable, "not now")
	}
	r, otherwise := e.serves[key]
	if !otherwise {
		r = e.ledger.Get(key)
	}
	if !r.Known() && r.Digest == "" {
		return r, registry.Errorf(registry.CodeManifestUnknown, "nothing")
	}
	return r, nil
}

// do changes what the edge does while others ask it.
func (e *edge) do(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

func (e *edge) manifest(d digest.Digest) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stored[d]
}

func (e *edge) keep(d digest.Digest, manifest []byte) error {
	e.mu.Lock()
	e.keeps++
	e.mu.Unlock()
	if digest.FromBytes(manifest) != d {
		return errors.New("another digest")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stored[d] = manifest
	return nil
}

// set makes the way between two edges, in one direction, what is said.
func (f *fleet) set(from, to string, l link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links[from+" "+to] = l
}

// batches are what one edge has said to another since this was asked last.
func (f *fleet) batches(from, to string) []announce.Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.said[from+" "+to]
	f.said[from+" "+to] = nil
	return all
}

// tries are when one edge has announced something to another, from a time on and in its seconds.
func (f *fleet) tries(from, to string, since time.Time) []float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return seconds(f.tried[from+" "+to], since)
}

// questions are when the edge was asked what it serves.
func (e *edge) questions(key version.Key, since time.Time) []float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return seconds(e.asked[key], since)
}

func seconds(all []time.Time, since time.Time) (after []float64) {
	for _, at := range all {
		if !at.Before(since) {
			after = append(after, at.Sub(since).Seconds())
		}
	}
	return after
}

// serve has the edge serve a record, and say so after a while.
func (e *edge) serve(key version.Key, r version.Record, takes time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serves[key], e.takes = r, takes
}

// push is a manifest that the edge's Harbor has taken under a tag.
func (e *edge) push(tag, text string) version.Record {
	d := digest.FromString(text)
	e.mu.Lock()
	e.stored[d] = []byte(text)
	e.mu.Unlock()
	r, _ := e.ledger.Write(repo, tag, d, "type", e.ledger.Pushes(repo, d, e.ledger.Begin(repo, tag)))
	return r
}

// remove is a delete that the edge's Harbor has taken.
func (e *edge) remove(key version.Key) { e.ledger.Delete(key, e.ledger.Begin(repo, "").Version) }

// same reports whether two records are of one version and digest.
func same(a, b version.Record) bool { return a.Version == b.Version && a.Digest == b.Digest }

func (e *edge) get(tag string) version.Record {
	return e.ledger.Get(version.Key{Repo: repo, Reference: tag})
}

// counted is a counter of announcements that were heard.
func (e *edge) counted(t *testing.T, result string) int {
	t.Helper()
	return int(sum(t, e.metrics, "breakwater_edge_announcements_heard_total", result))
}

func sum(t *testing.T, g prometheus.Gatherer, name, label string) (n float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if family.GetName() == name && l.GetValue() == label {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// in runs a test with a clock of its own.
func in(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

func gauge(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	return ofPeer(t, g, name, "")
}

func ofPeer(t *testing.T, g prometheus.Gatherer, name, peer string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				if peer == "" || m.GetLabel()[0].GetValue() == peer {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, peer)
	return 0
}
