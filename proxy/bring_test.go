package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// What was pushed through one edge can be tagged and deleted through another one at once, before
// its content is in the Harbor there; that Harbor decides who may.
func TestWhatHarborLacksIsBroughtForAWrite(t *testing.T) {
	const repo, other = "multi-dc-demo/app", "multi-dc-demo/other"
	r := newRegion(t)
	par1, mad1 := r.sites[0], r.sites[1]
	put := func(tag, who, body string) answer {
		return mad1.request(t, http.MethodPut, mad1.edge.URL+"/v2/"+repo+"/manifests/"+tag, basicHeader(who, secret), string(types.DockerManifestSchema2), body)
	}
	img, strange := image(t, 100<<10, 1), image(t, 1000, 2)
	raw, _ := img.RawManifest()
	mustPush(t, par1.edge.URL, repo+":v1", img, basic(writer, secret))
	mustPush(t, par1.edge.URL, other+":v1", strange, basic(writer, secret))
	same(t, "at the other edge", mad1.do(t, http.MethodGet, manifests(repo), mad1.as(t, reader, repo)), raw)
	if has := mad1.harborHas(t, "v1"); has != "" {
		t.Fatalf("Harbor has it already: %s", has)
	}

	if a := put("v2", reader, string(raw)); a.status/100 == 2 {
		t.Errorf("a reader tags: %d", a.status)
	}
	if has := mad1.harborHas(t, "v2"); has != "" {
		t.Errorf("it was brought for a reader: %s", has)
	}
	if a := put("v2", writer, string(raw)); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	d, layer := layerOf(t, img)
	if a := mad1.request(t, http.MethodGet, mad1.harbor.URL()+"/v2/"+repo+"/blobs/"+d, mad1.asAdmin(), "", ""); a.status != http.StatusOK || string(a.body) != string(layer) {
		t.Errorf("the layer in Harbor: %d, %d bytes", a.status, len(a.body))
	}
	theirs, _ := strange.RawManifest()
	if a := put("v3", writer, string(theirs)); a.status != http.StatusBadRequest {
		t.Errorf("what is of another repo: %d %s", a.status, a.body)
	}

	second := image(t, 1000, 3)
	mustPush(t, par1.edge.URL, repo+":gone", second, basic(writer, secret))
	digest, _ := second.Digest()
	target := mad1.edge.URL + "/v2/" + repo + "/manifests/"
	if a := mad1.request(t, http.MethodDelete, target+digest.String(), basicHeader(reader, secret), "", ""); a.status/100 == 2 {
		t.Errorf("a reader deletes: %d", a.status)
	}
	if a := mad1.request(t, http.MethodDelete, target+digest.String(), mad1.asAdmin(), "", ""); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, s := range r.sites {
		s.gone(t, "gone", digest.String())
		s.harborLoses(t, "gone", digest.String())
	}
	if a := mad1.request(t, http.MethodDelete, target+digest.String(), mad1.asAdmin(), "", ""); a.status != http.StatusNotFound {
		t.Errorf("a second delete: %d %s", a.status, a.body)
	}
}

// What was brought for a delete, and Harbor may not delete, as it is by then part of an index or
// has a tag that is immutable, is there as before, and the client has Harbor's own word for it.
func TestWhatIsBroughtAndMayNotBeDeleted(t *testing.T) {
	const rule = `{"action":"immutable","template":"immutable_template","tag_selectors":[{"kind":"doublestar","decoration":"matches","pattern":"v*"}],
		"scope_selectors":{"repository":[{"kind":"doublestar","decoration":"repoMatches","pattern":"**"}]}}`
	one := noteDigest("one")
	index := strings.Replace(note("index"), `"manifests":[]`, fmt.Sprintf(`"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]`, indexType, one, len(note("one"))), 1)
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, s *site) // before Harbor is asked again
		says      string
		asked     int64
	}{
		"a part of an index": {func(t *testing.T, s *site) {
			if a := s.request(t, http.MethodPut, s.harbor.URL()+app+"index", s.asAdmin(), indexType, index); a.status != http.StatusCreated {
				t.Errorf("%d %s", a.status, a.body)
			}
		}, "referenced by others", 3}, // it lacks it; it refuses; nothing that is deleted names it, and it refuses
		"an immutable tag": {func(t *testing.T, s *site) {
			for path, body := range map[string]string{"/immutabletagrules": rule, "/repositories/app/artifacts/" + one + "/tags": `{"name":"v1"}`} {
				if status, _ := s.harborCall(t, "/api/v2.0/projects/multi-dc-demo"+path, body); status != http.StatusCreated {
					t.Errorf("%s: %d", path, status)
				}
			}
		}, "configured as immutable", 2},
	} {
		t.Run(name, func(t *testing.T) {
			var mad1 *site
			var deletes atomic.Int64
			r := newRegion(t, func(_ *access.Config, p *proxy.Config, source *registry.SourceConfig) {
				if p.Datacenter != "mad1" {
					return
				}
				source.URL = before(t, source.URL, func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method == http.MethodDelete && deletes.Add(1) == 2 {
						c.meanwhile(t, mad1)
					}
					if r.Method != http.MethodPut || r.URL.Path != app+"v1" {
						return false
					}
					w.WriteHeader(http.StatusInternalServerError) // else the tag may be there before it is deleted
					return true
				})
			})
			mad1 = r.sites[1]
			if a := r.sites[0].pushNote(t, "v1", "one"); a.status != http.StatusCreated || !strings.Contains(a.header.Get("Breakwater-Acknowledged"), "mad1") {
				t.Fatalf("%d %v", a.status, a.header)
			}
			if a := mad1.request(t, http.MethodDelete, mad1.edge.URL+app+one, mad1.asAdmin(), "", ""); a.status != http.StatusPreconditionFailed || !strings.Contains(string(a.body), c.says) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if n := deletes.Load(); n != c.asked {
				t.Errorf("Harbor was asked %d times", n)
			}
			if has := mad1.harborHas(t, one); has != one {
				t.Errorf("Harbor has %q", has)
			}
			for _, s := range r.sites {
				for _, reference := range []string{"v1", one} {
					same(t, reference, s.pullNote(t, reference), []byte(note("one")))
				}
			}
		})
	}
}
