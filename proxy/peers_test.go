package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// Three datacenters, nobody has it: each is asked once, and 404 is said only
// when all have said no.
func TestPeersAreAskedOnceEach(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	h := s.as(t, reader, "multi-dc-demo/nothing")
	for _, site := range r.sites {
		site.harbor.ResetRequests()
	}
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/nothing"), h); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
	for i, site := range r.sites {
		if n := count(site.harbor.Requests(), "GET "+manifests("multi-dc-demo/nothing")); n != 1 {
			t.Errorf("Harbor %d was asked %d times", i, n)
		}
	}
	if err := r.sites[2].harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	// That nobody has the tag is remembered; of another one nobody has said so.
	if a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/nothing/manifests/v2", h); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("one cannot say: %d %s", a.status, a.body)
	}
}

// A blob that only a peer holds is served through the repo that holds it there,
// and a peer is no way around permission.
func TestABlobOfAPeer(t *testing.T) {
	r := newRegion(t)
	s, mad1 := r.sites[0], r.sites[1]
	img := image(t, 300<<10, 1)
	mustPush(t, mad1.harbor.URL(), "multi-dc-demo/app:v1", img, mad1.admin())
	digest, layer := layerOf(t, img)
	path := "/v2/multi-dc-demo/app/blobs/" + digest
	if a := s.do(t, http.MethodGet, path, nil); a.status != http.StatusUnauthorized {
		t.Errorf("anonymous: %d", a.status)
	}
	h := s.as(t, reader, "multi-dc-demo/app")
	a := s.do(t, http.MethodGet, path, h)
	same(t, "through the peer", a, layer)
	if !strings.Contains(a.header.Get("Cache-Status"), "peer-mad1") {
		t.Error(a.header.Get("Cache-Status"))
	}
	if a := s.do(t, http.MethodGet, strings.Replace(path, "/app/", "/other/", 1), s.as(t, reader, "multi-dc-demo/other")); a.status != http.StatusNotFound {
		t.Errorf("through a repo that does not hold it: %d", a.status)
	}
	if a := s.do(t, http.MethodHead, path, h); a.status != http.StatusOK || a.header.Get("Content-Length") != fmt.Sprint(len(layer)) {
		t.Errorf("a reader's HEAD: %d %v", a.status, a.header)
	}
	// Whoever may push asks whether an upload can be spared: not so, this Harbor has nothing.
	if a := s.do(t, http.MethodHead, path, s.as(t, writer, "multi-dc-demo/app")); a.status != http.StatusNotFound {
		t.Errorf("a writer's HEAD: %d", a.status)
	}
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v2", img, basic(writer, secret))
}

// Where a manifest was found, its blobs are asked for first.
func TestBlobsAreWhereTheirManifestWas(t *testing.T) {
	r := newRegion(t)
	s, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	img := image(t, 1000, 1)
	mustPush(t, drp1.harbor.URL(), "multi-dc-demo/app:v1", img, drp1.admin())
	digest, layer := layerOf(t, img)
	h := s.as(t, reader, "multi-dc-demo/app")
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	path := "/v2/multi-dc-demo/app/blobs/" + digest
	same(t, "the layer", s.do(t, http.MethodGet, path, h), layer)
	if n := mad1.harbor.Requests()["GET "+path]; n != 0 {
		t.Errorf("mad1, which had not the manifest, was asked %d times for the layer", n)
	}
}

