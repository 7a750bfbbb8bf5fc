package hello_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

const fleetSecret, otherSecret = "a secret of the whole fleet, which all edges share", "the secret of another fleet, which is as long as that"

// buffer is a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// edge is one edge: what it answers, and how it sees the other.
type edge struct {
	*hello.Neighbors
	server  *httptest.Server
	answers atomic.Value // http.HandlerFunc, in place of its own
	ahead   atomic.Int64 // of its clock
	keys    *keyring.Ring
	cert    atomic.Pointer[tls.Certificate]
	log     buffer
	metrics *prometheus.Registry
}

// pair is par1's edge and mad1's, as the fleet files of both say.
type pair struct {
	par1, mad1 *edge
	ca         *authority
}

// started starts the edge of each datacenter. With certificates they know each other by these.
func started(t *testing.T, certificates bool) *pair {
	t.Helper()
	p := &pair{ca: newAuthority(t)}
	begin := func() *edge {
		e := &edge{keys: trial.Keys(fleetSecret, ""), metrics: prometheus.NewRegistry()}
		e.answers.Store(http.HandlerFunc(nil))
		e.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if other := e.answers.Load().(http.HandlerFunc); other != nil {
				other(w, r)
				return
			}
			if r.URL.Path != peer.HelloPath {
				t.Errorf("asked for %s", r.URL)
			}
			e.Answer(w, r) //nolint:errcheck // seen by who asks
		}))
		e.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		e.cert.Store(p.ca.sign(t, nil))
		return e
	}
	p.par1, p.mad1 = begin(), begin()
	for _, e := range []*edge{p.par1, p.mad1} {
		if certificates {
			e.server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return &tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{*e.cert.Load()}}, nil
			}}
			e.server.StartTLS()
		} else {
			e.server.Start()
		}
		t.Cleanup(e.server.Close)
	}
	know := func(e, other *edge, name, others string) {
		cfg := registry.SourceConfig{URL: other.server.URL, Prefix: peer.Path, Trusted: true}
		trust := peer.Trust{Now: func() time.Time { return time.Now().Add(time.Duration(e.ahead.Load())) }}
		if certificates {
			trust.Roots = x509.NewCertPool()
			trust.Roots.AddCert(p.ca.cert)
			cfg.TLS = &tls.Config{RootCAs: trust.Roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return e.cert.Load(), nil }}
		} else {
			trust.Key = peer.NewKey(e.keys, name, trust.Now)
		}
		source, err := registry.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		trust.Peers = []peer.Peer{{Datacenter: others, Edge: source}}
		e.Neighbors = hello.New(hello.Config{Datacenter: name, Version: "1.2.3", Trust: trust, Now: trust.Now, Pace: 20 * time.Millisecond,
			Log: slog.New(slog.NewTextHandler(&e.log, nil)), Metrics: e.metrics})
	}
	know(p.par1, p.mad1, "par1", "mad1")
	know(p.mad1, p.par1, "mad1", "par1")
	for _, e := range []*edge{p.par1, p.mad1} {
		go e.Run(t.Context())
	}
	return p
}

// sees waits until the edge sees its peer so, and says so wherever it says it.
func (e *edge) sees(t *testing.T, when string, want hello.State, says string) {
	t.Helper()
	trial.Until(t, func() error {
		v := e.Views()[0]
		if v.State != want || !strings.Contains(v.Says, says) || (v.Says == "") != (says == "") {
			return fmt.Errorf("%s: %+v; want %s, and %q", when, v, want, says)
		}
		if all := e.Says(); len(all) > 1 || strings.Join(all, "") != v.Says {
			return fmt.Errorf("%s: says %q", when, all)
		}
		if got := e.gauge("breakwater_edge_peer_state", string(want)); got != 1 {
			return fmt.Errorf("%s: the metric of %s is %v", when, want, got)
		}
		return nil
	})
	for _, other := range hello.States {
		if got := e.gauge("breakwater_edge_peer_state", string(other)); (got == 1) != (other == want) {
			t.Errorf("%s: the metric of %s is %v", when, other, got)
		}
	}
}

