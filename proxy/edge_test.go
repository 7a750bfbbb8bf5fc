package proxy_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// site is one datacenter of a test: an upstream, a Harbor and an edge.
type site struct {
	hub    *lab.Upstream
	harbor *lab.Harbor
	edge   *httptest.Server
	tokens sync.Map // by repo
	dir    string
}

// stops has nobody answer at the address of the site's edge any more.
func (s *site) stops() {
	s.edge.CloseClientConnections()
	s.edge.Close()
}

// answers has a server answer where the site's edge did.
func (s *site) answers(t *testing.T, handler http.Handler) {
	t.Helper()
	listener, err := net.Listen("tcp", s.edge.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	again.Start()
	t.Cleanup(again.Close)
}

type option func(*access.Config, *proxy.Config, *registry.SourceConfig)

// withoutCertificates makes the edge ask Harbor about every token.
func withoutCertificates(a *access.Config, _ *proxy.Config, _ *registry.SourceConfig) {
	a.Verifier = nil
}

// withoutRobot makes the edge fetch with its clients' credentials.
func withoutRobot(_ *access.Config, _ *proxy.Config, s *registry.SourceConfig) {
	s.Username, s.Password = "", ""
}

func freshFor(d time.Duration) option {
	return func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Freshness = func(namespace.Kind) time.Duration { return d }
	}
}

const (
	reader = "robot$multi-dc-demo+reader"
	writer = "robot$multi-dc-demo+writer"
	secret = "Some1Secret"
)

func newSite(t testing.TB, options ...option) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	var err error
	if s.hub, err = lab.StartUpstream(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.hub.Close() })
	key, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	if s.harbor, err = lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir(), Key: key}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.harbor.Close() })
	if err := s.harbor.CreateCache("cache-dockerhub", "docker-hub", s.hub.URL(), true); err != nil {
		t.Fatal(err)
	}
	for project, public := range map[string]bool{"multi-dc-demo": false, "multi-dc-other": false, "plain": false, "repl-open": true} {
		s.harbor.CreateProject(project, public)
	}
	s.harbor.CreateRobot("*", "edge", secret, "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
	s.harbor.CreateRobot("multi-dc-demo", "reader", secret, "pull")
	s.harbor.CreateRobot("multi-dc-demo", "writer", secret, "pull", "push")
	s.edge = startEdge(t, s.harbor.URL(), s.dir, &s.harbor.Key().PublicKey, options...)
	return s
}

func startEdge(t testing.TB, harborURL, dir string, key *rsa.PublicKey, options ...option) *httptest.Server {
	t.Helper()
	source := registry.SourceConfig{URL: harborURL, Trusted: true, Username: "robot$edge", Password: secret}
	a := access.Config{Verifier: &registry.Verifier{Keys: []*rsa.PublicKey{key}}}
	p := proxy.Config{
		Datacenter: "par1", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Settings: proxy.Settings{Namespaces: []namespace.Namespace{{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true}}},
	}
	for _, o := range options {
		o(&a, &p, &source)
	}
	var err error
	if p.Harbor, err = registry.NewSource(source); err != nil {
		t.Fatal(err)
	}
	a.Harbor = p.Harbor
	if p.Access, err = access.New(a); err != nil {
		t.Fatal(err)
	}
	if p.Store, err = store.Open(store.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Store.Close() })
	srv := httptest.NewServer(proxy.New(t.Context(), p))
	t.Cleanup(srv.Close)
	return srv
}

func host(url string) string { return strings.TrimPrefix(url, "http://") }

