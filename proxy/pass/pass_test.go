package pass_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// behind starts a Harbor that a test plays, and returns a Proxy to it.
func behind(t *testing.T, harbor http.HandlerFunc) (*pass.Proxy, string) {
	t.Helper()
	srv := httptest.NewServer(harbor)
	t.Cleanup(srv.Close)
	source, err := registry.NewSource(registry.SourceConfig{URL: srv.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	return pass.ToHarbor("harbor", source), srv.URL
}

func from(target string, header map[string]string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return r
}

func TestHarborIsToldWhoAsks(t *testing.T) {
	var got *http.Request
	proxy, _ := behind(t, func(_ http.ResponseWriter, r *http.Request) { got = r })
	sent := map[string]string{"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", peer.AskedHeader: "par1", peer.ClientHeader: "Basic y", peer.PushHeader: "true", "Cookie": "sid=1", "Authorization": "Basic x"}
	for name, c := range map[string]struct {
		tls        *tls.ConnectionState
		For, Proto string
	}{
		"behind something that terminates TLS": {nil, "203.0.113.7, 192.0.2.1", "https"},
		"by TLS of its own":                    {&tls.ConnectionState{}, "192.0.2.1", "https"}, // what the client says of itself counts for nothing
	} {
		r := from("/api/v2.0/projects?x=1", sent)
		r.Host, r.TLS = "harbor.example.org", c.tls
		if err := proxy.Serve(httptest.NewRecorder(), r, pass.Call{}); err != nil {
			t.Fatal(err)
		}
		h := got.Header
		if h.Get("X-Forwarded-For") != c.For || h.Get("X-Forwarded-Proto") != c.Proto || h.Get("X-Forwarded-Host") != "harbor.example.org" || got.Host != "harbor.example.org" {
			t.Errorf("%s: %v of %s", name, h, got.Host)
		}
		if h.Get(peer.AskedHeader)+h.Get(peer.ClientHeader)+h.Get(peer.PushHeader) != "" || h.Get("Cookie") != "sid=1" || h.Get("Authorization") != "Basic x" || got.URL.String() != "/api/v2.0/projects?x=1" {
			t.Errorf("%s: %v, %s", name, h, got.URL)
		}
	}
	if err := proxy.Serve(httptest.NewRecorder(), from("/cache-dockerhub/v2/app/tags/list?n=1", nil), pass.Call{Path: "/v2/cache-dockerhub/library/app/tags/list"}); err != nil {
		t.Fatal(err)
	}
	if got.URL.String() != "/v2/cache-dockerhub/library/app/tags/list?n=1" {
		t.Errorf("the path is %s", got.URL)
	}
}

// A peer's edge is shown who asks; its Harbor is shown the client's own credentials,
// and neither cookies nor the mark of another client.
func TestAPeerIsShownTheClientsCredentialsApart(t *testing.T) {
	var got *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Location", "/there")
		w.Header().Set("Cache-Status", "breakwater; the peer's")
	}))
	t.Cleanup(srv.Close)
	edge, err := registry.NewSource(registry.SourceConfig{URL: srv.URL, Prefix: peer.Path, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	authorize := func(h http.Header) error {
		h.Set("Authorization", "Bearer edges")
		return nil
	}
	proxy := pass.ToPeer("peer-mad1", edge, authorize, func(location, client string) string { return client + location + "?at=mad1" })
	w := httptest.NewRecorder()
	r := from("/v2/multi-dc-x/app/blobs/uploads/", map[string]string{"Authorization": "Basic client", "Cookie": "sid=1", peer.ClientHeader: "Basic other"})
	if err := proxy.Serve(w, r, pass.Call{Path: "/v2/multi-dc-x/app/blobs/uploads/"}); err != nil {
		t.Fatal(err)
	}
	if got.Header.Get("Authorization") != "Bearer edges" || got.Header.Get(peer.ClientHeader) != "Basic client" || got.Header.Get("Cookie") != "" || got.URL.Path != peer.Path+"/v2/multi-dc-x/app/blobs/uploads/" {
		t.Errorf("%v at %s", got.Header, got.URL)
	}
	if w.Header().Get("Location") != "http://example.com/there?at=mad1" || !slices.Equal(w.Header().Values("Cache-Status"), []string{"breakwater; fwd=bypass; detail=peer-mad1"}) {
		t.Errorf("%v", w.Header())
	}
	if err := proxy.Serve(httptest.NewRecorder(), from("/", map[string]string{peer.ClientHeader: "Basic other"}), pass.Call{Path: "/v2/"}); err != nil || got.Header.Get(peer.ClientHeader) != "" {
		t.Errorf("a client without credentials is %q, %v", got.Header.Get(peer.ClientHeader), err)
	}
}

// An answer that the caller does not want never reaches the client.
func TestAnAnswerMayBeKeptFromTheClient(t *testing.T) {
	proxy, _ := behind(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/secret")
		w.WriteHeader(http.StatusCreated)
	})
	unwanted := errors.New("not this one")
	w := httptest.NewRecorder()
	err := proxy.Serve(w, from("/", nil), pass.Call{Answered: func(*http.Response) error { return unwanted }})
	var e *registry.Error
	if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0 || !errors.Is(err, unwanted) {
		t.Errorf("%v", err)
	}
	if w.Header().Get("Location") != "" || w.Body.Len() > 0 {
		t.Errorf("the client has %v, %q", w.Header(), w.Body)
	}
	if strings.Contains(e.Message, "not this one") {
		t.Error("the cause is told to the client")
	}
}
