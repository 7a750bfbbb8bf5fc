package proxy_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// lyingRegistry says that it has any blob, of the given length, and any manifest:
// one that names the blob.
func lyingRegistry(t *testing.T, digest string, length int) *httptest.Server {
	t.Helper()
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`, digest, length, digest, length)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			fmt.Fprint(w, manifest)
		case strings.Contains(r.URL.Path, "/blobs/"):
			w.Header().Set("Docker-Content-Digest", digest)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, length)))
		default:
			w.WriteHeader(http.StatusOK)
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// A registry that says it has any digest is no key to what came from elsewhere,
// whether before or after it was asked.
func TestALyingUpstreamIsNoKeyToPrivateContent(t *testing.T) {
	secretLayer := image(t, 300<<10, 7)
	digest, layer := layerOf(t, secretLayer)
	evil := lyingRegistry(t, digest, len(layer))
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		upstream, err := registry.NewSource(registry.SourceConfig{URL: evil.URL})
		if err != nil {
			t.Fatal(err)
		}
		p.Namespaces = append(p.Namespaces, namespace.Namespace{Project: "cache-evil", Kind: namespace.Cache})
		p.Upstreams = map[string]*registry.Source{"cache-evil": upstream}
	})
	if err := s.harbor.CreateCache("cache-evil", "docker-registry", evil.URL, true); err != nil {
		t.Fatal(err)
	}
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", secretLayer, s.admin())
	mustPush(t, s.hub.URL(), "library/app:v1", secretLayer, authn.Anonymous)
	attack := func(when string) {
		t.Helper()
		repo := "cache-evil/x/y"
		h := s.anonymous(t, repo)
		s.do(t, http.MethodGet, manifests(repo), h)
		blob := "/v2/" + repo + "/blobs/" + digest
		for _, header := range []map[string]string{h, {"Authorization": h["Authorization"], "Range": "bytes=0-99"}, {"Authorization": h["Authorization"], "Range": "bytes=-100"}} {
			for range 2 {
				a := s.do(t, http.MethodGet, blob, header)
				if len(a.body) > 20 && bytes.Contains(layer, a.body) {
					t.Fatalf("%s: %d bytes of the secret with %v", when, len(a.body), header["Range"])
				}
			}
		}
	}
	blob := "/v2/multi-dc-demo/app/blobs/" + digest
	attack("before it is held")
	same(t, "the owner", s.do(t, http.MethodGet, blob, s.as(t, reader, "multi-dc-demo/app")), layer)
	attack("after it is held")
	// An honest upstream that has it is believed, by its bytes.
	honest := "cache-dockerhub/library/app"
	h := s.anonymous(t, honest)
	for range 2 {
		same(t, "of an honest upstream", s.do(t, http.MethodGet, "/v2/"+honest+"/blobs/"+digest, h), layer)
	}
	attack("at the end")
	same(t, "the owner again", s.do(t, http.MethodGet, blob, s.as(t, reader, "multi-dc-demo/app")), layer)
}

// hostile is a region with a secret in one project and an attacker who may read and
// push in another.
type hostile struct {
	*region
	layer  []byte
	digest string
	own    string // of a blob that the attacker has
	key    *rsa.PrivateKey
}

const (
	mine   = "multi-dc-demo/app"
	theirs = "multi-dc-other/app"
)

func newHostile(t *testing.T) *hostile {
	r := newRegion(t)
	h := &hostile{region: r}
	var err error
	if h.key, err = sharedKey(); err != nil {
		t.Fatal(err)
	}
	s := r.sites[0]
	for _, site := range r.sites {
		site.harbor.CreateProject("multi-dc-other", false)
		site.harbor.CreateProject("plain", false)
	}
	img := image(t, 100<<10, 9)
	h.digest, h.layer = layerOf(t, img)
	mustPush(t, s.harbor.URL(), theirs+":v1", img, s.admin())
	mustPush(t, s.harbor.URL(), "plain/app:v1", img, s.admin())
	img = image(t, 1000, 1)
	h.own, _ = layerOf(t, img)
	mustPush(t, s.harbor.URL(), mine+":v1", img, s.admin())
	user, password := s.harbor.Admin()
	_, token := s.askToken(t, user, password, "repository:"+theirs+":pull")
	same(t, "the owner", s.do(t, http.MethodGet, "/v2/"+theirs+"/blobs/"+h.digest, bearer(token)), h.layer)
	if a := s.do(t, http.MethodGet, manifests(theirs), bearer(token)); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	return h
}

// claims are those of a good token for the secret.
func (h *hostile) claims() jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{"iss": "harbor-token-issuer", "aud": "harbor-registry", "sub": "eve", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"access": []registry.Access{{Type: "repository", Name: theirs, Actions: []string{"pull"}}}}
}

// forged changes the claims and signs them.
func (h *hostile) forged(t *testing.T, method jwt.SigningMethod, key any, change func(jwt.MapClaims)) map[string]string {
	t.Helper()
	claims := h.claims()
	if change != nil {
		change(claims)
	}
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return bearer(token)
}

// get pulls the secret's manifest and blob through a repo, and returns their statuses.
func (h *hostile) get(t *testing.T, repo string, header map[string]string) string {
	t.Helper()
	m := h.sites[0].do(t, http.MethodGet, manifests(repo), header)
	b := h.sites[0].do(t, http.MethodGet, "/v2/"+repo+"/blobs/"+h.digest, header)
	if bytes.Contains(b.body, h.layer[:64]) {
		t.Errorf("%d bytes of the secret", len(b.body))
	}
	return fmt.Sprintf("manifest %d, blob %d", m.status, b.status)
}

// publicKey is the certificate's key, as one who has the certificate would use it as a secret.
func (h *hostile) publicKey(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&h.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// mentions pushes a manifest into the attacker's own repo that names the secret.
func (h *hostile) mentions(t *testing.T, name, manifest string) string {
	t.Helper()
	s := h.sites[0]
	header := s.asWriter(t, mine)
	config := []byte("{}")
	d := digest.FromBytes(config)
	_, location := s.send(t, http.MethodPost, "/v2/"+mine+"/blobs/uploads/", header, nil)
	s.send(t, http.MethodPut, withDigest(location, d), header, bytes.NewReader(config))
	manifest = strings.NewReplacer("SECRET", h.digest, "CONFIG", d.String(), "SIZE", fmt.Sprint(len(h.layer))).Replace(manifest)
	push := map[string]string{"Authorization": header["Authorization"], "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
	pushed, _ := s.send(t, http.MethodPut, "/v2/"+mine+"/manifests/"+name, push, strings.NewReader(manifest))
	b := s.do(t, http.MethodGet, "/v2/"+mine+"/blobs/"+h.digest, header)
	if bytes.Contains(b.body, h.layer[:64]) {
		t.Errorf("%d bytes of the secret", len(b.body))
	}
	return fmt.Sprintf("push %d, blob %d", pushed, b.status)
}

// raw sends bytes as they are, and returns the status line's number; 0: none came.
func (h *hostile) raw(t *testing.T, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", h.sites[0].edge.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(trial.Patience)) //nolint:errcheck // a reading would fail too
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn)
	if bytes.Contains(answer, h.layer[:64]) {
		t.Errorf("the secret for %.60q", text)
	}
	var all []string
	for _, m := range regexp.MustCompile(`HTTP/1\.1 (\d{3})`).FindAllSubmatch(answer, -1) {
		all = append(all, string(m[1]))
	}
	return strings.Join(all, ", ")
}

func TestAttacks(t *testing.T) {
	h := newHostile(t)
	s := h.sites[0]
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs := jwt.SigningMethodRS256
	set := func(name string, value any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = value } }
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	scopes := func(all ...registry.Access) func(jwt.MapClaims) { return set("access", all) }
	request := func(line string, headers ...string) string {
		return line + " HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
	}
	own := s.as(t, reader, mine)
	token := "Authorization: " + own["Authorization"]
	attacks := []struct{ name, outcome string }{
		{"no token", h.get(t, theirs, nil)},
		{"a token that has expired", h.get(t, theirs, h.forged(t, rs, h.key, set("exp", in(-2*time.Minute))))},
		{"one that is not yet valid", h.get(t, theirs, h.forged(t, rs, h.key, set("nbf", in(2*time.Minute))))},
		{"one without `exp`", h.get(t, theirs, h.forged(t, rs, h.key, func(c jwt.MapClaims) { delete(c, "exp") }))},
		{"one without `iat`", h.get(t, theirs, h.forged(t, rs, h.key, func(c jwt.MapClaims) { delete(c, "iat") }))},
		{"one from before the project", h.get(t, theirs, h.forged(t, rs, h.key, set("iat", in(-time.Hour))))},
		{"one for another audience", h.get(t, theirs, h.forged(t, rs, h.key, set("aud", "another-registry")))},
		{"one of another key", h.get(t, theirs, h.forged(t, rs, other, nil))},
		{"one of another key, on a plain project", h.get(t, "plain/app", h.forged(t, rs, other, scopes(registry.Access{Type: "repository", Name: "plain/app", Actions: []string{"pull"}})))},
		{"`alg: none`", h.get(t, theirs, h.forged(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil))},
		{"HS256 with the public key", h.get(t, theirs, h.forged(t, jwt.SigningMethodHS256, h.publicKey(t), nil))},
		{"an edge's token, made up", h.get(t, theirs, h.forged(t, jwt.SigningMethodHS256, []byte("guess"), set("iss", "breakwater-edge")))},
		{"a good token for another repo", h.get(t, theirs, own)},
		{"two scopes of one project, the wider first", h.get(t, theirs, h.forged(t, rs, h.key, scopes(
			registry.Access{Type: "repository", Name: theirs, Actions: []string{"pull"}}, registry.Access{Type: "repository", Name: theirs, Actions: []string{}})))},
		{"Basic with a wrong password", h.get(t, theirs, map[string]string{"Authorization": "Basic YWRtaW46d3Jvbmc="})},
		{"the secret's digest through a repo of one's own", h.get(t, mine, own)},
		{"its digest with an anonymous token", h.get(t, theirs, s.anonymous(t, theirs))},
		{"a pull token for a push", h.mount(t, own, "")},
		{"a mount of the secret from its repo", h.mount(t, s.asWriter(t, mine), "mount="+h.digest+"&from="+theirs)},
		{"a mount of an own blob, with the secret's digest beside", h.mount(t, s.asWriter(t, mine), "mount="+h.own+"&from="+mine+"&digest="+h.digest)},
		{"an own manifest that names it as a layer", h.mentions(t, "a", `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"CONFIG","size":2},"layers":[{"mediaType":"a/b","digest":"SECRET","size":SIZE}]}`)},
		{"as a config", h.mentions(t, "b", `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"SECRET","size":SIZE},"layers":[]}`)},
		{"as a subject", h.mentions(t, "c", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":"CONFIG","size":2},"layers":[],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"SECRET","size":SIZE}}`)},
		{"as a foreign layer", h.mentions(t, "d", `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"CONFIG","size":2},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"SECRET","size":SIZE,"urls":["https://example.org/x"]}]}`)},
		{"`..` in the path", h.raw(t, request("GET /v2/"+mine+"/../../"+theirs+"/blobs/"+h.digest, token))},
		{"`%2e%2e%2f` in the path", h.raw(t, request("GET /v2/"+mine+"/%2e%2e%2f%2e%2e%2f"+theirs+"/blobs/"+h.digest, token))},
		{"`%2f` in the repo", h.raw(t, request("GET /v2/multi-dc-other%2fapp/blobs/"+h.digest, token))},
		{"`//` in the path", h.raw(t, request("GET //v2//"+theirs+"/blobs/"+h.digest, token))},
		{"NUL in the path", h.raw(t, request("GET /v2/"+theirs+"%00/blobs/"+h.digest, token))},
		{"a repo in Cyrillic letters", h.raw(t, request("GET /v2/multi-dc-\u043ether/app/blobs/"+h.digest, token))},
		{"a path of 100 kB", h.raw(t, request("GET /v2/"+strings.Repeat("a", 100_000)+"/manifests/v1", token))},
		{"a header of 2 MB", h.raw(t, request("GET /v2/"+mine+"/manifests/v1", "X: "+strings.Repeat("a", 2<<20), token))},
		{"two lengths", h.raw(t, request("POST /v2/"+mine+"/blobs/uploads/", token, "Content-Length: 0", "Content-Length: 60")+request("GET /v2/"+theirs+"/blobs/"+h.digest))},
		{"a length and chunks", h.raw(t, request("POST /v2/"+mine+"/blobs/uploads/", token, "Content-Length: 5", "Transfer-Encoding: chunked")+"0\r\n\r\n"+request("GET /v2/"+theirs+"/blobs/"+h.digest))},
		{"a line end in a header's name", h.raw(t, request("GET /v2/"+mine+"/manifests/v1", token, "X\r: a"))},
		{"a peer's marks", h.get(t, theirs, map[string]string{"Authorization": own["Authorization"], "Breakwater-Asked": "mad1", "Breakwater-Push": "true", "Breakwater-Client-Authorization": "Basic x"})},
		{"the peers' path", h.raw(t, request("GET "+peer.Path+"/v2/"+theirs+"/blobs/"+h.digest, token))},
		{"a mirror's `ns` that is an address", h.raw(t, request("GET /v2/app/manifests/v1?ns=127.0.0.1:1", token))},
	}
	var table strings.Builder
	table.WriteString("| attack | answer |\n|---|---|\n")
	for _, a := range attacks {
		fmt.Fprintf(&table, "| %s | %s |\n", a.name, a.outcome)
		if a.outcome == "" || regexp.MustCompile(`(blob|manifest) 200`).MatchString(strings.ReplaceAll(a.outcome, "manifest 200, blob 404", "")) {
			t.Errorf("%s: %s", a.name, a.outcome)
		}
	}
	inGuarantees(t, "what an attacker gets", table.String())
}

// mount asks for an upload session, with a mount in the query.
func (h *hostile) mount(t *testing.T, header map[string]string, query string) string {
	t.Helper()
	s := h.sites[0]
	status, _ := s.send(t, http.MethodPost, "/v2/"+mine+"/blobs/uploads/?"+query, header, nil)
	b := s.do(t, http.MethodGet, "/v2/"+mine+"/blobs/"+h.digest, header)
	if bytes.Contains(b.body, h.layer[:64]) {
		t.Errorf("%d bytes of the secret", len(b.body))
	}
	return fmt.Sprintf("upload %d, blob %d", status, b.status)
}
