package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

func remembering(t *testing.T) option {
	return func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		memory, err := state.Open(t.TempDir()+"/state.db", p.Log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { memory.Close() })
		a.Members, p.State = memory, memory
	}
}

func (s *site) tags(t *testing.T, repo, query string, h map[string]string) (tags []string, a answer) {
	t.Helper()
	a = s.do(t, http.MethodGet, "/v2/"+repo+"/tags/list"+query, h)
	var list struct {
		Name string
		Tags []string
	}
	if a.status == http.StatusOK && (json.Unmarshal(a.body, &list) != nil || list.Name != repo) {
		t.Errorf("%s", a.body)
	}
	return list.Tags, a
}

// A proxy cache's list shrinks without a sign when the upstream is away: the
// edge's does not, and forgets what the upstream itself has removed.
func TestTagsOfACacheDoNotShrink(t *testing.T) {
	r := newRegion(t, remembering(t))
	s := r.sites[0]
	repo := "cache-dockerhub/library/app"
	for i := range 5 {
		mustPush(t, r.hub.URL(), fmt.Sprintf("library/app:v%d", i), image(t, 100, byte(i)), authn.Anonymous)
	}
	h := s.anonymous(t, repo)
	want := "[v0 v1 v2 v3 v4]"
	check := func(what, want, status string) {
		t.Helper()
		tags, a := s.tags(t, repo, "", h)
		if fmt.Sprint(tags) != want || !strings.Contains(a.header.Get("Cache-Status"), status) {
			t.Errorf("%s: %d %v, %s", what, a.status, tags, a.header.Get("Cache-Status"))
		}
	}
	check("all well", want, "detail=harbor")
	// Harbor holds one of them, and that is what it lists without its upstream.
	r.warm(t, s, cell{repo: repo, image: image(t, 100, 1), header: h})
	for _, fault := range []string{"down", "500", "429", "html"} {
		if err := r.hub.SetFaults(lab.Fault{Name: fault}); err != nil {
			t.Fatal(err)
		}
		check("upstream "+fault, want, "stale")
	}
	r.hub.ClearFaults()
	check("upstream back", want, "fwd=miss")
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	check("Harbor down", want, "")
	if err := r.hub.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	for _, peer := range r.sites[1:] {
		peer.edge.Close()
	}
	check("everything down", want, "stale")
	if _, a := s.tags(t, "cache-dockerhub/library/never", "", s.header(t, repo)); a.status == http.StatusOK {
		t.Error("a list of what nobody knows")
	}
}

// A list that is a peer's, or everybody's, and one that nobody can tell.
func TestTagsOfAReplicatedRepo(t *testing.T) {
	r := newRegion(t, remembering(t))
	s, mad1 := r.sites[0], r.sites[1]
	h := s.as(t, reader, "multi-dc-demo/app")
	if _, a := s.tags(t, "multi-dc-demo/app", "", h); a.status != http.StatusNotFound || a.code() != "NAME_UNKNOWN" {
		t.Errorf("nobody has it: %d %s", a.status, a.body)
	}
	mustPush(t, mad1.harbor.URL(), "multi-dc-demo/app:v1", image(t, 100, 1), mad1.admin())
	if tags, a := s.tags(t, "multi-dc-demo/app", "", h); fmt.Sprint(tags) != "[v1]" {
		t.Errorf("a peer has it: %d %v", a.status, tags)
	}
	for i := range 5 {
		mustPush(t, s.harbor.URL(), fmt.Sprintf("multi-dc-demo/app:w%d", i), image(t, 100, byte(i)), s.admin())
	}
	if tags, _ := s.tags(t, "multi-dc-demo/app", "", h); fmt.Sprint(tags) != "[w0 w1 w2 w3 w4]" {
		t.Errorf("%v", tags)
	}
	tags, a := s.tags(t, "multi-dc-demo/app", "?n=2", h)
	if link := a.header.Get("Link"); fmt.Sprint(tags) != "[w0 w1]" || link != `</v2/multi-dc-demo/app/tags/list?last=w1&n=2>; rel="next"` {
		t.Errorf("%v, %s", tags, link)
	}
	if tags, a := s.tags(t, "multi-dc-demo/app", "?n=3&last=w1", h); fmt.Sprint(tags) != "[w2 w3 w4]" || a.header.Get("Link") != "" {
		t.Errorf("%v, %s", tags, a.header.Get("Link"))
	}
	if tags, _ := s.tags(t, "multi-dc-demo/app", "?n=2&last=w1-that-was-deleted", h); fmt.Sprint(tags) != "[w2 w3]" {
		t.Errorf("behind a tag that is none: %v", tags)
	}
	if tags, _ := s.tags(t, "multi-dc-demo/app", "?n=0", h); len(tags) != 0 {
		t.Errorf("%v", tags)
	}
	for _, n := range []string{"x", "-1"} {
		if _, a := s.tags(t, "multi-dc-demo/app", "?n="+n, h); a.status != http.StatusBadRequest || a.code() != "PAGINATION_NUMBER_INVALID" {
			t.Errorf("n=%s: %d %s", n, a.status, a.body)
		}
	}
	if _, a := s.tags(t, "multi-dc-demo/app", "", nil); a.status != http.StatusUnauthorized {
		t.Errorf("without a login: %d", a.status)
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "db-down"}); err != nil {
		t.Fatal(err)
	}
	if tags, _ := s.tags(t, "multi-dc-demo/app", "", h); fmt.Sprint(tags) != "[v1 w0 w1 w2 w3 w4]" {
		t.Errorf("Harbor's database is down: %v", tags)
	}
}

