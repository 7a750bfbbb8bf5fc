package proxy_test

import (
	"bytes"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

func TestPullThroughAProxyCache(t *testing.T) {
	for mode, options := range map[string][]option{
		"certificates and a robot": nil, "Harbor asked about tokens": {withoutCertificates}, "no robot": {withoutCertificates, withoutRobot},
	} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, append(options, freshFor(time.Minute))...)
			img := image(t, 300<<10, 1)
			mustPush(t, s.hub.URL(), "library/nginx:latest", img, authn.Anonymous)
			manifest, _ := img.RawManifest()
			digest, layer := layerOf(t, img)
			for _, repo := range []string{"cache-dockerhub/library/nginx", "cache-dockerhub/nginx"} {
				h := s.anonymous(t, repo)
				for range 2 {
					a := s.do(t, http.MethodGet, "/v2/"+repo+"/manifests/latest", h)
					same(t, repo, a, manifest)
					imageDigest, _ := img.Digest()
					if d := a.header.Get("Docker-Content-Digest"); d != imageDigest.String() || a.header.Get("Etag") != `"`+d+`"` || a.header.Get("Cache-Status") == "" {
						t.Errorf("headers %v", a.header)
					}
					same(t, repo, s.do(t, http.MethodGet, "/v2/"+repo+"/blobs/"+digest, h), layer)
				}
			}
			if n := s.hub.Requests()["GET /v2/library/nginx/blobs/"+digest]; n != 1 {
				t.Errorf("the upstream was asked for the layer %d times", n)
			}
			if n := s.harbor.Requests()["GET /v2/cache-dockerhub/library/nginx/blobs/"+digest]; n != 1 {
				t.Errorf("Harbor was asked for the layer %d times", n)
			}
		})
	}
}

func TestBehindSomethingThatTerminatesTLS(t *testing.T) {
	s := newSite(t)
	h := map[string]string{"X-Forwarded-Proto": "https", "Host": "x"}
	if a := s.do(t, http.MethodGet, "/v2/", h); !strings.Contains(a.header.Get("Www-Authenticate"), `realm="https://`) {
		t.Errorf("challenge %q", a.header.Get("Www-Authenticate"))
	}
	h["Authorization"] = basicHeader("admin", "Harbor12345")
	if a := s.do(t, http.MethodPost, "/v2/plain/app/blobs/uploads/", h); !strings.HasPrefix(a.header.Get("Location"), "https://") {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
}

func TestCatalogIsChallengedAsHarborDoes(t *testing.T) {
	s := newSite(t)
	if a := s.do(t, http.MethodGet, "/v2/_catalog", nil); a.status != 401 || a.header.Get("Www-Authenticate") != `Basic realm="harbor"` {
		t.Errorf("%d %q", a.status, a.header.Get("Www-Authenticate"))
	}
	if a := s.do(t, http.MethodGet, "/v2/_catalog", map[string]string{"Authorization": basicHeader("admin", "Harbor12345")}); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestPermissionIsCheckedOnEveryRequest(t *testing.T) {
	for mode, options := range map[string][]option{"certificates": nil, "Harbor asked": {withoutCertificates}} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, append(options, freshFor(time.Hour))...)
			img := image(t, 100<<10, 5)
			mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
			digest, layer := layerOf(t, img)
			manifest, _ := img.RawManifest()
			blob, tag := "/v2/multi-dc-demo/app/blobs/"+digest, "/v2/multi-dc-demo/app/manifests/v1"
			good := s.as(t, reader, "multi-dc-demo/app")
			same(t, "the robot", s.do(t, http.MethodGet, tag, good), manifest)
			same(t, "the robot", s.do(t, http.MethodGet, blob, good), layer)
			if mode == "Harbor asked" {
				same(t, "the robot by Basic", s.do(t, http.MethodGet, blob, map[string]string{"Authorization": basicHeader(reader, secret)}), layer)
			}
			for name, h := range map[string]map[string]string{
				"nobody":              nil,
				"an anonymous token":  s.anonymous(t, "multi-dc-demo/app"),
				"another repo's":      s.as(t, reader, "multi-dc-other/app"),
				"garbage":             {"Authorization": "Bearer garbage"},
				"a wrong password":    {"Authorization": basicHeader(reader, "wrong")},
				"an unknown scheme":   {"Authorization": "Digest x"},
				"an empty credential": {"Authorization": "Bearer "},
			} {
				for _, path := range []string{tag, blob} {
					for _, method := range []string{http.MethodGet, http.MethodHead} {
						a := s.do(t, method, path, h)
						if a.status != http.StatusUnauthorized || a.header.Get("Www-Authenticate") == "" || bytes.Contains(a.body, layer[:100]) {
							t.Errorf("%s %s %s: %d %q", name, method, path, a.status, a.header.Get("Www-Authenticate"))
						}
					}
				}
			}
		})
	}
}

