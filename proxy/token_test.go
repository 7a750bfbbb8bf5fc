package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

func (r *region) everywhere(t *testing.T, faults ...lab.Fault) {
	t.Helper()
	for _, s := range r.sites {
		if err := s.harbor.SetFaults(faults...); err != nil {
			t.Fatal(err)
		}
	}
}

// askToken asks the edge for a token as docker does: a new one for every pull.
func (s *site) askToken(t *testing.T, username, password, scope string) (status int, token string) {
	t.Helper()
	header := map[string]string{}
	if username != "" {
		header["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
	}
	path := "/service/token?service=harbor-registry"
	if scope != "" {
		path += "&scope=" + scope
	}
	a := s.do(t, http.MethodGet, path, header)
	var body struct{ Token string }
	json.Unmarshal(a.body, &body) //nolint:errcheck // refusals are something else
	return a.status, body.Token
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

const pullApp = "repository:multi-dc-demo/app:pull"

// Whatever ails the local Harbor, tokens come from a peer's.
func TestTokensComeFromAPeer(t *testing.T) {
	for name, fault := range map[string]lab.Fault{"down": {Name: "down"}, "its database is down": {Name: "db-down"}, "502": {Name: "core-down"}} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t)
			s := r.sites[0]
			img := image(t, 1000, 1)
			raw, _ := img.RawManifest()
			for _, site := range r.sites {
				mustPush(t, site.harbor.URL(), "multi-dc-demo/app:v1", img, site.admin())
			}
			if err := s.harbor.SetFaults(fault); err != nil {
				t.Fatal(err)
			}
			status, token := s.askToken(t, reader, secret, pullApp)
			if status != http.StatusOK {
				t.Fatalf("token: %d", status)
			}
			same(t, "a pull", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)), raw)
			if status, token := s.askToken(t, reader, "Wrong1Secret", pullApp); status == http.StatusOK {
				if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)); a.status != http.StatusUnauthorized {
					t.Errorf("a wrong password: %d", a.status)
				}
			}
			if status, _ := s.askToken(t, reader, secret, ""); status != http.StatusOK {
				t.Errorf("a login: %d", status)
			}
			if status, _ := s.askToken(t, reader, "Wrong1Secret", ""); status != http.StatusUnauthorized {
				t.Errorf("a login with a wrong password: %d", status)
			}
		})
	}
}

// containerd asks by POST first, and by GET after a 405: also while Harbor is down.
func TestATokenIsAskedForByGET(t *testing.T) {
	s := newSite(t)
	for range 2 {
		a := s.do(t, http.MethodPost, "/service/token", nil)
		if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != http.MethodGet {
			t.Errorf("%d %v", a.status, a.header)
		}
		if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
			t.Fatal(err)
		}
	}
}

// A project that was deleted and made again is another one: neither old tokens nor
// what repos of the old one held are good for it.
func TestAProjectMadeAgain(t *testing.T) {
	var passed atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	s := newSite(t, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) { a.Now, p.Now = now, now })
	img := image(t, 1000, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	digest, layer := layerOf(t, img)
	blob := "/v2/multi-dc-demo/app/blobs/" + digest
	old := func(age time.Duration) map[string]string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"aud": "harbor-registry", "iat": time.Now().Add(-age).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
			"access": []registry.Access{{Type: "repository", Name: "multi-dc-demo/app", Actions: []string{"pull"}}},
		}).SignedString(s.harbor.Key())
		if err != nil {
			t.Fatal(err)
		}
		return bearer(token)
	}
	same(t, "before", s.do(t, http.MethodGet, blob, old(0)), layer)
	if a := s.do(t, http.MethodGet, blob, old(2*time.Minute)); a.status != http.StatusUnauthorized {
		t.Errorf("a token from before the project: %d", a.status)
	}
	m, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r := &region{sites: []*site{s}}
	r.request(t, http.MethodDelete, s.harbor.URL()+"/v2/multi-dc-demo/app/manifests/"+m.String(), s, http.StatusAccepted)
	r.request(t, http.MethodDelete, s.harbor.URL()+"/api/v2.0/projects/multi-dc-demo", s, http.StatusOK)
	s.harbor.CreateProject("multi-dc-demo", false)
	passed.Store(int64(time.Minute))
	if err := s.harbor.SetFaults(lab.Fault{Name: "404", Path: "/blobs/"}); err != nil { // its registry has the old layers until they are collected
		t.Fatal(err)
	}
	if a := s.do(t, http.MethodGet, blob, old(0)); a.status != http.StatusNotFound {
		t.Errorf("what the old project held: %d", a.status)
	}
}

// Nor is what was pushed through the edge into a project that it had not heard of.
func TestAProjectMadeAgainAfterAPush(t *testing.T) {
	var passed atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	s := newSite(t, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) { a.Now, p.Now = now, now })
	const content = "what the old project held"
	d := digest.FromString(content)
	h := s.asWriter(t, "multi-dc-demo/app")
	_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
	if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, strings.NewReader(content)); status != http.StatusCreated {
		t.Fatal(status)
	}
	r := &region{sites: []*site{s}}
	r.request(t, http.MethodDelete, s.harbor.URL()+"/api/v2.0/projects/multi-dc-demo", s, http.StatusOK)
	s.harbor.CreateProject("multi-dc-demo", false)
	s.harbor.CreateRobot("multi-dc-demo", "reader", secret, "pull")
	passed.Store(int64(time.Minute))
	if err := s.harbor.SetFaults(lab.Fault{Name: "404", Path: "/blobs/"}); err != nil { // its registry has the old blobs until they are collected
		t.Fatal(err)
	}
	if a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+d.String(), s.as(t, reader, "multi-dc-demo/app")); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// What stands before a Harbor that is gone gives no tokens, and refuses none.
func TestAFrontWithoutHarborRefusesNobody(t *testing.T) {
	for name, answer := range fronts {
		t.Run(name, func(t *testing.T) {
			var gone atomic.Bool
			r := newRegion(t)
			behindFront(t, r, answer, &gone)
			s := r.sites[0]
			gone.Store(true)
			for _, username := range []string{reader, ""} {
				if status, token := s.askToken(t, username, secret, pullApp); status != http.StatusOK || token == "" {
					t.Errorf("%q: %d", username, status)
				}
			}
			r.everywhere(t, lab.Fault{Name: "down"})
			a := s.do(t, http.MethodGet, "/service/token?service=harbor-registry&scope="+pullApp, nil)
			if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
				t.Errorf("nobody is there: %d %.100s", a.status, a.body)
			}
		})
	}
}

// grants reports whether a token says that the repo may be pulled from.
func grants(t *testing.T, token, repo string) bool {
	t.Helper()
	var claims struct {
		jwt.RegisteredClaims
		Access []registry.Access `json:"access"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	granted := registry.Token{Access: claims.Access}
	return granted.Allows(repo, "pull")
}
