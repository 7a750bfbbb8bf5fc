package proxy_test

import (
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
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