func basicHeader(username, password string) string {
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth(username, password)
	return r.Header.Get("Authorization")
}

// A digest that is known from another project is no key to its content, not
// even for somebody who may push a manifest that names it.
func TestABlobIsServedOnlyThroughARepoThatHoldsIt(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 6)
	mustPush(t, s.harbor.URL(), "multi-dc-other/app:v1", img, s.admin())
	digest, layer := layerOf(t, img)
	s.harbor.CreateRobot("multi-dc-other", "reader", secret, "pull")
	same(t, "its own project", s.do(t, http.MethodGet, "/v2/multi-dc-other/app/blobs/"+digest, s.as(t, "robot$multi-dc-other+reader", "multi-dc-other/app")), layer)
	if !held(t, s.dir, digest) {
		t.Fatal("the test needs the blob in the store")
	}
	a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest, s.as(t, reader, "multi-dc-demo/app"))
	if a.status != http.StatusNotFound || a.code() != "BLOB_UNKNOWN" {
		t.Errorf("another project: %d %s", a.status, a.body[:min(200, len(a.body))])
	}
	manifest, _ := img.Digest()
	a = s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/"+manifest.String(), s.as(t, reader, "multi-dc-demo/app"))
	if a.status != http.StatusNotFound {
		t.Errorf("another project's manifest: %d", a.status)
	}
}

func TestHarborIsDown(t *testing.T) {
	for _, fault := range []string{"down", "500", "core-down", "registry-down", "db-down", "html", "401"} {
		t.Run(fault, func(t *testing.T) {
			s := newSite(t)
			img := image(t, 100<<10, 7)
			mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
			digest, layer := layerOf(t, img)
			manifest, _ := img.RawManifest()
			h := s.as(t, reader, "multi-dc-demo/app")
			get := func(path string) answer { return s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/"+path, h) }
			same(t, "before", get("manifests/v1"), manifest)
			same(t, "before", get("blobs/"+digest), layer)
			if err := s.harbor.SetFaults(lab.Fault{Name: fault}); err != nil {
				t.Fatal(err)
			}
			a := get("manifests/v1")
			same(t, "a manifest that is held", a, manifest)
			if !strings.Contains(a.header.Get("Cache-Status"), "stale") {
				t.Errorf("Cache-Status %q", a.header.Get("Cache-Status"))
			}
			same(t, "a blob that is held", get("blobs/"+digest), layer)
			unknown := "sha256:" + strings.Repeat("1", 64)
			for _, path := range []string{"manifests/v2", "manifests/" + unknown, "blobs/" + unknown} {
				if a := get(path); a.status != http.StatusServiceUnavailable && !(fault == "html" && strings.HasPrefix(path, "blobs/")) || a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
					t.Errorf("%s: %d, Retry-After %q: don't-know is 503", path, a.status, a.header.Get("Retry-After"))
				}
			}
			if bytes.Contains(get("manifests/v2").body, []byte("55432")) {
				t.Error("the database's address went to a client")
			}
		})
	}
}

// In a proxy cache Harbor's 404 also means that its upstream does not answer.
func TestUpstreamIsDown(t *testing.T) {
	for _, fault := range []string{"", "down", "500", "403", "429"} {
		t.Run(fault, func(t *testing.T) {
			s := newSite(t)
			if fault != "" {
				if err := s.hub.SetFaults(lab.Fault{Name: fault, Path: "/manifests/"}); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]int{"": http.StatusNotFound, "429": http.StatusTooManyRequests}[fault]
			if want == 0 {
				want = http.StatusServiceUnavailable
			}
			a := s.do(t, http.MethodGet, "/v2/cache-dockerhub/typo/manifests/latest", s.anonymous(t, "cache-dockerhub/typo"))
			if a.status != want {
				t.Errorf("%d %s, want %d", a.status, a.body, want)
			}
		})
	}
}

