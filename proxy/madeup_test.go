package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// An outage is what the edge sees itself of the fleet's Harbors. That one client's
// request failed, as it may by the client's own doing, gives nobody a token while
// Harbor is well: least of all a robot that has lost its permission.
func TestOneFailedRequestIsNoOutage(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a limiter says 429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"503":                func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"500":                func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"404":                http.NotFound,
		"a redirect":         func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"a page":             func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>wait</html>") },
		"no token":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{") },
		"a reset":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no answer":          func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some wait
			var fails atomic.Bool
			metrics := prometheus.NewRegistry()
			s := newSite(t)
			harbor := passTo(t, s.harbor.URL())
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if fails.Load() && r.URL.Path == "/service/token" {
					answer(w, r)
					return
				}
				harbor.ServeHTTP(w, r)
			}))
			t.Cleanup(front.Close)
			s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
				a.OutageGrace, a.Keys, p.Deadline, p.Metrics = time.Hour, peerKeys, time.Second, metrics
			})
			if status, token := s.askToken(t, reader, secret, pullApp); status != http.StatusOK || !grants(t, token, "multi-dc-demo/app") {
				t.Fatalf("it was not granted before: %d", status)
			}
			if err := s.harbor.DisableRobot(reader); err != nil {
				t.Fatal(err)
			}
			fails.Store(true)
			for range 3 {
				a := s.do(t, http.MethodGet, "/service/token?service=harbor-registry&scope="+pullApp, map[string]string{"Authorization": basicHeader(reader, secret)})
				if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || strings.Contains(string(a.body), `"token"`) {
					t.Errorf("%d %v %.200s", a.status, a.header, a.body)
				}
				if got := a.header.Get("Cache-Status"); got != "breakwater; fwd=bypass; detail=edge" {
					t.Errorf("Cache-Status is %s", got)
				}
			}
			if n := outageTokens(t, metrics); n != 0 {
				t.Errorf("%v outage tokens were counted", n)
			}
			fails.Store(false)
			if _, token := s.askToken(t, reader, secret, pullApp); grants(t, token, "multi-dc-demo/app") {
				t.Error("Harbor's own answer grants it")
			}
		})
	}
}

func outageTokens(t *testing.T, metrics *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "breakwater_edge_tokens_total" && m.GetLabel()[0].GetValue() == "outage" {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// A peer's Harbor that is well, and did not answer this one request, is no outage
// either, though the local Harbor is down.
func TestAPeerThatIsWellMakesNoOutage(t *testing.T) {
	r, _ := outageClock(t)
	s := r.sites[0]
	if status, _ := s.askToken(t, reader, secret, pullApp); status != http.StatusOK {
		t.Fatal(status)
	}
	for i, site := range r.sites {
		fault := lab.Fault{Name: "429", Path: "GET /service/token"} // only this request fails
		if i == 0 {
			fault = lab.Fault{Name: "down"}
		}
		if err := site.harbor.SetFaults(fault); err != nil {
			t.Fatal(err)
		}
	}
	a := s.do(t, http.MethodGet, "/service/token?service=harbor-registry&scope="+pullApp, map[string]string{"Authorization": basicHeader(reader, secret)})
	if a.status != http.StatusServiceUnavailable || strings.Contains(string(a.body), `"token"`) {
		t.Errorf("%d %.200s", a.status, a.body)
	}
}

// A client announces a body with its GET of a token and holds it back. What stands
// before Harbor may wait for that body; the edge does not hand it on.
func TestATokensBodyIsNotHandedOn(t *testing.T) {
	s := newSite(t)
	harbor := passTo(t, s.harbor.URL())
	var announced atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		announced.Add(max(r.ContentLength, -r.ContentLength))
		io.Copy(io.Discard, r.Body) //nolint:errcheck // as a front that buffers bodies
		harbor.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	for _, header := range []string{"Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 5\r\nExpect: 100-continue"} {
		conn, err := net.Dial("tcp", host(s.edge.URL))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(trial.Patience)) //nolint:errcheck // a reading would fail too
		fmt.Fprintf(conn, "GET /service/token?service=harbor-registry&scope=%s HTTP/1.1\r\nHost: edge\r\nAuthorization: %s\r\n%s\r\n\r\n", pullApp, basicHeader(reader, secret), header)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %v, %v", header, resp, err)
		}
		conn.Close()
	}
	if n := announced.Load(); n != 0 {
		t.Errorf("Harbor was announced a body of %d bytes", n)
	}
}