// gauge is the value of a metric; -1 where there is none.
func (e *edge) gauge(name, state string) float64 {
	families, err := e.metrics.Gather()
	if err != nil {
		return -1
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); f.GetName() == name && (state == "" || labels[len(labels)-1].GetValue() == state) {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// ok waits until both edges see that nothing differs.
func (p *pair) ok(t *testing.T, when string) {
	t.Helper()
	p.par1.sees(t, when, hello.OK, "")
	p.mad1.sees(t, when, hello.OK, "")
}

// Two edges know each other, see when they have no key in common, and when they have one again.
func TestAnEdgeSeesAnotherKey(t *testing.T) {
	p := started(t, false)
	p.ok(t, "at the start")
	trial.Until(t, func() error {
		if v := p.par1.View("mad1"); v.Version != "1.2.3" || v.Sees != hello.OK || len(v.Keys) != 1 || v.Answered.IsZero() || v.Refused {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	if v := p.par1.View("drp1"); v.State != "" {
		t.Errorf("a peer that is none: %+v", v)
	}

	use := func(e *edge, secret, previous string) {
		if err := e.keys.Use(secret, previous); err != nil {
			t.Fatal(err)
		}
	}
	use(p.mad1, otherSecret, "")
	p.par1.sees(t, "another key", hello.Key, "the edge of mad1 has another edge.peers.key")
	p.mad1.sees(t, "another key", hello.Key, "the edge of par1 has another edge.peers.key")
	if v := p.par1.View("mad1"); !v.Refused || len(v.Keys) > 0 || v.Version != "" || v.Sees != "" {
		t.Errorf("a stranger is told more than why: %+v", v)
	}
	use(p.par1, fleetSecret, otherSecret)
	p.ok(t, "with both keys")
	use(p.par1, otherSecret, fleetSecret)
	use(p.mad1, otherSecret, "")
	p.ok(t, "and the other way round")
}

// A clock that is wrong is seen long before calls are refused for it.
func TestAnEdgeSeesAnotherClock(t *testing.T) {
	p := started(t, false)
	p.mad1.ahead.Store(int64(time.Hour))
	p.par1.sees(t, "a clock an hour ahead", hello.Clock, "the clock of the edge of mad1 is 1h0m0s ahead of this edge's; set both by NTP")
	p.mad1.sees(t, "a clock an hour behind", hello.Clock, "1h0m0s behind this edge's")
	if v := p.par1.View("mad1"); !v.Refused {
		t.Errorf("a token that has ended is taken: %+v", v)
	}
	if got := p.par1.gauge("breakwater_edge_peer_clock_difference_seconds", ""); got < 3590 || got > 3610 {
		t.Errorf("the clock's metric: %v", got)
	}
	p.mad1.ahead.Store(int64(-30 * time.Second))
	p.par1.sees(t, "a clock 30 s behind", hello.Clock, "30s behind")
	if v := p.par1.View("mad1"); v.Refused {
		t.Errorf("30 s are too much: %+v", v)
	}
	p.mad1.ahead.Store(int64(3 * time.Second))
	p.ok(t, "a clock 3 s ahead")
}

// What answers at a peer's address may be anything.
func TestAnEdgeSeesWhatIsNoPeer(t *testing.T) {
	p := started(t, false)
	p.ok(t, "at the start")
	for name, c := range map[string]struct {
		answers http.HandlerFunc
		state   hello.State
		says    string
	}{
		"an older program": {func(w http.ResponseWriter, _ *http.Request) {
			registry.WriteError(w, registry.Errorf(registry.CodeNameUnknown, "there is nothing at this path"))
		}, hello.Older, "runs an older program"},
		"a portal": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>Harbor</html>") //nolint:errcheck // a test's
		}, hello.Stranger, "datacenters.mad1.edge is no edge (status 200)"},
		"a redirect":                          {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }, hello.Stranger, "no edge (status 302)"},
		"a proxy before an edge that is gone": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, hello.Unreachable, "answers 502"},
		"another datacenter's edge": {func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(peer.Hello{Datacenter: "drp1\n", Time: time.Now(), Keys: make([]string, 1000)}) //nolint:errcheck // a test's
		}, hello.Datacenter, "datacenters.mad1.edge leads to the edge of drp1 ;"},
		"this edge itself": {func(w http.ResponseWriter, r *http.Request) { p.par1.Answer(w, r) }, hello.Datacenter, "leads to the edge of par1"}, //nolint:errcheck // a test's
		"one without an end": {func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				io.WriteString(w, strings.Repeat("x", 1<<10)) //nolint:errcheck // a test's
			}
		}, hello.Stranger, "no edge"},
	} {
		p.mad1.answers.Store(c.answers)
		p.par1.sees(t, name, c.state, c.says)
		if v := p.par1.View("mad1"); len(v.Keys) > 2 {
			t.Errorf("%s: it names %d keys", name, len(v.Keys))
		}
		p.mad1.answers.Store(http.HandlerFunc(nil))
		p.ok(t, "after "+name)
	}
}

