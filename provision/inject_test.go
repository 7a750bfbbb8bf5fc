package provision

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// interrupter stands before Harbors and does something to one call of them all.
type interrupter struct {
	calls atomic.Int64
	at    atomic.Int64 // the call that is struck
	mode  string
	stop  context.CancelFunc
	hit   atomic.Value // what it was
}

// How a call goes wrong.
var interruptions = []string{
	"refused before", // 500, and nothing was done
	"cut after",      // it was done, and the connection breaks before the answer
	"failed after",   // it was done, and the answer is 500
	"hung",           // there is no answer, and it was not done
	"ended",          // Ctrl-C
}

func (i *interrupter) before(t *testing.T, h *lab.Harbor) (address string) {
	t.Helper()
	target, err := url.Parse(h.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") || i.calls.Add(1) != i.at.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		i.hit.Store(r.Method + " " + r.URL.Path)
		switch i.mode {
		case "refused before":
			http.Error(w, "not now", http.StatusInternalServerError)
		case "hung":
			io.Copy(io.Discard, r.Body) //nolint:errcheck // only then is it seen that the client has gone
			<-r.Context().Done()
		case "ended":
			i.stop()
			proxy.ServeHTTP(w, r)
		case "failed after":
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			http.Error(w, "not now", http.StatusInternalServerError)
		case "cut after":
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.(*net.TCPConn).SetLinger(0) //nolint:errcheck // it breaks one way or another
				conn.Close()
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// small is a fleet with one of everything.
const small = `domain: harbor.example.org
datacenters:
  dc1: { harbor: "DC1", edge: "https://edge.dc1.example.org" }
  dc2: { harbor: "DC2", edge: "https://edge.dc2.example.org" }
harbor:
  username: admin
  password: "file:SECRETS/admin"
  oidc: { name: keycloak, endpoint: "https://keycloak.example.org/realms/main", client_id: harbor, client_secret: "file:SECRETS/oidc", groups_claim: groups }
projects:
  multi-dc:
    repo1:
      immutable_tags: ["v*"]
      members: [{ group: dev, role: developer }]
      robots: { readonly: "file:SECRETS/readonly-{name}", sync: "file:SECRETS/sync-{name}" }
  cache: { quay.io: { endpoint: "https://quay.io" } }
  repl: { core: { images: [{ from: quay.io, name: a/b, tags: "1.*" }] } }
edge: { plain_http: true, robot: { secret: "file:SECRETS/edge" }, peers: { key: "file:SECRETS/peers" } }
`

// contents is what the fleet's Harbors hold, as far as anybody wants it.
func (f *testFleet) contents(t *testing.T, replace ...string) map[Key]string {
	t.Helper()
	p := f.open(t, Options{}, replace...)
	want := p.wanting.wants()
	all := map[Key]string{}
	for name, h := range p.harbors {
		have, err := h.read(t.Context(), name, want)
		if err != nil {
			t.Fatal(err)
		}
		for k, e := range have.entries {
			var text strings.Builder
			for _, field := range e.fields() {
				if !strings.Contains(field.value, "http://127.0.0.1") { // addresses are other ones each time
					text.WriteString(field.name + "=" + field.value + "; ")
				}
			}
			all[k] = text.String()
		}
	}
	return all
}

func newSmallFleet(t *testing.T, i *interrupter) *testFleet {
	t.Helper()
	f := newTestFleet(t)
	secrets := t.TempDir()
	for name, secret := range map[string]string{"admin": "Harbor12345", "oidc": "s3cretOidc", "edge": "EdgeSecret1", "peers": testPeerKey, "readonly-repo1": "ReadOnly1repo1", "sync-repo1": "Replication1repo1"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.text = strings.ReplaceAll(small, "SECRETS", secrets)
	for _, name := range []string{"dc1", "dc2"} {
		f.text = strings.ReplaceAll(f.text, strings.ToUpper(name)+`"`, i.before(t, f.harbors[name])+`"`)
	}
	return f
}

// However one call of an apply goes wrong, whichever it is: after one more run the
// state is the wanted one, with nothing twice, nothing lost and nothing left over.
func TestEveryCallMayFail(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of runs")
	}
	reference := &interrupter{}
	f := newSmallFleet(t, reference)
	f.apply(t, Options{})
	calls := reference.calls.Load()
	want := f.contents(t)
	for n, mode := range interruptions {
		t.Run(mode, func(t *testing.T) {
			slots := make(chan struct{}, 4)
			if mode == "hung" { // it waits most of the time
				slots = make(chan struct{}, 12)
			}
			var all sync.WaitGroup
			for at := int64(1); at <= calls; at++ {
				ways := len(interruptions) // each call in one of them
				if trial.Full() {
					ways = 2 // each in every other one
				}
				if int(at)%ways != n%ways {
					continue
				}
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					interrupted(t, mode, at, want)
				})
			}
			all.Wait()
		})
	}
}

func interrupted(t *testing.T, mode string, at int64, want map[Key]string) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	i := &interrupter{mode: mode, stop: stop}
	i.at.Store(at)
	f := newSmallFleet(t, i)
	p := f.open(t, Options{})
	if mode == "hung" {
		for _, h := range p.harbors {
			h.timeout, h.patience = 500*time.Millisecond, time.Second
		}
	}
	if plan, err := p.Plan(ctx); err == nil {
		p.Apply(ctx, plan, nil)
	}
	i.at.Store(-1)
	again := f.open(t, Options{})
	plan, err := again.Plan(t.Context())
	if err != nil {
		t.Errorf("call %d, %v: %v", at, i.hit.Load(), err)
		return
	}
	for _, r := range again.Apply(t.Context(), plan, nil) {
		if r.Outcome != Done {
			t.Errorf("call %d, %v: the next run's %s %s: %s: %s", at, i.hit.Load(), r.Action, r.Key, r.Outcome, r.Why)
		}
	}
	plan, err = f.open(t, Options{}).Plan(t.Context())
	if err != nil || len(plan.Changes)+len(plan.Faults) > 0 {
		t.Errorf("call %d, %v: it does not settle: %v %+v", at, i.hit.Load(), err, plan)
		return
	}
	have := f.contents(t)
	for k, text := range want {
		if have[k] != text {
			t.Errorf("call %d, %v: %s is %q, want %q", at, i.hit.Load(), k, have[k], text)
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			t.Errorf("call %d, %v: %s is left over", at, i.hit.Load(), k)
		}
	}
}