func TestPushesPassThrough(t *testing.T) {
	s := newSite(t, freshFor(time.Hour))
	first, second := image(t, 100<<10, 10), image(t, 100<<10, 11)
	for reference, auth := range map[string]authn.Authenticator{"multi-dc-demo/app:v1": basic(writer, secret), "plain/app:v1": s.admin()} {
		mustPush(t, s.edge.URL, reference, first, auth)
	}
	h := s.as(t, reader, "multi-dc-demo/app")
	manifest, _ := first.RawManifest()
	same(t, "what was pushed", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", h), manifest)
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", second, basic(writer, secret))
	manifest, _ = second.RawManifest()
	same(t, "after a push that moved the tag", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", h), manifest)
	if err := push(t, s.edge.URL, "multi-dc-demo/app:v1", first, basic(reader, secret)); err == nil {
		t.Error("a robot that may only pull has pushed")
	}
	err := push(t, s.edge.URL, "cache-dockerhub/library/mine:v1", first, s.admin())
	if err == nil || !strings.Contains(err.Error(), "proxy cache") {
		t.Errorf("a push into a cache: %v", err)
	}
}

func TestEverythingElseIsHarbors(t *testing.T) {
	s := newSite(t)
	for path, want := range map[string]string{"/api/v2.0/ping": "Pong", "/": "<!doctype html>", "/healthz": "ok", "/breakwater/v1/health": `"harbor":"up"`} {
		if a := s.do(t, http.MethodGet, path, nil); a.status != http.StatusOK || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	a := s.do(t, http.MethodPost, "/v2/plain/app/blobs/uploads/", map[string]string{"Authorization": basicHeader("admin", "Harbor12345")})
	if v := a.header.Values("Docker-Distribution-Api-Version"); len(v) != 1 {
		t.Errorf("the API's version is said %d times", len(v))
	}
	if l := a.header.Get("Location"); a.status != http.StatusAccepted || !strings.HasPrefix(l, s.edge.URL+"/v2/plain/app/blobs/uploads/") {
		t.Errorf("%d, Location %q", a.status, l)
	}
	s = newSite(t)
	s.harbor.Close()
	for path, want := range map[string]int{"/api/v2.0/ping": 503, "/healthz": 200, "/breakwater/v1/health": 200, "/v2/": 401, "/v2/plain/app/manifests/x": 401} {
		if a := s.do(t, http.MethodGet, path, nil); a.status != want {
			t.Errorf("Harbor down, %s: %d", path, a.status)
		}
	}
	if a := s.do(t, http.MethodGet, "/breakwater/v1/health", nil); !strings.Contains(string(a.body), `"serving":true,"harbor":"down"`) {
		t.Errorf("health %s", a.body)
	}
}

func TestAPlainRegistryNeedsNoLogin(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 12)
	mustPush(t, s.hub.URL(), "cache-x/app:v1", img, authn.Anonymous)
	s.edge = startEdge(t, s.hub.URL(), t.TempDir(), nil, withoutCertificates, withoutRobot)
	manifest, _ := img.RawManifest()
	digest, layer := layerOf(t, img)
	same(t, "manifest", s.do(t, http.MethodGet, "/v2/cache-x/app/manifests/v1", nil), manifest)
	same(t, "blob", s.do(t, http.MethodGet, "/v2/cache-x/app/blobs/"+digest, nil), layer)
	if a := s.do(t, http.MethodGet, "/v2/cache-x/app/manifests/nope", nil); a.status != http.StatusNotFound {
		t.Errorf("a tag that is not there: %d", a.status)
	}
	mustPush(t, s.edge.URL, "multi-dc-y/app:v1", img, authn.Anonymous)
}

// docs/metrics.md lists exactly the metrics that are registered.
func TestMetricsAreTheOnesInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(breakwater_(?:edge|store)_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = true
	}
	metrics := prometheus.NewRegistry()
	s, err := store.Open(store.Config{Dir: t.TempDir(), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	edge := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Metrics = metrics })
	edge.do(t, http.MethodGet, "/v2/", nil)
	described := make(chan *prometheus.Desc, 100)
	metrics.Describe(described)
	close(described)
	for d := range described {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		if !listed[name] {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("%s is in docs/metrics.md, and nowhere else", name)
	}
}

func TestADeleteIsSeenAtOnce(t *testing.T) {
	s := newSite(t, freshFor(time.Hour))
	img := image(t, 100<<10, 15)
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", img, s.admin())
	h := s.as(t, reader, "multi-dc-demo/app")
	digest, _ := img.Digest()
	manifest, _ := img.RawManifest()
	path := "/v2/multi-dc-demo/app/manifests/"
	same(t, "before", s.do(t, http.MethodGet, path+"v1", h), manifest)
	admin := map[string]string{"Authorization": basicHeader("admin", "Harbor12345")}
	if a := s.do(t, http.MethodDelete, path+digest.String(), admin); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, reference := range []string{"v1", digest.String()} {
		if a := s.do(t, http.MethodGet, path+reference, h); a.status != http.StatusNotFound {
			t.Errorf("%s after its delete: %d", reference, a.status)
		}
	}
}

// A copy in hand is not kept from a client by a Harbor that does not answer.
func TestAHangingHarborDelaysACopyByASecondAtMost(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 16)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	h := s.as(t, reader, "multi-dc-demo/app")
	manifest, _ := img.RawManifest()
	same(t, "before", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", h), manifest)
	if err := s.harbor.SetFaults(lab.Fault{Name: "hang"}); err != nil {
		t.Fatal(err)
	}
	a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", h)
	same(t, "while it hangs", a, manifest)
	if !strings.Contains(a.header.Get("Cache-Status"), "stale") {
		t.Error(a.header.Get("Cache-Status"))
	}
}
