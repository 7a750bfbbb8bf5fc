package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

func blobRequest() Request {
	return Request{Method: http.MethodGet, Kind: KindBlob, Repo: "p/a", Digest: someDigest}
}

func newSource(t *testing.T, cfg SourceConfig) *Source {
	t.Helper()
	s, err := NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// registryWithTokens challenges every request that does not carry the token "good".
func registryWithTokens(t *testing.T, realm func(self string) string, content http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	tokens := new(atomic.Int64)
	var self string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			tokens.Add(1)
			if user, password, _ := r.BasicAuth(); user != "robot" || password != "secret" {
				http.Error(w, "", http.StatusUnauthorized)
				return
			}
			json.NewEncoder(w).Encode(map[string]string{"token": "good " + r.FormValue("scope")})
			return
		}
		if r.Header.Get("Authorization") != "Bearer good repository:p/a:pull" {
			w.Header().Set("WWW-Authenticate", Challenge{"Bearer", map[string]string{"realm": realm(self), "service": "s"}}.String())
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		content(w, r)
	}))
	t.Cleanup(srv.Close)
	self = srv.URL
	return srv, tokens
}

func TestSourceAnswersChallengesOncePerRepo(t *testing.T) {
	srv, tokens := registryWithTokens(t, func(self string) string { return self + "/token" }, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "content") })
	s := newSource(t, SourceConfig{URL: srv.URL, Username: "robot", Password: "secret"})
	for range 3 {
		resp, err := s.Do(t.Context(), blobRequest(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "content" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		resp.Body.Close()
	}
	if n := tokens.Load(); n != 1 {
		t.Errorf("%d tokens fetched, want 1", n)
	}
}

func TestSourceKeepsCredentialsFromAnotherDomainsRealm(t *testing.T) {
	var asked atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1) }))
	defer thief.Close()
	elsewhere := strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)
	srv, _ := registryWithTokens(t, func(string) string { return elsewhere + "/token" }, func(http.ResponseWriter, *http.Request) {})
	s := newSource(t, SourceConfig{URL: srv.URL, Username: "robot", Password: "secret"})
	_, err := s.Do(t.Context(), blobRequest(), nil)
	if !errors.Is(err, &Error{Code: CodeUnavailable}) || asked.Load() != 0 {
		t.Errorf("%v, and the other realm was asked %d times", err, asked.Load())
	}
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("the error prints the secret: %v", err)
	}
}

func TestAnUpstreamDoesNotRedirectIntoTheDatacenter(t *testing.T) {
	var to atomic.Value
	srv, _ := registryWithTokens(t, func(self string) string { return self + "/token" }, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+to.Load().(string)+"/x", http.StatusTemporaryRedirect)
	})
	s := newSource(t, SourceConfig{URL: srv.URL, Username: "robot", Password: "secret"})
	for _, address := range []string{"10.0.0.1", "192.168.0.1:81", "169.254.169.254", "100.100.100.200", "[::1]:81", "[fd00::1]", "[::ffff:10.0.0.1]", "0.0.0.0:81"} {
		to.Store(address)
		ctx, cancel := context.WithTimeout(t.Context(), trial.Patience)
		if _, err := s.Do(ctx, blobRequest(), nil); err == nil || !strings.Contains(err.Error(), "private address") {
			t.Errorf("%s: %v", address, err)
		}
		cancel()
	}
}

