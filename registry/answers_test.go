package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// An error's answer has nothing of the answer that it replaces, and is whole.
func TestAnErrorsAnswer(t *testing.T) {
	w := httptest.NewRecorder()
	gone := []string{"Etag", "Docker-Content-Digest", "Content-Range", "Content-Encoding", "Last-Modified", "Cache-Control"}
	for _, name := range append(gone, "Vary") {
		w.Header().Set(name, "x")
	}
	WriteError(w, fmt.Errorf("asked: %w", &Error{Status: 401, Code: CodeUnauthorized, Message: "log in", Challenge: `Bearer realm="x"`, RetryAfter: time.Millisecond}))
	h := w.Header()
	for _, name := range gone {
		if h.Get(name) != "" {
			t.Errorf("%s is left", name)
		}
	}
	const body = `{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}` + "\n"
	if w.Code != 401 || w.Body.String() != body || h.Get("Content-Length") != fmt.Sprint(len(body)) || h.Get("Content-Type") != "application/json; charset=utf-8" ||
		h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Www-Authenticate") != `Bearer realm="x"` || h.Get("Retry-After") != "1" || h.Get("Vary") != "x" {
		t.Errorf("%d %v %s", w.Code, h, w.Body)
	}
	for wait, want := range map[time.Duration]string{0: "", time.Second: "1", 1001 * time.Millisecond: "2", 60 * time.Second: "60", time.Hour: "60"} {
		w := httptest.NewRecorder()
		WriteError(w, &Error{Status: 503, RetryAfter: wait})
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("%v is %q", wait, got)
		}
		if w.Header().Get("Www-Authenticate") != "" {
			t.Error("there is a challenge")
		}
	}
}

// atTrial is a source at a registry that says what it is told.
func atTrial(t *testing.T, cfg SourceConfig) (*Source, *trial.Registry) {
	t.Helper()
	far := trial.NewRegistry(t)
	cfg.URL, cfg.Trusted = far.URL, true
	return newSource(t, cfg), far
}

// Redirects are followed, some, to addresses that can be fetched from.
func TestRedirects(t *testing.T) {
	to := func(status int, location string) trial.Answer {
		return trial.Answer{Status: status, Header: http.Header{"Location": {location}}}
	}
	path := blobRequest().Path()
	for name, c := range map[string]struct {
		say  func(far *trial.Registry)
		good bool
	}{
		"moved":             {func(far *trial.Registry) { far.Say(path, to(301, "/there")) }, true},
		"found":             {func(far *trial.Registry) { far.Say(path, to(302, "/there")) }, true},
		"see other":         {func(far *trial.Registry) { far.Say(path, to(303, "/there")) }, true},
		"temporarily":       {func(far *trial.Registry) { far.Say(path, to(307, "/there")) }, true},
		"for ever":          {func(far *trial.Registry) { far.Say(path, to(308, "/there")) }, true},
		"four times":        {func(far *trial.Registry) { chain(far, path, 4) }, true},
		"five times":        {func(far *trial.Registry) { chain(far, path, 5) }, false},
		"to itself":         {func(far *trial.Registry) { far.Say(path, to(307, path)) }, false},
		"to nowhere":        {func(far *trial.Registry) { far.Say(path, to(307, "")) }, false},
		"to what is no URL": {func(far *trial.Registry) { far.Say(path, to(307, "http://[")) }, false},
		"to a file":         {func(far *trial.Registry) { far.Say(path, to(307, "file:///etc/passwd")) }, false},
		"a status that is not": {func(far *trial.Registry) {
			far.Say(path, trial.Answer{Status: 304, Header: http.Header{"Location": {"/there"}}})
		}, true},
	} {
		s, far := atTrial(t, SourceConfig{})
		far.Say("/there", trial.Answer{Body: "x"})
		c.say(far)
		resp, err := s.Do(t.Context(), blobRequest(), nil)
		if (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			resp.Body.Close()
		} else if e := (&Error{}); !errors.As(err, &e) || e.Status != 503 || e.RetryAfter != 5*time.Second {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is asked for by TLS is not fetched without it, wherever a redirect leads: but for
// blobs, which their digests prove, from a Harbor's storage or one that is named.
func TestARedirectStaysInTLS(t *testing.T) {
	plain := trial.NewRegistry(t)
	plain.Say("/there", trial.Answer{Body: "x"})
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.Redirect(w, r, plain.URL+"/there", http.StatusTemporaryRedirect)
		}
	}))
	defer srv.Close()
	manifest := Request{Method: http.MethodGet, Kind: KindManifest, Repo: "p/a", Tag: "v1"}
	for name, c := range map[string]struct {
		cfg  SourceConfig
		what Request
		good bool
	}{
		"a Harbor's blob":              {SourceConfig{Trusted: true}, blobRequest(), true},
		"a Harbor's manifest":          {SourceConfig{Trusted: true}, manifest, false},
		"an upstream's blob":           {SourceConfig{}, blobRequest(), false},
		"a blob of a named storage":    {SourceConfig{Redirects: destinations(t, named{"127.0.0.1"})}, blobRequest(), true},
		"a manifest at a named place":  {SourceConfig{Redirects: destinations(t, named{"127.0.0.0/8"})}, manifest, false},
		"a blob of another than named": {SourceConfig{Redirects: destinations(t, named{"127.0.0.2", "*.example.net"})}, blobRequest(), false},
	} {
		before := len(plain.Asked())
		c.cfg.URL, c.cfg.TLS = srv.URL, srv.Client().Transport.(*http.Transport).TLSClientConfig
		resp, err := newSource(t, c.cfg).Do(t.Context(), c.what, nil)
		if c.good && err == nil {
			resp.Body.Close()
		} else if c.good || !errors.Is(err, &Error{Code: CodeUnavailable}) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := len(plain.Asked()) - before; (asked > 0) != c.good {
			t.Errorf("%s: the plain address was asked %d times", name, asked)
		}
	}
}