// A purge of the fleet removes content from every edge, and says who could not be asked.
func TestAPurgeOfTheFleet(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	img := image(t, 1000, 1)
	digest, _ := layerOf(t, img)
	for _, site := range r.sites {
		mustPush(t, site.harbor.URL(), "multi-dc-demo/app:v1", img, site.admin())
		site.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest, site.as(t, reader, "multi-dc-demo/app"))
	}
	mux := http.NewServeMux()
	s.edge.Config.Handler.(*proxy.Handler).Admin(mux)
	purge := func() string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/purge?fleet=true&digest="+digest, nil))
		return w.Body.String()
	}
	if got, want := purge(), `{"digest":"`+digest+`","purged":true,"peers":[{"datacenter":"mad1","purged":true},{"datacenter":"drp1","purged":true}]}`+"\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r.sites[2].edge.Close()
	if got := purge(); !strings.Contains(got, `"mad1","purged":false}`) || !strings.Contains(got, `"drp1","purged":false,"error":"it does not answer`) {
		t.Error(got)
	}
	for name, authorization := range map[string]string{"nobody": "", "a client": s.as(t, reader, "multi-dc-demo/app")["Authorization"]} {
		if a := s.do(t, http.MethodPost, peer.Path+"/purge?digest="+digest, map[string]string{"Authorization": authorization}); a.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

// What is pretended to come from a peer opens nothing.
func TestForgedPeers(t *testing.T) {
	r := newRegion(t)
	s, mad1 := r.sites[0], r.sites[1]
	img := image(t, 1000, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	digest, _ := layerOf(t, img)
	signFor := func(purpose keyring.Purpose, key string, method jwt.SigningMethod, claims jwt.MapClaims) string {
		by := trial.Keys(key, "").For(purpose)[0]
		var with any = by.Secret
		if method == jwt.SigningMethodNone {
			with = jwt.UnsafeAllowNoneSignatureType
		}
		token := jwt.NewWithClaims(method, claims)
		token.Header["kid"] = by.ID
		raw, err := token.SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + raw
	}
	sign := func(key string, method jwt.SigningMethod, claims jwt.MapClaims) string {
		return signFor(keyring.Peers, key, method, claims)
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	good := jwt.MapClaims{"iss": "breakwater-edge", "sub": "mad1", "aud": "par1", "exp": in(time.Minute)}
	with := func(name string, value any) jwt.MapClaims {
		claims := jwt.MapClaims{}
		for k, v := range good {
			claims[k] = v
		}
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
		return claims
	}
	client := s.as(t, reader, "multi-dc-demo/app")["Authorization"]
	for name, authorization := range map[string]string{
		"nothing": "", "a client's token": client, "another key": sign(peerSecret+"x", jwt.SigningMethodHS256, good), "no key": sign(peerSecret, jwt.SigningMethodNone, good),
		"a key of another purpose": signFor(keyring.Tokens, peerSecret, jwt.SigningMethodHS256, good),
		"for another datacenter":   sign(peerSecret, jwt.SigningMethodHS256, with("aud", "mad1")), "from itself": sign(peerSecret, jwt.SigningMethodHS256, with("sub", "par1")),
		"over": sign(peerSecret, jwt.SigningMethodHS256, with("exp", in(-time.Hour))), "for ever": sign(peerSecret, jwt.SigningMethodHS256, with("exp", nil)),
		"of nobody": sign(peerSecret, jwt.SigningMethodHS256, with("sub", nil)), "Basic": "Basic cm9ib3Q6eA==",
	} {
		for _, path := range []string{manifests("multi-dc-demo/app"), "/v2/multi-dc-demo/app/blobs/" + digest} {
			a := s.do(t, http.MethodGet, peer.Path+path, map[string]string{"Authorization": authorization})
			if a.status != http.StatusForbidden || strings.Contains(string(a.body), digest) {
				t.Errorf("%s: %d %.100s", name, a.status, a.body)
			}
		}
	}
	mad1s := map[string]string{"Authorization": sign(peerSecret, jwt.SigningMethodHS256, good)}
	if a := s.do(t, http.MethodGet, peer.Path+manifests("multi-dc-demo/app"), mad1s); a.status != http.StatusOK {
		t.Errorf("the real one: %d %s", a.status, a.body)
	}
	// Neither pushes nor plain projects, and no question goes further.
	for _, c := range []struct{ method, path string }{{http.MethodPut, manifests("multi-dc-demo/app")}, {http.MethodDelete, manifests("multi-dc-demo/app")}, {http.MethodGet, manifests("plain/app")}, {http.MethodGet, "/v2/_catalog"}} {
		if a := s.do(t, c.method, peer.Path+c.path, mad1s); a.status < 400 {
			t.Errorf("%s %s: %d", c.method, c.path, a.status)
		}
	}
	mad1.harbor.ResetRequests()
	if a := s.do(t, http.MethodGet, peer.Path+manifests("multi-dc-demo/nothing"), mad1s); a.status != http.StatusNotFound || len(mad1.harbor.Requests()) > 0 {
		t.Errorf("%d; the next peer was asked: %v", a.status, mad1.harbor.Requests())
	}
	// A client's own word that others have been asked changes nothing.
	forged := map[string]string{"Authorization": client, "Breakwater-Asked": "par1, mad1, drp1"}
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), forged); a.status != http.StatusOK {
		t.Errorf("%d", a.status)
	}
}

// A datacenter that does not have the cache cannot know what its upstream has.
func TestAPeerWithoutTheCacheSaysNothing(t *testing.T) {
	r := newRegion(t, freshFor(time.Minute))
	s, repo := r.sites[0], "cache-here/library/app"
	if err := s.harbor.CreateCache("cache-here", "docker-registry", r.hub.URL(), true); err != nil {
		t.Fatal(err)
	}
	mustPush(t, r.hub.URL(), "library/app:v1", image(t, 1000, 1), authn.Anonymous)
	h := s.anonymous(t, repo)
	if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: content}); err != nil {
		t.Fatal(err)
	}
	if a := s.do(t, http.MethodGet, manifests(repo), h); a.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.harbor.ClearFaults()
	if a := s.do(t, http.MethodGet, manifests(repo), h); a.status != http.StatusOK {
		t.Errorf("when Harbor is well again: %d %s", a.status, a.body)
	}
}

// Two edges that want a blob at once, which a third has, ask each other too: neither waits
// for the other.
func TestTwoEdgesThatWantTheSameBlob(t *testing.T) {
	r := newRegion(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Deadline = time.Minute })
	for n := range 20 {
		img := image(t, 1000, byte(n))
		tag := fmt.Sprintf("multi-dc-demo/app:v%d", n)
		mustPush(t, r.sites[2].edge.URL, tag, img, basic(writer, secret)) // whom both ask last
		digest, layer := layerOf(t, img)
		var both sync.WaitGroup
		begun := time.Now()
		for _, s := range r.sites[:2] {
			both.Go(func() {
				same(t, digest, s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest, s.as(t, reader, "multi-dc-demo/app")), layer)
			})
		}
		if both.Wait(); time.Since(begun) > 30*time.Second {
			t.Fatalf("%d: they waited for each other", n)
		}
	}
}