// referring makes an artifact that refers to img.
func referring(t *testing.T, img v1.Image, artifactType string) v1.Image {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, _ := img.Size()
	subject := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: d, Size: size}
	artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(artifactType))
	return mutate.Subject(artifact, subject).(v1.Image)
}

func (s *site) referrers(t *testing.T, repo string, img v1.Image, query string, h map[string]string) (digests []string, a answer) {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	a = s.do(t, http.MethodGet, "/v2/"+repo+"/referrers/"+d.String()+query, h)
	var index struct {
		SchemaVersion int
		MediaType     string
		Manifests     []struct{ Digest string }
	}
	if a.status == http.StatusOK && (json.Unmarshal(a.body, &index) != nil || index.SchemaVersion != 2 || a.header.Get("Content-Type") != "application/vnd.oci.image.index.v1+json") {
		t.Errorf("%v %s", a.header, a.body)
	}
	for _, m := range index.Manifests {
		digests = append(digests, m.Digest)
	}
	return digests, a
}

// A signature is found wherever it is, and "not signed" is said by nobody who
// cannot know.
func TestReferrers(t *testing.T) {
	r := newRegion(t, remembering(t))
	s, mad1 := r.sites[0], r.sites[1]
	img := image(t, 100, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	mustPush(t, mad1.harbor.URL(), "multi-dc-demo/app:v1", img, mad1.admin())
	h := s.as(t, reader, "multi-dc-demo/app")
	if digests, a := s.referrers(t, "multi-dc-demo/app", img, "", h); a.status != http.StatusOK || len(digests) != 0 || !strings.Contains(string(a.body), `"manifests":[]`) {
		t.Errorf("none: %d %s", a.status, a.body)
	}
	signature := referring(t, img, "application/vnd.example.signature")
	mustPush(t, mad1.harbor.URL(), "multi-dc-demo/app:sig", signature, mad1.admin())
	want, _ := signature.Digest()
	if digests, a := s.referrers(t, "multi-dc-demo/app", img, "", h); fmt.Sprint(digests) != "["+want.String()+"]" {
		t.Errorf("signed in another datacenter: %d %s", a.status, a.body)
	}
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:sbom", referring(t, img, "application/vnd.example.sbom"), s.admin())
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:sig", signature, s.admin())
	if digests, a := s.referrers(t, "multi-dc-demo/app", img, "?artifactType=application/vnd.example.signature", h); fmt.Sprint(digests) != "["+want.String()+"]" || a.header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered: %v %s", a.header, a.body)
	}
	if digests, _ := s.referrers(t, "multi-dc-demo/app", img, "", h); len(digests) != 2 {
		t.Errorf("%v", digests)
	}
	for _, site := range r.sites {
		if err := site.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
			t.Fatal(err)
		}
	}
	if digests, a := s.referrers(t, "multi-dc-demo/app", img, "", h); len(digests) != 2 || !strings.Contains(a.header.Get("Cache-Status"), "stale") {
		t.Errorf("everything is down: %d %s", a.status, a.body)
	}
	if _, a := s.referrers(t, "multi-dc-demo/app", signature, "", h); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("nobody can tell: %d %s", a.status, a.body)
	}
}

