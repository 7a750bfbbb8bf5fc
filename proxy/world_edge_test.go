package proxy_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// memEdge is a datacenter's edge, through all its lives.
type memEdge struct {
	w           *world
	name        string
	certificate *x509.Certificate
	skew        time.Duration // how wrong its clock is
	dir         string
	life        atomic.Pointer[edgeLife] // nil: it is down
	small       *smallMemory
}

// edgeLife is an edge from its start to its end.
type edgeLife struct {
	ctx     context.Context
	end     context.CancelFunc
	handler http.Handler
	state   *state.DB
	store   *store.Store
	closing atomic.Bool // it takes no more requests
	busy    atomic.Int64
}

var errRefused = errors.New("connection refused")

// quickDir is a directory for a test that writes a lot: in memory where there is room.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "breakwater-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// start begins a life of the edge over what is in its directory.
func (e *memEdge) start(t *testing.T) {
	t.Helper()
	w, l := e.w, &edgeLife{}
	if w.cfg.jumps {
		e.skew = w.skew()
	}
	skew := e.skew
	l.ctx, l.end = context.WithCancel(w.ctx)
	now := func() time.Time { return time.Now().Add(skew) }
	if w.cfg.small {
		s := &smallEdge{e, &wire{w, e, l}, now, e.small, w.cfg.flaw}
		go s.run(l.ctx)
		l.handler = s
	} else {
		e.assemble(t, l, now)
	}
	e.life.Store(l)
	w.noteAll("edge %s starts, with a clock that is wrong by %v", e.name, skew)
}

// noting notes an edge's log among what happened to the tag that a line is about.
type noting struct {
	w    *world
	edge string
}

var ofTag = regexp.MustCompile(` repo=(\S+) (?:tag|reference)=(\S+)`)

// Write implements io.Writer.
func (n *noting) Write(line []byte) (int, error) {
	tag := "*"
	if m := ofTag.FindSubmatch(line); m != nil {
		tag = string(m[1]) + ":" + string(m[2])
	}
	_, said, _ := bytes.Cut(line, []byte("level="))
	n.w.note(tag, "edge %s: %s", n.edge, bytes.TrimSpace(said))
	return len(line), nil
}

// assemble makes a real edge, as the programs do from the fleet file.
func (e *memEdge) assemble(t *testing.T, l *edgeLife, now func() time.Time) {
	t.Helper()
	w := e.w
	log := slog.New(slog.NewTextHandler(&noting{w, e.name}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	if l.state, err = state.Open(filepath.Join(e.dir, "state.db"), log); err != nil {
		t.Fatal(err)
	}
	if l.store, err = store.Open(store.Config{Dir: e.dir, Scrub: -1}); err != nil {
		t.Fatal(err)
	}
	key, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	c := proxy.Config{Datacenter: e.name, State: l.state, Store: l.store, Log: log, Deadline: 1500 * time.Millisecond,
		Settings: proxy.Settings{Namespaces: []namespace.Namespace{w.cfg.namespace(e.name)},
			WebhookSecrets: func(string) []string { return []string{worldWebhookSecret} },
			Machine:        func(account string) bool { return account == syncRobot || account == "robot$edge" }},
		Now: now}
	if c.Keys = peerKeys; w.cfg.certificates { // for clocks that differ by more than the key allows
		c.PeerRoots = w.roots
	}
	c.Harbor = e.sourceOf(t, registry.SourceConfig{URL: "http://harbor." + e.name, Username: "robot$edge", Password: secret}, l)
	for _, other := range w.edges {
		if other != e {
			c.Peers = append(c.Peers, peer.Peer{Datacenter: other.name, Edge: e.sourceOf(t, registry.SourceConfig{URL: "http://" + other.name + ".edge", Prefix: peer.Path}, l)})
		}
	}
	if c.Access, err = access.New(access.Config{Harbor: c.Harbor, Members: l.state, Verifier: &registry.Verifier{Keys: []*rsa.PublicKey{&key.PublicKey}}}); err != nil {
		t.Fatal(err)
	}
	l.handler = proxy.New(l.ctx, c)
}

// sourceOf is a source that the edge reaches over the world's network.
func (e *memEdge) sourceOf(t *testing.T, c registry.SourceConfig, l *edgeLife) *registry.Source {
	t.Helper()
	c.Trusted = true
	c.Wrap = func(http.RoundTripper) http.RoundTripper { return &wire{e.w, e, l} }
	s, err := registry.NewSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stop ends the edge's life as a restart does: what is under way is finished.
func (e *memEdge) stop(t *testing.T) {
	t.Helper()
	l := e.life.Load()
	l.closing.Store(true)
	for range 600 {
		if synctest.Wait(); l.busy.Load() == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	e.w.noteAll("edge %s stops", e.name)
	e.close(t, l)
}

// kill ends the edge's life as kill -9 does. What it had on disk at this moment is what the
// next life begins with.
func (e *memEdge) kill(t *testing.T) {
	t.Helper()
	synctest.Wait() // nobody is within a system call
	next := quickDir(t)
	if err := os.CopyFS(next, os.DirFS(e.dir)); err != nil {
		t.Fatal(err)
	}
	e.w.noteAll("edge %s is killed", e.name)
	l, before := e.life.Load(), e.dir
	e.close(t, l)
	if e.dir = next; e.w.cfg.flaw == flawForgets {
		e.small = newSmallMemory()
	}
	os.RemoveAll(before)
}

func (e *memEdge) close(t *testing.T, l *edgeLife) {
	t.Helper()
	l.closing.Store(true)
	e.life.Store(nil)
	l.end()
	synctest.Wait()
	if l.store == nil {
		return
	}
	if err := errors.Join(l.store.Close(), l.state.Close()); err != nil {
		t.Fatal(err)
	}
}

// serve answers a request. from is the edge that asks, nil for others.
func (l *edgeLife) serve(ctx context.Context, req *http.Request, from *memEdge) (*http.Response, error) {
	if l == nil || l.closing.Load() {
		return nil, errRefused
	}
	l.busy.Add(1)
	defer l.busy.Add(-1)
	own, cancel := context.WithCancel(context.WithValue(l.ctx, http.ServerContextKey, &http.Server{}))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)() // the sender is gone
	in := req.WithContext(own)
	if from != nil && from.certificate != nil {
		in.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{from.certificate}}
	}
	resp, err := answered(l.handler, in)
	if l.ctx.Err() != nil {
		return nil, errors.New("connection reset by peer")
	}
	return resp, err
}

// answered is a handler's answer, as it comes over a connection.
func answered(h http.Handler, in *http.Request) (resp *http.Response, err error) {
	rec := httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			resp, err = nil, errors.New("unexpected EOF")
		}
	}()
	h.ServeHTTP(rec, in)
	return rec.Result(), nil
}

// authority is what signs the edges' certificates.
type authority struct {
	certificate *x509.Certificate
	key         ed25519.PrivateKey
}

var worldAuthority = sync.OnceValues(func() (*authority, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{certificate, key}, err
})

// sign makes the certificate of an edge.
func (a *authority) sign(name string) (*x509.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), DNSNames: []string{name + ".edge"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
