package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/operator"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

const operatorSecret = "a secret that is long enough for all of this"

func operatorKeys(t *testing.T, secret string) *keyring.Ring {
	t.Helper()
	ring, err := keyring.New(secret, "")
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// withOperators makes an edge that operators may ask.
func withOperators(t *testing.T, log *lockedBuffer) option {
	return func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		ends := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		p.Version, p.Keys = "1.2.3", operatorKeys(t, operatorSecret)
		p.About = operator.About{Fleet: func() string { return "0badcafe" }, Certificate: func() time.Time { return ends }}
		if log != nil {
			p.Log = slog.New(slog.NewJSONHandler(log, nil))
		}
	}
}

// ask asks as an operator with the key does.
func (s *site) ask(t *testing.T, method, path string) (operator.Report, error) {
	t.Helper()
	c := signed.Client{Ring: operatorKeys(t, operatorSecret), From: "ann@desk"}
	body, err := c.Ask(t.Context(), operator.Name("par1"), method, s.edge.URL+operator.Path+path, nil)
	var r operator.Report
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	return r, err
}

// The names in a report are read by others: they stay as they are.
func TestAReportsNames(t *testing.T) {
	s := newSite(t, withOperators(t, nil))
	waitFor(t, "Harbor's health", func() bool {
		r, err := s.ask(t, http.MethodGet, "status")
		return err == nil && r.Harbor.Up && len(r.Harbor.Components) > 3
	})
	c := signed.Client{Ring: operatorKeys(t, operatorSecret), From: "ann@desk"}
	body, err := c.Ask(t.Context(), operator.Name("par1"), http.MethodGet, s.edge.URL+operator.Path+"status", nil)
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, body, "", "  "); err != nil {
		t.Fatal(err)
	}
	got := indented.String() // what differs each time is left out
	for _, differs := range []string{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, `"[^"]+-[A-Z2-7]{8}"`, `\b[0-9a-f]{8}\b`, `"free": \d+`} {
		got = regexp.MustCompile(differs).ReplaceAllStringFunc(got, func(was string) string {
			if name, _, ok := strings.Cut(was, ": "); ok {
				return name + `: 1`
			}
			return "…"
		})
	}
	const golden = "operator/testdata/report.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != got {
		t.Errorf("%v; the report is\n%s", err, got)
	}
}

// A component of Harbor that is not well is named, and what clients read is counted.
func TestAReportSaysHowTheEdgeIs(t *testing.T) {
	s := newSite(t, withOperators(t, nil), freshFor(time.Hour))
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", image(t, 100<<10, 1), basic(writer, secret))
	for range 3 {
		s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), s.as(t, reader, "multi-dc-demo/app"))
	}
	waitFor(t, "three reads to be counted", func() bool {
		r, err := s.ask(t, http.MethodGet, "status")
		if err != nil {
			t.Fatal(err)
		}
		return r.Hits.Recent.Of >= 3 && r.Hits.Recent.Hits >= 2 && r.Hits.Start == r.Hits.Recent && r.Store.Bytes > 100<<10 && r.Requests > 0
	})
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "Harbor to be down", func() bool {
		r, err := s.ask(t, http.MethodGet, "status")
		return err == nil && !r.Harbor.Up && r.Harbor.Why != "" && !r.Harbor.Since.IsZero()
	})
}

