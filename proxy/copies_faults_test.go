package proxy_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"example.org/breakwater/internal/lab"
)

// indexOf is an index of images.
func indexOf(t *testing.T, imgs ...v1.Image) string {
	t.Helper()
	var parts []string
	for _, img := range imgs {
		mt, _ := img.MediaType()
		parts = append(parts, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mt, digestOf(t, img), len(manifestOf(t, img))))
	}
	return `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + strings.Join(parts, ",") + `]}`
}

func manifestOf(t *testing.T, img v1.Image) string {
	t.Helper()
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// leaves has a site's edge answer as what stands before one that is gone.
func (s *site) leaves(t *testing.T) {
	s.becomes(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
}

// becomes has another server answer at the address of a site's edge.
func (s *site) becomes(t *testing.T, handler http.Handler) {
	t.Helper()
	s.stops()
	s.answers(t, handler)
}

// atHomes is a region whose project par1 and mad1 are to hold, and what they have from before
// there were versions: an image and its signature.
func atHomes(t *testing.T, options ...option) (par1, mad1, drp1 *site, img, signature v1.Image) {
	t.Helper()
	r := newRegion(t, append(options, keptAt("par1", "mad1"))...)
	img = image(t, 1000, 1)
	signature = referring(t, img, "application/vnd.example.signature")
	for _, home := range r.sites[:2] {
		mustPush(t, home.harbor.URL(), kept+":v1", img, home.admin())
		mustPush(t, home.harbor.URL(), kept+":sig", signature, home.admin())
	}
	return r.sites[0], r.sites[1], r.sites[2], img, signature
}

// What keeps a manifest at the homes, as an index that names it, is not where its Harbor is none:
// they decide about deletes.
func TestItsHomesDecideAboutDeletes(t *testing.T) {
	par1, mad1, drp1, img, _ := atHomes(t)
	other := image(t, 1000, 2)
	mustPush(t, drp1.edge.URL, kept+":other", other, basic(writer, secret)) // which it has too
	par1.harborGets(t, "other", digestOf(t, other))
	if a := par1.pushManifest(t, "multi", indexType, indexOf(t, img, other)); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	parts := []string{digestOf(t, img), digestOf(t, other)}
	for _, d := range parts {
		if a := drp1.request(t, http.MethodDelete, drp1.edge.URL+app+d, basicHeader(reader, secret), "", ""); a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
			t.Errorf("a reader: %d %s", a.status, a.body)
		}
		if a := drp1.request(t, http.MethodDelete, drp1.edge.URL+app+d, drp1.asAdmin(), "", ""); a.status != http.StatusMethodNotAllowed || a.code() != "UNSUPPORTED" || !strings.Contains(string(a.body), "par1, mad1") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if a := par1.request(t, http.MethodDelete, par1.edge.URL+app+parts[1], par1.asAdmin(), "", ""); a.status != http.StatusPreconditionFailed {
		t.Errorf("at a home: %d %s", a.status, a.body)
	}
	for _, s := range []*site{par1, mad1, drp1} {
		for _, reference := range append(parts, "multi") {
			if a := s.do(t, http.MethodGet, app+reference, s.as(t, reader, kept)); a.status != http.StatusOK {
				t.Errorf("%s: %d %s", reference, a.status, a.body)
			}
		}
	}
}

// What nobody else has is deleted where it is.
func TestWhatNoHomeHasIsDeletedWhereItIs(t *testing.T) {
	_, _, drp1, _, _ := atHomes(t)
	img := image(t, 1000, 2)
	mustPush(t, drp1.harbor.URL(), kept+":v2", img, drp1.admin())
	if a := drp1.request(t, http.MethodDelete, drp1.edge.URL+app+digestOf(t, img), drp1.asAdmin(), "", ""); a.status != http.StatusAccepted {
		t.Errorf("%d %s", a.status, a.body)
	}
	drp1.harborLoses(t, "v2", digestOf(t, img))
}

// An index of what the homes have is pushed where Harbor has none of it.
func TestAnIndexOfWhatItsHomesHave(t *testing.T) {
	par1, _, drp1, img, _ := atHomes(t)
	other := image(t, 1000, 2)
	mustPush(t, par1.harbor.URL(), kept+":other", other, par1.admin())
	if a := drp1.pushManifest(t, "multi", indexType, indexOf(t, img, other)); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, d := range []string{digestOf(t, img), digestOf(t, other)} {
		if drp1.harborHas(t, d) != d {
			t.Errorf("Harbor has not %s, which the index names", d)
		}
	}
	if a := drp1.pushManifest(t, "broken", indexType, indexOf(t, image(t, 1000, 3))); a.status != http.StatusNotFound && a.status != http.StatusBadRequest {
		t.Errorf("an index of what nobody has: %d %s", a.status, a.body)
	}
}

// One of its homes is away: what the others have is told.
func TestReferrersWhereOneHomeIsAway(t *testing.T) {
	par1, _, drp1, img, signature := atHomes(t)
	mustPush(t, drp1.edge.URL, kept+":sbom", referring(t, img, "application/vnd.example.sbom"), basic(writer, secret))
	par1.leaves(t)
	if digests, a := drp1.referrers(t, kept, img, "", drp1.as(t, reader, kept)); !slices.Contains(digests, digestOf(t, signature)) || len(digests) != 2 {
		t.Errorf("%d %s", a.status, digests)
	}
}

// While all homes are away nobody says that there is nothing: not to sign, to list, to pull, to
// delete, nor to tag.
func TestWhileItsHomesAreAway(t *testing.T) {
	par1, mad1, drp1, img, _ := atHomes(t)
	mustPush(t, drp1.edge.URL, kept+":own", image(t, 1000, 2), basic(writer, secret))
	h := drp1.as(t, reader, kept)
	par1.leaves(t)
	mad1.leaves(t)
	if digests, a := drp1.referrers(t, kept, img, "", h); a.status != http.StatusServiceUnavailable {
		t.Errorf("its signatures: %d %s", a.status, digests)
	}
	if tags, a := drp1.tags(t, kept, "", h); a.status != http.StatusServiceUnavailable {
		t.Errorf("its tags: %d %s", a.status, tags)
	}
	for _, reference := range []string{"v1", digestOf(t, img), "nothing"} {
		if a := drp1.do(t, http.MethodGet, app+reference, h); a.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", reference, a.status)
		}
	}
	if a := drp1.request(t, http.MethodDelete, drp1.edge.URL+app+digestOf(t, img), drp1.asAdmin(), "", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("a delete: %d %s", a.status, a.body)
	}
	mediaType, _ := img.MediaType()
	if a := drp1.request(t, http.MethodPut, drp1.edge.URL+app+"v2", basicHeader(writer, secret), string(mediaType), manifestOf(t, img)); a.status != http.StatusServiceUnavailable {
		t.Errorf("a tag: %d %s", a.status, a.body)
	}
}

// A list that a peer has asked for is a part, and is not remembered as the whole.
func TestAPeersListIsNotTheWhole(t *testing.T) {
	par1, mad1, drp1, img, _ := atHomes(t, remembering(t))
	mustPush(t, drp1.harbor.URL(), kept+":sbom", referring(t, img, "application/vnd.example.sbom"), drp1.admin())
	h, theirs := drp1.as(t, reader, kept), par1.as(t, reader, kept)
	drp1.tags(t, kept, "", h)
	drp1.referrers(t, kept, img, "", h)
	for _, home := range []*site{par1, mad1} {
		home.fails(t, lab.Fault{Name: "500", Path: "tags/list|referrers"})
	}
	par1.tags(t, kept, "", theirs)
	par1.referrers(t, kept, img, "", theirs)
	par1.leaves(t)
	mad1.leaves(t)
	if tags, a := drp1.tags(t, kept, "", h); !slices.Equal(tags, []string{"sbom", "sig", "v1"}) {
		t.Errorf("%d %s", a.status, tags)
	}
	if digests, a := drp1.referrers(t, kept, img, "", h); len(digests) != 2 {
		t.Errorf("%d %s", a.status, digests)
	}
}

// What a client was told is pushed comes to the homes, though its Harbor forgets it meanwhile.
func TestAPushOutlivesItsHarborWhereThatIsNoHome(t *testing.T) {
	par1, mad1, drp1, _, _ := atHomes(t)
	backup, err := drp1.harbor.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	par1.fails(t, lab.Fault{Name: "down"})
	mad1.fails(t, lab.Fault{Name: "down"})
	img := image(t, 1000, 2)
	mustPush(t, drp1.edge.URL, kept+":v2", img, basic(writer, secret))
	if err := drp1.harbor.Restore(backup); err != nil {
		t.Fatal(err)
	}
	drp1.harborGets(t, "v2", digestOf(t, img))
	par1.fails(t)
	mad1.fails(t)
	par1.harborGets(t, "v2", digestOf(t, img))
	mad1.harborGets(t, "v2", digestOf(t, img))
}

// A push that its Harbor cannot take goes to one that is to hold it.
func TestAPushGoesToAHome(t *testing.T) {
	r := newRegion(t, keptAt("mad1"))
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	drp1.as(t, reader, kept)
	drp1.fails(t, lab.Fault{Name: "down"})
	img := image(t, 1000, 1)
	mustPush(t, drp1.edge.URL, kept+":v1", img, basic(writer, secret))
	if has := mad1.harborHas(t, "v1"); has != digestOf(t, img) {
		t.Errorf("the home has %q", has)
	}
	if has := par1.harborHas(t, "v1"); has != "" {
		t.Errorf("who is none has %q", has)
	}
}
