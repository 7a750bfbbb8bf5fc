package registry

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// What is configured as before keeps its tokens; what is not asks for its own, and an answer
// that is on its way goes on.
func TestASourceIsGivenAnotherConfiguration(t *testing.T) {
	more := make(chan bool)
	srv, tokens := registryWithTokens(t, func(self string) string { return self + "/token" }, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begun ")
		http.NewResponseController(w).Flush()
		<-more
		io.WriteString(w, "and ended")
	})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "elsewhere") }))
	t.Cleanup(elsewhere.Close)
	cfg := SourceConfig{URL: srv.URL, Username: "robot", Password: "secret", Header: http.Header{"User-Agent": {"breakwater"}}}
	s := newSource(t, cfg)
	begun, err := s.Do(t.Context(), blobRequest(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Use(newSource(t, cfg)) {
		t.Error("the same configuration counts as another one")
	}
	again, err := s.Do(t.Context(), blobRequest(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Body.Close()
	if n := tokens.Load(); n != 1 {
		t.Errorf("%d tokens for one configuration, want 1", n)
	}
	cfg.Password = "another"
	if !s.Use(newSource(t, cfg)) {
		t.Error("another password is no other configuration")
	}
	if resp, err := s.Do(t.Context(), blobRequest(), nil); err == nil {
		resp.Body.Close()
		t.Errorf("%s with a password that the registry refuses: the old token is used", resp.Status)
	}
	cfg.Password = "secret"
	for name, change := range map[string]func(*SourceConfig){
		"its right password": func(*SourceConfig) {}, "a proxy": func(c *SourceConfig) { c.Proxy = "http://127.0.0.1:1" },
		"a name": func(c *SourceConfig) { c.Username = "other" }, "an address": func(c *SourceConfig) { c.URL = elsewhere.URL },
		"a storage": func(c *SourceConfig) { c.Redirects = destinations(t, named{"10.0.0.0/8"}) }, "no storage": func(c *SourceConfig) { c.Redirects = destinations(t, named{}) },
		"nobody": func(c *SourceConfig) { *c = SourceConfig{URL: elsewhere.URL} },
	} {
		next := cfg
		change(&next)
		if !s.Use(newSource(t, next)) {
			t.Errorf("%s is no other configuration", name)
		}
	}
	s.Use(newSource(t, SourceConfig{URL: elsewhere.URL}))
	resp, err := s.Do(t.Context(), blobRequest(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "elsewhere" || s.URL().String() != elsewhere.URL || !s.Anonymous() {
		t.Errorf("%q from %s", body, s.URL())
	}
	resp.Body.Close()
	close(more)
	if body, err := io.ReadAll(begun.Body); string(body) != "begun and ended" || err != nil {
		t.Errorf("the answer that was on its way: %q %v", body, err)
	}
	begun.Body.Close()
}

// A file of authorities that says the same is no change; another one is.
func TestAuthoritiesTellConfigurationsApart(t *testing.T) {
	pool := func(servers ...*httptest.Server) *x509.CertPool {
		p := x509.NewCertPool()
		for _, s := range servers {
			p.AddCert(s.Certificate())
		}
		return p
	}
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	with := func(p *x509.CertPool) *Source {
		cfg := SourceConfig{URL: srv.URL, TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
		cfg.TLS.RootCAs = p
		return newSource(t, cfg)
	}
	s := with(pool(srv))
	if s.Use(with(pool(srv))) {
		t.Error("the same authorities are others")
	}
	if !s.Use(with(pool())) {
		t.Error("no authorities are the same")
	}
	if resp, err := s.Do(t.Context(), blobRequest(), nil); err == nil {
		resp.Body.Close()
		t.Error("the authority that is gone is believed")
	}
	if !s.Use(newSource(t, SourceConfig{URL: srv.URL})) {
		t.Error("the system's authorities are the same")
	}
}