// chain leads from path over so many redirects to an answer.
func chain(far *trial.Registry, path string, n int) {
	for i := range n {
		next := fmt.Sprint("/step", i)
		far.Say(path, trial.Answer{Status: 307, Header: http.Header{"Location": {next}}})
		path = next
	}
	far.Say(path, trial.Answer{Body: "x"})
}

// What is sent along is sent, and no other encoding is asked for.
func TestWhatARequestCarries(t *testing.T) {
	s, far := atTrial(t, SourceConfig{Header: http.Header{"User-Agent": {"breakwater"}}, Prefix: "/prefix"})
	far.Say("/prefix"+blobRequest().Path(), trial.Answer{Header: http.Header{"Content-Encoding": {"Identity"}}, Body: "x"})
	resp, err := s.Do(t.Context(), blobRequest(), http.Header{"Range": {"bytes=3-"}, "Authorization": {"Bearer x"}, "Accept-Encoding": {"gzip"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if r := far.Asked()[0]; r.Header.Get("User-Agent") != "breakwater" || r.Header.Get("Range") != "bytes=3-" || r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%v", r.Header)
	}
	if u := s.URL(); u.String() != far.URL {
		t.Errorf("it is at %s", u)
	}
}

// A call of a Harbor's API goes with the source's own credentials, and not without.
func TestACall(t *testing.T) {
	s, far := atTrial(t, SourceConfig{Username: "robot$edge", Password: "x", Header: http.Header{"User-Agent": {"breakwater"}}})
	far.Say("PUT /api/v2.0/x", trial.Answer{Status: 201})
	resp, err := s.Call(t.Context(), Call{Method: "PUT", Path: "/api/v2.0/x", Query: map[string][]string{"a": {"b"}}, ContentType: "text/plain", Body: strings.NewReader("four"), Size: 4})
	if err != nil || resp.StatusCode != 201 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	r := far.Asked()[0]
	user, password, _ := r.BasicAuth()
	if user != "robot$edge" || password != "x" || r.Header.Get("Content-Type") != "text/plain" || r.ContentLength != 4 || r.URL.RawQuery != "a=b" || r.Header.Get("User-Agent") != "breakwater" {
		t.Errorf("%v %s", r.Header, r.URL)
	}
	if resp, err = s.API(t.Context(), "/api/v2.0/y", nil); err != nil || resp.StatusCode != 404 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	if r := far.Asked()[1]; r.Method != "GET" || r.URL.String() != "/api/v2.0/y" || r.Header.Get("Content-Type") != "" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
	far.Close()
	if _, err := s.API(t.Context(), "/x", nil); !errors.Is(err, &Error{Code: CodeUnavailable}) {
		t.Errorf("%v", err)
	}
	anonymous, far := atTrial(t, SourceConfig{})
	if _, err := anonymous.API(t.Context(), "/x", nil); !errors.Is(err, ErrNoCredentials) || len(far.Asked()) > 0 {
		t.Errorf("%v", err)
	}
}

// What is no address of a registry is refused before anything is sent.
func TestTheAddressOfASource(t *testing.T) {
	for address, good := range map[string]bool{"http://x": true, "https://x:443": true, "https://x/": true,
		"": false, "x": false, "ftp://x": false, "https://": false, "https://x/path": true, "http://[": false} {
		if _, err := NewSource(SourceConfig{URL: address}); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
	for proxy, good := range map[string]bool{"": true, "http://p:3128": true, "p": false, "http://[": false} {
		if _, err := NewSource(SourceConfig{URL: "http://x", Proxy: proxy}); (err == nil) != good {
			t.Errorf("by the proxy %q: %v", proxy, err)
		}
	}
}

func TestTheClassOfAStatus(t *testing.T) {
	for status, want := range map[int]string{-1: "0xx", 0: "0xx", 99: "0xx", 100: "1xx", 204: "2xx", 304: "3xx", 499: "4xx", 500: "5xx", 599: "5xx", 600: "5xx", 999: "5xx"} {
		if got := StatusClass(status); got != want {
			t.Errorf("%d is %s", status, got)
		}
	}
}