// A change is one line in the log, and not one for each question.
func TestAChangeIsSaidOnce(t *testing.T) {
	p := started(t, false)
	p.ok(t, "at the start")
	before := strings.Count(p.par1.log.String(), "level=WARN")
	var asked atomic.Int64
	p.mad1.answers.Store(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}))
	trial.Until(t, func() error {
		if n := asked.Load(); n < 6 {
			return fmt.Errorf("asked %d times", n)
		}
		return nil
	})
	p.par1.sees(t, "cut off", hello.Unreachable, "does not answer: EOF")
	if v := p.par1.View("mad1"); v.Version != "1.2.3" {
		t.Errorf("what it was is forgotten: %+v", v)
	}
	if got := strings.Count(p.par1.log.String(), "level=WARN"); got != before+1 {
		t.Errorf("%d warnings of one change:\n%s", got-before, p.par1.log.String())
	}
	if n, err := testutil.GatherAndCount(p.par1.metrics, "breakwater_edge_peer_clock_difference_seconds"); n != 0 || err != nil {
		t.Errorf("the clock of an edge that does not answer is known: %d, %v", n, err)
	}
	p.mad1.server.Close()
	trial.Until(t, func() error {
		if v := p.par1.View("mad1"); !strings.Contains(v.Says, "does not answer: dial tcp") {
			return fmt.Errorf("nobody there: %+v", v)
		}
		return nil
	})
}

// A question that is lost says nothing; the next one is asked soon.
func TestOneLostQuestionIsNoWarning(t *testing.T) {
	p := started(t, false)
	p.par1.sees(t, "at the start", hello.OK, "")
	var lost atomic.Bool
	p.mad1.answers.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lost.CompareAndSwap(false, true) {
			panic(http.ErrAbortHandler)
		}
		p.mad1.answers.Store(http.HandlerFunc(nil))
		p.mad1.Answer(w, r) //nolint:errcheck // seen by who asks
	}))
	trial.Until(t, func() error {
		if other := p.mad1.answers.Load().(http.HandlerFunc); other != nil {
			return errors.New("it is not asked again")
		}
		return nil
	})
	p.par1.sees(t, "after that", hello.OK, "")
	if text := p.par1.log.String(); strings.Contains(text, "unreachable") {
		t.Errorf("one question that was lost:\n%s", text)
	}
}

// Who trusts nobody has no neighbors, and answers nobody.
func TestAnEdgeAlone(t *testing.T) {
	n := hello.New(hello.Config{Datacenter: "par1", Now: time.Now, Trust: peer.Trust{Now: time.Now}, Log: slog.New(slog.DiscardHandler)})
	ctx, end := context.WithCancel(t.Context())
	end()
	n.Run(ctx)
	w := httptest.NewRecorder()
	if err := n.Answer(w, httptest.NewRequest(http.MethodGet, peer.HelloPath, nil)); err != nil || w.Code != http.StatusForbidden || len(n.Views()) > 0 {
		t.Errorf("%v, %d, %v", err, w.Code, n.Views())
	}
}

// A peer that is left out is asked no more, and in no metric; one that is added is asked.
func TestPeersAreReplaced(t *testing.T) {
	p := started(t, false)
	p.ok(t, "at the start")
	trust := p.par1.Trust()
	alone := trust
	alone.Peers = nil
	p.par1.Use(alone)
	if got := p.par1.gauge("breakwater_edge_peer_state", string(hello.OK)); len(p.par1.Views()) > 0 || got != -1 {
		t.Errorf("without peers: %v, the metric is %v", p.par1.Views(), got)
	}
	p.par1.Use(trust)
	p.ok(t, "again")
}
