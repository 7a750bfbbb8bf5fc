package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

const kept = "multi-dc-demo/app"

// keptAt has the Harbors of some datacenters alone hold the project.
func keptAt(homes ...string) option {
	return func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Pace, p.Namespaces = 20*time.Millisecond, homesOf(p.Namespaces, p.Datacenter, homes)
	}
}

func homesOf(all []namespace.Namespace, datacenter string, homes []string) []namespace.Namespace {
	all = slices.Clone(all)
	for i := range all {
		if all[i].Kind == namespace.MultiDC {
			all[i] = all[i].HeldAt(homes, datacenter)
		}
	}
	return all
}

// harborGets waits until the site's Harbor has a digest under a tag.
func (s *site) harborGets(t *testing.T, tag, digest string) {
	t.Helper()
	trial.Until(t, func() error {
		if has := s.harborHas(t, tag); has != digest {
			return fmt.Errorf("Harbor has %q as %s, want %s", has, tag, digest)
		}
		return nil
	})
}

// What is pushed anywhere comes to the Harbors that are to hold its project, stays where it was
// pushed, and goes nowhere else. It is pulled from everywhere.
func TestAProjectIsHeldBySomeHarbors(t *testing.T) {
	metrics := counters{}
	r := newRegion(t, hooked(metrics), keptAt("par1", "mad1"))
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	one, two, three := image(t, 50<<10, 1), image(t, 50<<10, 2), image(t, 50<<10, 3)
	h := drp1.as(t, reader, kept)
	mustPush(t, par1.edge.URL, kept+":v1", one, basic(writer, secret))
	mad1.harborGets(t, "v1", digestOf(t, one))
	raw, _ := one.RawManifest()
	same(t, "away", drp1.do(t, http.MethodGet, manifests(kept), h), raw)
	layer, content := layerOf(t, one)
	same(t, "its layer", drp1.do(t, http.MethodGet, "/v2/"+kept+"/blobs/"+layer, h), content)

	mustPush(t, drp1.edge.URL, kept+":v2", two, basic(writer, secret))
	if has := drp1.harborHas(t, "v2"); has != digestOf(t, two) {
		t.Errorf("where it was pushed Harbor has %q", has)
	}
	for _, home := range []*site{par1, mad1} {
		home.harborGets(t, "v2", digestOf(t, two))
	}
	if tags, a := drp1.tags(t, kept, "", h); !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("its tags: %q, %d %s", tags, a.status, a.body)
	}
	mustPush(t, mad1.edge.URL, kept+":v2", three, basic(writer, secret)) // Harbor has the tag, and it is no other than elsewhere
	drp1.harborGets(t, "v2", digestOf(t, three))
	par1.harborGets(t, "v2", digestOf(t, three))
	if has := drp1.harborHas(t, "v1"); has != "" {
		t.Errorf("a Harbor that is not to hold it was given %s", has)
	}
	mustPush(t, drp1.harbor.URL(), kept+":v1", two, drp1.admin()) // as a backup brings it back
	same(t, "away", drp1.do(t, http.MethodGet, manifests(kept), h), raw)
	drp1.harborGets(t, "v1", digestOf(t, one))
	waitFor(t, "no tag counts as lacking where it is not to be", func() bool { return metric(t, metrics["drp1"], "breakwater_edge_harbor_pending", "") == 0 })
}