func TestSourceFollowsRedirectsWithoutCredentials(t *testing.T) {
	var authorization atomic.Value
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := r.Header.Get("Authorization")
		for name := range r.Header { // what edges show each other
			if strings.HasPrefix(name, "Breakwater-") {
				shown += name
			}
		}
		authorization.Store(shown)
		io.WriteString(w, "stored")
	}))
	defer storage.Close()
	srv, _ := registryWithTokens(t, func(self string) string { return self + "/token" }, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, storage.URL+"/x", http.StatusTemporaryRedirect)
	})
	for _, trusted := range []bool{true, false} {
		s := newSource(t, SourceConfig{URL: srv.URL, Username: "robot", Password: "secret", Trusted: trusted})
		resp, err := s.Do(t.Context(), blobRequest(), http.Header{"Breakwater-Previous-Authorization": {"Bearer x"}})
		if !trusted {
			if err == nil || !strings.Contains(err.Error(), "private address") {
				t.Errorf("an upstream's redirect to loopback: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "stored" || authorization.Load() != "" {
			t.Errorf("%q, storage is shown %q", body, authorization.Load())
		}
	}
}

func TestSourceThatIsDownIsUnavailable(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	_, err := newSource(t, SourceConfig{URL: srv.URL}).Do(context.Background(), blobRequest(), nil)
	if !errors.Is(err, &Error{Code: CodeUnavailable}) {
		t.Error(err)
	}
}

// Nobody waits long for the header of an answer, but who ends an upload: a storage
// may take minutes to put a large blob where it belongs.
func TestTheEndOfAnUploadIsWaitedFor(t *testing.T) {
	arrived, silent := make(chan bool), make(chan bool)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			close(arrived)
			<-silent
			w.WriteHeader(http.StatusCreated)
			return
		}
		<-r.Context().Done()
	}))
	defer srv.Close()
	s := newSource(t, SourceConfig{URL: srv.URL})
	s.client.Load().pools[0].ResponseHeaderTimeout = 10 * time.Millisecond
	ask := func(method, path string) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Transport().RoundTrip(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	go func() {
		<-arrived
		if status, err := ask(http.MethodGet, "/v2/p/a/manifests/v1"); err == nil {
			t.Errorf("a silent read: %d", status)
		}
		close(silent)
	}()
	if status, err := ask(http.MethodPut, "/v2/p/a/blobs/uploads/session?digest=d"); status != http.StatusCreated {
		t.Errorf("%d %v", status, err)
	}
}

// Credentials that a source was reached with by TLS do not go out without it, though the
// realm that it names is of its own host.
func TestSourceKeepsCredentialsFromAPlainRealm(t *testing.T) {
	var asked atomic.Int64
	realm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		json.NewEncoder(w).Encode(map[string]string{"token": "good repository:p/a:pull"})
	}))
	defer realm.Close()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", Challenge{"Bearer", map[string]string{"realm": realm.URL + "/token", "service": "s"}}.String())
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	s := newSource(t, SourceConfig{URL: srv.URL, Username: "robot", Password: "secret", TLS: &tls.Config{RootCAs: roots}})
	_, err := s.Do(t.Context(), blobRequest(), nil)
	if !errors.Is(err, &Error{Code: CodeUnavailable}) || asked.Load() != 0 {
		t.Errorf("%v, and the plain realm was asked %d times", err, asked.Load())
	}
}

// roundTripper answers requests as a function says.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whatever asks for it, a request with credentials goes to the source's own domain, and not
// out of TLS.
func TestRequestsStayInTheirDomain(t *testing.T) {
	for _, c := range []struct {
		source, request, goes string
	}{
		{"https://reg.example.org", "https://reg.example.org/token", "https://reg.example.org/token"},
		{"https://reg.example.org", "http://reg.example.org/token", "https://reg.example.org/token"}, // who asks guesses at the scheme
		{"https://reg.example.org", "https://auth.example.org/token", "https://auth.example.org/token"},
		{"https://reg.example.org", "http://auth.example.org/token", ""},
		{"https://reg.example.org", "http://reg.example.org:8080/token", ""},
		{"https://127.0.0.1:1", "http://127.0.0.1:2/token", ""},
		{"http://127.0.0.1:1", "http://127.0.0.1:2/token", "http://127.0.0.1:2/token"},
		{"https://reg.example.org", "https://example.com/token", ""},
		{"https://reg.example.org", "https://127.0.0.1/token", ""},
	} {
		u, err := url.Parse(c.source)
		if err != nil {
			t.Fatal(err)
		}
		went := ""
		own := &ownDomain{source: u, inner: roundTripper(func(r *http.Request) (*http.Response, error) {
			went = r.URL.String()
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		})}
		req := httptest.NewRequest(http.MethodGet, c.request, nil)
		req.SetBasicAuth("robot", "secret")
		if _, err := own.RoundTrip(req); went != c.goes || (err == nil) != (c.goes != "") || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("of %s, %s goes to %q, want %q: %v", c.source, c.request, went, c.goes, err)
		}
	}
}
