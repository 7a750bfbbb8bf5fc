package provision

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	clientregistry "github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"

	"example.org/breakwater/internal/fleet"
)

// elsewhere is a host that must never be asked; its address has another name than those of Harbors.
func elsewhere(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) //nolint:errcheck // what there is of it is shown
		t.Errorf("another host was sent %s %s %v %s", r.Method, r.URL, r.Header, body)
	}))
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

// A redirect is not followed, whatever is asked: the other host would be told the
// password, the session, or the secrets in the body. Who is redirected is told where to.
func TestRedirectsAreNotFollowed(t *testing.T) {
	ask := map[string]func(h *harbor) error{
		"a list": func(h *harbor) error { _, err := h.readProjects(t.Context()); return err },
		"a write": func(h *harbor) error {
			m := &models.Registry{Name: "x", Credential: &models.RegistryCredential{AccessSecret: "Replication1Secret"}}
			_, err := h.api.Registry.CreateRegistry(t.Context(), clientregistry.NewCreateRegistryParams().WithRegistry(m))
			return err
		},
		"a login of a robot": func(h *harbor) error { _, err := h.proves(t.Context(), "robot$x", "Secret1x"); return err },
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, session := range []bool{true, false} {
			for what, do := range ask {
				t.Run(fmt.Sprintf("%d, session %v, %s", status, session, what), func(t *testing.T) {
					other := elsewhere(t)
					srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.URL.Path != "/c/login" {
							http.Redirect(w, r, other+"/sso?secret=in-the-query", status)
						} else if session {
							w.Header().Set("X-Harbor-Csrf-Token", "csrf-1")
							http.SetCookie(w, &http.Cookie{Name: "sid", Value: "the-admins-session"})
						}
					}))
					t.Cleanup(srv.Close)
					h, err := newHarbor(srv.URL, "admin", "Harbor12345", nil)
					if err != nil {
						t.Fatal(err)
					}
					if err := do(h); err == nil || !strings.Contains(plain(err).Error(), "a redirect to "+other+",") {
						t.Errorf("%v", err)
					}
				})
			}
		}
	}
}

// Nor is that of the login itself, or one in the same host's name to another port.
func TestRedirectOfTheLogin(t *testing.T) {
	other := strings.Replace(elsewhere(t), "localhost", "127.0.0.1", 1)
	srv := httptest.NewServer(http.RedirectHandler(other, http.StatusTemporaryRedirect))
	t.Cleanup(srv.Close)
	h, err := newHarbor(srv.URL, "admin", "Harbor12345", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.readProjects(t.Context()); err == nil || !strings.Contains(err.Error(), "a redirect to "+other) {
		t.Error(err)
	}
}

// A Harbor that names somebody else's token service is not believed: the sync robot's
// secret goes to the Harbor of the fleet file.
func TestChallengeThatLeadsElsewhere(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{})
	checks, err := p.readAll(t.Context())
	if len(err) > 0 {
		t.Fatal(err)
	}
	other := elsewhere(t)
	for name := range p.harbors {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+other+`/service/token",service="harbor-registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		}))
		t.Cleanup(srv.Close)
		h, err := newHarbor(srv.URL, "admin", "Harbor12345", nil)
		if err != nil {
			t.Fatal(err)
		}
		p.harbors[name] = h
	}
	v := &verifier{Provisioner: p, o: VerifyOptions{Patience: time.Minute}, want: p.wanting.wants(), have: checks}
	v.canary(t.Context(), "dc1", "multi-dc-repo1")
	if len(v.checks) != 1 || v.checks[0].OK || !strings.Contains(v.checks[0].Detail, "a redirect to "+other) {
		t.Errorf("%+v", v.checks)
	}
}

// Artifactory's administrator's token and its reader's password go there alone too.
func TestRedirectOfArtifactory(t *testing.T) {
	other := elsewhere(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other+r.URL.Path, http.StatusPermanentRedirect)
	}))
	t.Cleanup(srv.Close)
	a, err := newArtifactory(&fleet.Artifactory{URL: fleet.URL(srv.URL)}, "harbor-ro", artifactoryPassword, "admin-token")
	if err != nil {
		t.Fatal(err)
	}
	c := Change{Action: Create, want: &reader{name: "harbor-ro"}, secret: artifactoryPassword}
	if err := a.write(t.Context(), c); err == nil || !strings.Contains(err.Error(), "a redirect to "+other) || strings.Contains(err.Error(), artifactoryPassword) {
		t.Error(err)
	}
	if _, _, err := a.keys(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "a redirect to "+other) {
		t.Error(err)
	}
}

// In one's own house: from http to https of the same name, and nowhere else.
func TestWhereACallMayGo(t *testing.T) {
	for _, c := range []struct {
		of, to string
		may    bool
	}{
		{"http://h", "http://h:80/x", true}, {"http://h", "https://h/x", true}, {"https://h", "https://H:443", true}, {"http://h:8080", "http://h:8080", true},
		{"https://h", "https://h.", true}, {"https://bücher.example", "https://xn--bcher-kva.example:443", true}, {"https://[2001:db8::1]", "https://[2001:db8:0::1]", true}, {"http://h:80", "https://h:443", true},
		{"https://h", "http://h", false}, {"http://h:8080", "https://h", false}, {"http://h:8080", "http://h", false}, {"https://h", "https://h.example.org", false}, {"https://h", "https://h@other", false},
	} {
		if of, to := parsed(t, c.of), parsed(t, c.to); (confined{to: of}).within(to) != c.may {
			t.Errorf("from %s to %s: %v", c.of, c.to, !c.may)
		}
	}
}

func parsed(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