// image makes an image of one layer of n pseudo-random bytes.
func image(t testing.TB, n int, seed byte) v1.Image {
	t.Helper()
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(b, types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func push(t testing.TB, registryURL, reference string, img v1.Image, auth authn.Authenticator) error {
	t.Helper()
	ref, err := name.ParseReference(host(registryURL)+"/"+reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return remote.Write(ref, img, remote.WithAuth(auth))
}

func mustPush(t testing.TB, registryURL, reference string, img v1.Image, auth authn.Authenticator) {
	t.Helper()
	if err := push(t, registryURL, reference, img, auth); err != nil {
		t.Fatal(err)
	}
}

func (s *site) admin() authn.Authenticator {
	username, password := s.harbor.Admin()
	return basic(username, password)
}

func basic(username, password string) authn.Authenticator {
	return authn.FromConfig(authn.AuthConfig{Username: username, Password: password})
}

func layerOf(t *testing.T, img v1.Image) (digest string, content []byte) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	h, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return h.String(), content
}

// token gets a token through the edge, as docker does before every pull.
func (s *site) token(t testing.TB, username, scope string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.edge.URL+"/service/token?service=harbor-registry&scope="+scope, nil)
	if err != nil {
		t.Fatal(err)
	}
	if username != "" {
		req.SetBasicAuth(username, secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Token
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading the body
}

func (s *site) do(t testing.TB, method, path string, header map[string]string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.edge.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, a.err = io.ReadAll(resp.Body)
	return a
}

func (a answer) code() string {
	var body struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	return body.Errors[0].Code
}

// anonymous is the header of a client that got itself a token for the repo.
func (s *site) anonymous(t testing.TB, repo string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + s.token(t, "", "repository:"+repo+":pull")}
}

func (s *site) as(t testing.TB, username, repo string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + s.token(t, username, "repository:"+repo+":pull")}
}

func same(t *testing.T, what string, a answer, content []byte) {
	t.Helper()
	if a.status != http.StatusOK || a.err != nil || !bytes.Equal(a.body, content) {
		t.Errorf("%s: %d, %d bytes, %v: %.200s", what, a.status, len(a.body), a.err, a.body)
	}
}

// Every response says how the edge came by it (RFC 9211).
func TestEveryResponseHasACacheStatus(t *testing.T) {
	r := newRegion(t, freshFor(time.Minute))
	s := r.sites[0]
	mustPush(t, r.hub.URL(), "library/app:v1", image(t, 1000, 1), authn.Anonymous)
	h := s.anonymous(t, "cache-dockerhub/library/app")
	app := "/v2/cache-dockerhub/library/app/"
	for _, c := range []struct {
		method, path, want string
		header             map[string]string
	}{
		{http.MethodGet, "/healthz", "fwd=bypass; detail=edge", nil},
		{http.MethodGet, "/breakwater/v1/health", "fwd=bypass; detail=edge", nil},
		{http.MethodGet, "/breakwater/nothing", "fwd=bypass; detail=edge", nil},
		{http.MethodGet, "/v2/", "fwd=bypass; detail=edge", nil},
		{http.MethodGet, "/v2/UPPER/manifests/v1", "fwd=bypass; detail=edge", nil},
		{http.MethodGet, "/v2/app/manifests/v1?ns=example.com", "fwd=bypass; detail=edge", nil},
		{http.MethodGet, app + "manifests/v1", "fwd=bypass; detail=edge", nil},
		{http.MethodPut, app + "manifests/v1", "fwd=bypass; detail=edge", h},
		{http.MethodGet, "/api/v2.0/health", "fwd=bypass; detail=harbor", nil},
		{http.MethodGet, "/v2/_catalog", "fwd=bypass; detail=harbor", nil},
		{http.MethodGet, "/v2/library/plain/manifests/v1", "fwd=bypass; detail=harbor", h},
		{http.MethodGet, app + "manifests/v1", "fwd=miss; detail=harbor", h},
		{http.MethodHead, app + "manifests/v1", "hit", h},
		{http.MethodGet, app + "tags/list", "fwd=miss; detail=harbor", h},
		{http.MethodGet, app + "referrers/" + string(digest.FromString("a")), "fwd=miss; detail=", h},
		{http.MethodGet, app + "manifests/v2", "fwd=miss; detail=error", h},
		{http.MethodGet, app + "manifests/v2", "hit; detail=negative", h},
		{http.MethodGet, app + "blobs/" + string(digest.FromString("a")), "fwd=miss; detail=error", h},
	} {
		a := s.do(t, c.method, c.path, c.header)
		if got := a.header.Get("Cache-Status"); !strings.HasPrefix(got, "breakwater; "+c.want) {
			t.Errorf("%s %s: %d, %q, want %q", c.method, c.path, a.status, got, c.want)
		}
	}
}

// The log says who pulled and who pushed: Harbor does not see what is served from here.
func TestTheLogSaysWho(t *testing.T) {
	var log lockedBuffer
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Log = slog.New(slog.NewJSONHandler(&log, nil))
	})
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", image(t, 1000, 1), basic(writer, secret))
	s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), s.as(t, reader, "multi-dc-demo/app"))
	s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), nil)
	said := map[string]string{}
	waitFor(t, "the log's lines", func() bool { // a line is written behind the answer
		for line := range strings.Lines(log.String()) {
			var entry struct {
				Method, Endpoint, Who string
				Status                int
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Endpoint == "manifest" {
				said[fmt.Sprint(entry.Method, " ", entry.Status)] = entry.Who
			}
			if strings.Contains(line, secret) {
				t.Errorf("a secret in %s", line)
			}
		}
		_, put := said["PUT 201"]
		_, refused := said["GET 401"]
		return put && refused
	})
	for what, who := range map[string]string{"PUT 201": writer, "GET 200": reader, "GET 401": ""} {
		if got, ok := said[what]; !ok || got != who {
			t.Errorf("%s: by %q, want %q", what, got, who)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
