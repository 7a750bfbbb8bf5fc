package proxy_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"example.org/breakwater/internal/lab"
)

// babel is a fleet in which each source has something else under one name: what is
// served shows who was asked.
type babel struct {
	*region
	project string
}

// named is a repo with a tag that means something else at each source.
type named struct {
	repo, upstream string              // as clients and as the upstream call it
	has            map[string]v1.Image // by source
	header         map[string]string   // a client's
}

const hub = "upstream-dockerhub"

// order is the order in which sources are asked; the two peers at once.
var order = []string{"harbor", "peer-mad1", "peer-drp1", hub}

// fill makes the ith name. The Harbors' proxy caches hold what the upstream had before.
func (b *babel) fill(t *testing.T, i int) named {
	t.Helper()
	n := named{repo: fmt.Sprintf("%s/app%d", b.project, i), upstream: fmt.Sprintf("library/app%d", i), has: map[string]v1.Image{}}
	cached := strings.HasPrefix(b.project, "cache-")
	if cached {
		n.repo = b.project + "/" + n.upstream
	}
	for k, source := range order {
		img := image(t, 1000+k, byte(i*len(order)+k)) // nor are they of one length
		n.has[source] = img
		if source == hub || cached {
			mustPush(t, b.hub.URL(), n.upstream+":v1", img, authn.Anonymous)
		}
		switch {
		case source == hub:
		case cached:
			digest, _ := layerOf(t, img)
			config, err := img.ConfigName()
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{manifests(n.repo), "/v2/" + n.repo + "/blobs/" + digest, "/v2/" + n.repo + "/blobs/" + config.String()} {
				b.request(t, http.MethodGet, b.sites[k].harbor.URL()+path, b.sites[k], http.StatusOK)
			}
		default:
			mustPush(t, b.sites[k].harbor.URL(), n.repo+":v1", img, b.sites[k].admin())
		}
	}
	n.header = b.sites[0].as(t, reader, n.repo)
	return n
}

// down takes sources away, and nobody else.
func (b *babel) down(t *testing.T, sources []string) {
	t.Helper()
	for k, source := range order {
		set := b.hub.SetFaults
		if source != hub {
			set = b.sites[k].harbor.SetFaults
		}
		var faults []lab.Fault
		if slices.Contains(sources, source) {
			faults = append(faults, lab.Fault{Name: "down"})
		}
		if err := set(faults...); err != nil {
			t.Fatal(err)
		}
	}
}

// asked tells whether a source's registry was asked for anything of the name.
func (b *babel) asked(n named, source string) bool {
	requests, repo := b.hub.Requests(), n.upstream
	if source != hub {
		requests, repo = b.sites[slices.Index(order, source)].harbor.Requests(), n.repo
	}
	for request := range requests {
		if strings.Contains(request, "/v2/"+repo+"/") {
			return true
		}
	}
	return false
}

// turn is what is served while sources are down: from whom, and whose content. "a peer"
// is either of them, "" is nobody.
type turn struct{ from, content string }

func own(sources ...string) (all []turn) {
	for _, s := range sources {
		all = append(all, turn{s, s})
	}
	return all
}

