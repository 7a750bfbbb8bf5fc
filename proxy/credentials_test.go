package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

// guardedUpstream serves one manifest at every repo to who shows what is wanted: by a token
// that its token service refuses some repos, or by Basic.
func guardedUpstream(t *testing.T, manifest string, ranOut *atomic.Bool) *httptest.Server {
	refuse := func(w http.ResponseWriter, status int, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
	}
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, basic := r.BasicAuth()
		scope := r.FormValue("scope")
		switch {
		case r.URL.Path == "/token" && (basic && ranOut.Load() || strings.Contains(scope, "private401")):
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		case r.URL.Path == "/token" && strings.Contains(scope, "private403"):
			refuse(w, http.StatusForbidden, "DENIED")
		case r.URL.Path == "/token" && strings.Contains(scope, "busy"):
			w.Header().Set("Retry-After", "30")
			refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		case r.URL.Path == "/token":
			json.NewEncoder(w).Encode(map[string]any{"token": "t", "expires_in": 300})
		case strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && !ranOut.Load(), basic && user == "AWS" && !ranOut.Load():
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				w.Header().Set("Docker-Content-Digest", digest.FromString(manifest).String())
				fmt.Fprint(w, manifest)
				return
			}
			refuse(w, http.StatusNotFound, "NAME_UNKNOWN")
		default:
			if w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="s"`, srv.URL)); r.Host == "ecr.example.com" || user == "AWS" {
				w.Header().Set("Www-Authenticate", `Basic realm="ecr"`)
			}
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// What an upstream's refusal means for a client depends on what the upstream was shown: a repo
// that is refused is not there for who asks; credentials that have run out say nothing of any repo,
// and take nothing away that is held.
func TestAnUpstreamsRefusalIsReadByWhatItWasShown(t *testing.T) {
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`
	var ranOut atomic.Bool
	up := guardedUpstream(t, manifest, &ranOut)
	basic := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "ecr.example.com"
		up.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(basic.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	upstreams := map[string]registry.SourceConfig{
		"cache-anybodys": {URL: up.URL}, "cache-login": {URL: up.URL, Username: "robot", Password: secret}, "cache-ecr": {URL: basic.URL, Username: "AWS", Password: secret},
	}
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Upstreams = map[string]*registry.Source{}
		for project, cfg := range upstreams {
			p.Namespaces = append(p.Namespaces, namespace.Namespace{Project: project, Kind: namespace.Cache})
			var err error
			if p.Upstreams[project], err = registry.NewSource(cfg); err != nil {
				t.Fatal(err)
			}
		}
	})
	for project := range upstreams {
		if err := s.harbor.CreateCache(project, "docker-registry", gone.URL, true); err != nil {
			t.Fatal(err)
		}
	}
	blob := "/blobs/" + digest.FromString("x").String()
	for _, c := range []struct {
		after  bool // the credentials have run out
		repo   string
		status map[string]int // by what is asked for
	}{
		{false, "cache-anybodys/public/a", map[string]int{"/manifests/v1": 200}},
		{false, "cache-anybodys/private401/a", map[string]int{"/manifests/v1": 404, blob: 404}},
		{false, "cache-anybodys/private403/a", map[string]int{"/manifests/v1": 404, blob: 404}},
		{false, "cache-anybodys/busy/a", map[string]int{"/manifests/v1": 503, blob: 503}},
		{false, "cache-login/a", map[string]int{"/manifests/v1": 200}},
		{false, "cache-login/private403/a", map[string]int{"/manifests/v1": 404, blob: 404}},
		{false, "cache-ecr/a", map[string]int{"/manifests/v1": 200}},
		{true, "cache-login/a", map[string]int{"/manifests/v1": 200}}, // the copy
		{true, "cache-login/b", map[string]int{"/manifests/v1": 503, blob: 503}},
		{true, "cache-login/private403/b", map[string]int{"/manifests/v1": 503, blob: 503}},
		{true, "cache-ecr/a", map[string]int{"/manifests/v1": 200}}, // the copy
		{true, "cache-ecr/b", map[string]int{"/manifests/v1": 503, blob: 503}},
	} {
		ranOut.Store(c.after)
		header := s.anonymous(t, c.repo)
		for path, want := range c.status {
			a := s.do(t, http.MethodGet, "/v2/"+c.repo+path, header)
			after, _ := strconv.Atoi(a.header.Get("Retry-After"))
			if a.status != want || want == 503 && after == 0 || strings.Contains(c.repo, "busy") && after <= 5 { // 5 s is what the edge says of itself
				t.Errorf("ran out: %t, %s%s: %d %v %s", c.after, c.repo, path, a.status, a.header.Get("Retry-After"), a.body)
			}
			if want == 404 && !strings.Contains(string(a.body), "or needs credentials") {
				t.Errorf("%s%s: %s", c.repo, path, a.body)
			}
		}
	}
}