// What its homes have from before there were versions is listed, found and tagged where
// Harbor does not have it.
func TestWhatOnlyItsHomesHave(t *testing.T) {
	r := newRegion(t, keptAt("par1", "mad1"))
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	img := image(t, 1000, 1)
	signature := referring(t, img, "application/vnd.example.signature")
	sig := digestOf(t, signature)
	for _, home := range []*site{par1, mad1} { // past the edges
		mustPush(t, home.harbor.URL(), kept+":v1", img, home.admin())
		mustPush(t, home.harbor.URL(), kept+":v2", img, home.admin())
		mustPush(t, home.harbor.URL(), kept+":sig", signature, home.admin())
	}
	mustPush(t, drp1.edge.URL, kept+":own", image(t, 1000, 2), basic(writer, secret))
	h := drp1.as(t, reader, kept)
	if tags, a := drp1.tags(t, kept, "", h); !slices.Equal(tags, []string{"own", "sig", "v1", "v2"}) {
		t.Errorf("its tags: %q, %d %s", tags, a.status, a.body)
	}
	if digests, a := drp1.referrers(t, kept, img, "", h); fmt.Sprint(digests) != "["+sig+"]" {
		t.Errorf("its signature: %d %s", a.status, a.body)
	}
	own := referring(t, img, "application/vnd.example.sbom")
	mustPush(t, drp1.edge.URL, kept+":sbom", own, basic(writer, secret))
	if digests, a := drp1.referrers(t, kept, img, "", h); len(digests) != 2 {
		t.Errorf("one here, one at home: %d %s", a.status, a.body)
	}
	raw, _ := img.RawManifest()
	mediaType, _ := img.MediaType()
	if a := drp1.request(t, http.MethodPut, drp1.edge.URL+app+"v3", basicHeader(writer, secret), string(mediaType), string(raw)); a.status != http.StatusCreated {
		t.Errorf("tagged: %d %s", a.status, a.body)
	}
	mad1.harborGets(t, "v3", digestOf(t, img))
}

// A tag that nobody has is asked of the Harbors that are to hold it, and of no others unless
// one of those is away.
func TestWhatItsHomesDoNotHave(t *testing.T) {
	r := newRegion(t, keptAt("mad1"))
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	h := drp1.as(t, reader, kept)
	n := 0
	trial.Until(t, func() error { // as soon as all have said that they have nothing to tell
		n++
		path := fmt.Sprintf("%s%d.sig", app, n)
		if a := drp1.do(t, http.MethodGet, path, h); a.status != http.StatusNotFound {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if asked(mad1.harbor, path) == 0 {
			t.Fatal("who is to hold it is not asked")
		}
		if asked(par1.harbor, path) > 0 {
			return errors.New("who is not to hold it is asked")
		}
		return nil
	})
	img := image(t, 1000, 1)
	mustPush(t, par1.harbor.URL(), kept+":v1", img, par1.admin()) // past the edges, where nobody looks
	mad1.becomes(t, http.NotFoundHandler())
	trial.Until(t, func() error {
		if a := drp1.do(t, http.MethodGet, app+"v1", h); a.status != http.StatusOK {
			return fmt.Errorf("one of its homes is away: %d %s", a.status, a.body)
		}
		return nil
	})
}

// A project that gets another home is brought there.
func TestAProjectGetsAnotherHome(t *testing.T) {
	metrics, configs := counters{}, map[string]*proxy.Config{}
	r := newRegion(t, hooked(metrics), keptAt("par1", "mad1"), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		configs[p.Datacenter] = p
	})
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	img := image(t, 1000, 1)
	mustPush(t, par1.edge.URL, kept+":v1", img, basic(writer, secret))
	mad1.harborGets(t, "v1", digestOf(t, img))
	waitFor(t, "it is settled", func() bool { return metric(t, metrics["drp1"], "breakwater_edge_harbor_pending", "") == 0 })
	for name, s := range map[string]*site{"par1": par1, "mad1": mad1, "drp1": drp1} {
		next := configs[name].Settings
		next.Namespaces = homesOf(next.Namespaces, name, []string{"mad1", "drp1"})
		s.edge.Config.Handler.(*proxy.Handler).Reload(next)
	}
	drp1.harborGets(t, "v1", digestOf(t, img))
	if has := par1.harborHas(t, "v1"); has != digestOf(t, img) {
		t.Errorf("where it was at home before Harbor has %q", has)
	}
}