// A tag and its layer come from the first source of the order that can say, and from it
// alone: the bytes are its own, the answer names it, and nobody behind it is asked.
func TestEverySourceInItsTurn(t *testing.T) {
	for name, c := range map[string]struct {
		project string
		dead    []string // one of them more before each turn but the first
		turns   []turn
	}{
		"multi-dc-*":                      {"multi-dc-demo", []string{"harbor", "peer-mad1", "peer-drp1"}, own("harbor", "a peer", "peer-drp1", "")},
		"multi-dc-*, the other peer":      {"multi-dc-demo", []string{"harbor", "peer-drp1", "peer-mad1"}, own("harbor", "a peer", "peer-mad1", "")},
		"repl-*":                          {"repl-core", []string{"harbor", "peer-mad1", "peer-drp1", hub}, own("harbor", "a peer", "peer-drp1", hub, "")},
		"repl-*, the upstream dies first": {"repl-core", []string{hub, "harbor", "peer-mad1", "peer-drp1"}, own("harbor", "harbor", "a peer", "peer-drp1", "")},
		"cache-*": {"cache-dockerhub", []string{"harbor", "peer-mad1", "peer-drp1", hub},
			[]turn{{"harbor", hub}, {"a peer", hub}, {"peer-drp1", hub}, {hub, hub}, {}}},
		"cache-*, the upstream dies first": {"cache-dockerhub", []string{hub, "harbor", "peer-mad1", "peer-drp1"},
			append([]turn{{"harbor", hub}}, own("harbor", "a peer", "peer-drp1", "")...)},
		"cache-*, and then the other peer": {"cache-dockerhub", []string{hub, "harbor", "peer-drp1"},
			append([]turn{{"harbor", hub}}, own("harbor", "a peer", "peer-mad1")...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &babel{newRegion(t), c.project}
			var names []named
			for i := range c.turns {
				names = append(names, b.fill(t, i))
			}
			first := v1.Image(nil)
			for i, n := range names {
				b.down(t, c.dead[:i])
				served := b.take(t, n, c.turns[i])
				if i == 0 {
					first = served
				}
			}
			if c.turns[len(c.turns)-1].from == "" {
				b.copyOf(t, names[0], first)
			}
		})
	}
}

// take pulls a name of which nothing is held, and returns the image that was served.
func (b *babel) take(t *testing.T, n named, turn turn) v1.Image {
	t.Helper()
	for _, s := range b.sites {
		s.harbor.ResetRequests()
	}
	b.hub.ResetRequests()
	s := b.sites[0]
	a := s.do(t, http.MethodGet, manifests(n.repo), n.header)
	if turn.from == "" {
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s of nobody: %d %v", n.repo, a.status, a.header)
		}
		return nil
	}
	from := detail(a)
	if from != turn.from && (turn.from != "a peer" || !strings.HasPrefix(from, "peer-")) {
		t.Errorf("%s is from %q, want %s", n.repo, from, turn.from)
	}
	content := turn.content
	if content == "a peer" {
		content = from
	}
	img := n.has[content]
	if img == nil {
		t.Fatalf("%s: %d from %q", n.repo, a.status, from)
	}
	raw, _ := img.RawManifest()
	same(t, n.repo+" as "+content+" has it", a, raw)
	if got := a.header.Get("Docker-Content-Digest"); got != digestOf(t, img) {
		t.Errorf("%s: the digest is %q", n.repo, got)
	}
	digest, layer := layerOf(t, img)
	blob := s.do(t, http.MethodGet, "/v2/"+n.repo+"/blobs/"+digest, n.header)
	same(t, "the layer of "+n.repo, blob, layer)
	both := turn.from == "a peer" && content == hub // their caches have the same layer
	if got := detail(blob); got != from && !(both && strings.HasPrefix(got, "peer-")) {
		t.Errorf("the manifest of %s is from %s, its layer from %q", n.repo, from, got)
	}
	last := slices.Index(order, from)
	if strings.HasPrefix(from, "peer-") {
		last = slices.Index(order, "peer-drp1") // they are asked at once
	}
	for _, behind := range order[last+1:] {
		if through := behind == hub && strings.HasPrefix(b.project, "cache-"); !through && b.asked(n, behind) { // the Harbors' caches ask the upstream
			t.Errorf("%s is from %s, and %s was asked", n.repo, from, behind)
		}
	}
	return img
}

// copyOf pulls what is held while nobody can say whether it is still right.
func (b *babel) copyOf(t *testing.T, n named, img v1.Image) {
	t.Helper()
	raw, _ := img.RawManifest()
	digest, layer := layerOf(t, img)
	a := b.sites[0].do(t, http.MethodGet, manifests(n.repo), n.header)
	same(t, "the copy of "+n.repo, a, raw)
	if got := a.header.Get("Cache-Status"); !strings.Contains(got, "hit; fwd=stale") {
		t.Errorf("the copy of %s: %s", n.repo, got)
	}
	same(t, "the copy of its layer", b.sites[0].do(t, http.MethodGet, "/v2/"+n.repo+"/blobs/"+digest, n.header), layer)
}

// detail is the source that an answer names.
func detail(a answer) string {
	_, from, _ := strings.Cut(a.header.Get("Cache-Status"), "detail=")
	from, _, _ = strings.Cut(from, ";")
	return from
}