// Only who has the key is answered, once, by the instance that is meant; who else asks gets
// nothing, and changes nothing.
func TestOperatorsQuestionsThatAreForgedOrReplayed(t *testing.T) {
	var log lockedBuffer
	s := newSite(t, withOperators(t, &log))
	now, err := s.ask(t, http.MethodGet, "status")
	if err != nil {
		t.Fatal(err)
	}
	token := http.Header{}
	if err := peer.NewKey(operatorKeys(t, operatorSecret), "mad1", time.Now).Shows("par1")(token); err != nil {
		t.Fatal(err)
	}
	drain := operator.Path + "drain?instance=" + now.Instance
	for name, header := range map[string]map[string]string{
		"nobody": nil, "a client": s.as(t, writer, "multi-dc-demo/app"), "a peer": {"Authorization": token.Get("Authorization")},
		"who says who asks": {signed.Asker: "ann@desk"}, "an empty signature": {signed.Header: ""}, "a made-up one": {signed.Header: "key=00000000&from=ann&to=the+edge+of+par1&at=1&nonce=x&mac=00"},
	} {
		for method, path := range map[string]string{http.MethodGet: operator.Path + "status", http.MethodPost: drain, http.MethodDelete: drain} {
			if a := s.do(t, method, path, header); a.status != http.StatusForbidden || bytes.Contains(a.body, []byte(now.Instance)) {
				t.Errorf("%s, %s %s: %d %s", name, method, path, a.status, a.body)
			}
		}
	}
	for name, c := range map[string]struct {
		secret, to string
		ahead      time.Duration
	}{"another key": {operatorSecret + "!", "par1", 0}, "for another edge": {operatorSecret, "mad1", 0}, "from long ago": {operatorSecret, "par1", -3 * time.Minute}} {
		asker := signed.Client{Ring: operatorKeys(t, c.secret), From: "eve", Now: func() time.Time { return time.Now().Add(c.ahead) }}
		if _, err := asker.Ask(t.Context(), operator.Name(c.to), http.MethodPost, s.edge.URL+drain, nil); err == nil {
			t.Errorf("%s: it is done", name)
		}
	}
	s.replayed(t, drain)
	if _, err := s.ask(t, http.MethodPost, "drain?instance=another"); err == nil || !strings.Contains(err.Error(), now.Instance) {
		t.Errorf("a question for another instance: %v", err)
	}
	if r, err := s.ask(t, http.MethodGet, "status"); err != nil || !r.Serving || r.Drain != nil {
		t.Errorf("it is draining: %+v, %v", r.Drain, err)
	}
	if r, err := s.ask(t, http.MethodPost, "drain?instance="+now.Instance+"&reason=new+switches"); err != nil || r.Serving || r.Drain == nil || r.Drain.By != "ann@desk" || r.Drain.Reason != "new switches" {
		t.Errorf("a drain: %+v, %v", r.Drain, err)
	}
	if text := log.String(); !strings.Contains(text, `"by":"ann@desk"`) || !strings.Contains(text, `"reason":"new switches"`) {
		t.Error("the log does not say who asked, and why")
	}
	if a := s.do(t, http.MethodGet, "/breakwater/v1/health", nil); a.status != http.StatusServiceUnavailable {
		t.Errorf("the health is %d", a.status)
	}
	if r, err := s.ask(t, http.MethodDelete, "drain?instance="+now.Instance); err != nil || !r.Serving || r.Drain != nil {
		t.Errorf("a release: %+v, %v", r.Drain, err)
	}
}

// replayed: who has heard a question that was answered sends it again, as it was. It was a
// release, so that a drain in its place would show.
func (s *site) replayed(t *testing.T, drain string) {
	t.Helper()
	var heard http.Header
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard = r.Header.Clone()
		req, _ := http.NewRequest(r.Method, s.edge.URL+r.URL.RequestURI(), r.Body)
		req.Header = r.Header.Clone()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		for name := range resp.Header {
			w.Header().Set(name, resp.Header.Get(name))
		}
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body) //nolint:errcheck // the client sees it
	}))
	defer between.Close()
	c := signed.Client{Ring: operatorKeys(t, operatorSecret), From: "ann@desk"}
	if _, err := c.Ask(t.Context(), operator.Name("par1"), http.MethodDelete, between.URL+drain, nil); err != nil {
		t.Fatal(err)
	}
	for method, status := range map[string]int{http.MethodDelete: http.StatusForbidden, http.MethodPost: http.StatusForbidden} {
		a := s.do(t, method, drain, map[string]string{signed.Header: heard.Get(signed.Header)})
		if a.status != status {
			t.Errorf("%s again: %d %s", method, a.status, a.body)
		}
		if method == http.MethodPost {
			judged(t, "an operator's question: a release that was heard, sent again as a drain", a, "nothing")
		}
	}
}

// Where edges have no key there is nothing: what is answered is what any unknown path gets.
// And a body is not waited for, whoever sends it.
func TestWithoutAKeyThereIsNothingForOperators(t *testing.T) {
	s := newSite(t)
	want := s.do(t, http.MethodGet, "/breakwater/v1/nothing", nil)
	for _, path := range []string{"status", "drain", ""} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if a := s.do(t, method, operator.Path+path, nil); a.status != http.StatusNotFound || !bytes.Equal(a.body, want.body) {
				t.Errorf("%s %s: %d %s; want %s", method, path, a.status, a.body, want.body)
			}
		}
	}
	s = newSite(t, withOperators(t, nil))
	conn, err := net.Dial("tcp", host(s.edge.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(trial.Patience)) //nolint:errcheck // a reading would fail too
	fmt.Fprintf(conn, "POST %sdrain HTTP/1.1\r\nHost: edge\r\nContent-Length: 1000000\r\n\r\n", operator.Path)
	line := make([]byte, len("HTTP/1.1 403"))
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "HTTP/1.1 403" {
		t.Errorf("%s, %v", line, err)
	}
}