// Harbor's proxy cache does not ask its upstream for referrers; the edge does, by
// the tag where the upstream has no API for them.
func TestReferrersOfAnUpstream(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	img := image(t, 100, 1)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	signature := referring(t, img, "application/vnd.example.signature")
	mustPush(t, r.hub.URL(), "library/app:sig", signature, authn.Anonymous)
	d, _ := img.Digest()
	want, _ := signature.Digest()
	size, _ := signature.Size()
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"artifactType":"application/vnd.example.signature"}]}`, want, size)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.hub.URL()+"/v2/library/app/manifests/"+strings.Replace(d.String(), ":", "-", 1), strings.NewReader(index))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}
	if digests, a := s.referrers(t, "cache-dockerhub/library/app", img, "", s.anonymous(t, "cache-dockerhub/library/app")); fmt.Sprint(digests) != "["+want.String()+"]" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A node names the registry that it means by ?ns= or by the path of its mirror;
// the names are a closed table.
func TestMirrors(t *testing.T) {
	r := newRegion(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Namespaces[0].Host = "docker.io" })
	s := r.sites[0]
	img := image(t, 1000, 1)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	raw, _ := img.RawManifest()
	digest, layer := layerOf(t, img)
	h := s.anonymous(t, "cache-dockerhub/library/app")
	for _, c := range []struct{ prefix, query string }{
		{"/v2/library/app", "?ns=docker.io"}, {"/v2/library/app", "?ns=cache-dockerhub"}, {"/v2/cache-dockerhub/library/app", "?ns=docker.io"},
		{"/cache-dockerhub/v2/library/app", ""}, {"/docker.io/v2/library/app", ""}, {"/cache-dockerhub/v2/library/app", "?ns=docker.io"},
	} {
		same(t, c.prefix+c.query, s.do(t, http.MethodGet, c.prefix+"/manifests/v1"+c.query, h), raw)
		same(t, c.prefix+c.query, s.do(t, http.MethodGet, c.prefix+"/blobs/"+digest+c.query, h), layer)
		a := s.do(t, http.MethodGet, c.prefix+"/manifests/v1"+c.query, nil)
		if challenge := a.header.Get("WWW-Authenticate"); a.status != http.StatusUnauthorized || !strings.Contains(challenge, `scope="repository:cache-dockerhub/library/app:pull`) || !strings.Contains(challenge, `realm="`+s.edge.URL+"/service/token") {
			t.Errorf("%s%s: %d %s", c.prefix, c.query, a.status, challenge)
		}
	}
	for _, path := range []string{"/v2/", "/v2/?ns=docker.io", "/cache-dockerhub/v2/"} {
		if a := s.do(t, http.MethodGet, path, nil); a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	s.harbor.ResetRequests()
	for _, path := range []string{"/v2/app/manifests/v1?ns=quay.io", "/v2/app/manifests/v1?ns=127.0.0.1:1", "/v2/app/blobs/" + digest + "?ns=x", "/v2/?ns=evil.example.org"} {
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusNotFound || a.code() != "NAME_UNKNOWN" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if n := len(s.harbor.Requests()); n != 0 {
		t.Errorf("Harbor was asked: %v", s.harbor.Requests())
	}
	if a := s.do(t, http.MethodPut, "/v2/library/app/manifests/v1?ns=docker.io", h); a.status != http.StatusForbidden && a.status != http.StatusUnauthorized {
		t.Errorf("a push: %d", a.status)
	}
}

// A tag that was removed everywhere is not listed again because it was there once.
func TestTagsThatAreGoneEverywhere(t *testing.T) {
	r := newRegion(t, remembering(t))
	s, mad1 := r.sites[0], r.sites[1]
	h := s.as(t, reader, "multi-dc-demo/app")
	kept, gone := image(t, 100, 1), image(t, 100, 2)
	for reference, img := range map[string]v1.Image{"multi-dc-demo/app:kept": kept, "multi-dc-demo/app:gone": gone} {
		mustPush(t, s.harbor.URL(), reference, img, s.admin())
	}
	mustPush(t, mad1.harbor.URL(), "multi-dc-demo/app:kept", kept, mad1.admin())
	if tags, _ := s.tags(t, "multi-dc-demo/app", "", h); fmt.Sprint(tags) != "[gone kept]" {
		t.Errorf("before: %v", tags)
	}
	for _, img := range []v1.Image{kept, gone} { // as a Harbor that was built anew
		d, _ := img.Digest()
		r.request(t, http.MethodDelete, s.harbor.URL()+"/v2/multi-dc-demo/app/manifests/"+d.String(), s, http.StatusAccepted)
	}
	if tags, _ := s.tags(t, "multi-dc-demo/app", "", h); fmt.Sprint(tags) != "[kept]" {
		t.Errorf("after: %v", tags)
	}
}
