package proxy_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// What clients got past a Harbor that was down is pulled through it when it is back: its cache
// holds then what it would have held. It is so once, and what it holds is not fetched again.
func TestACacheThatWasAwayIsHealed(t *testing.T) {
	r := newTouched(t)
	const repo = "cache-dockerhub/library/app"
	s := r.sites[0]
	img := image(t, 1000, 2)
	raw, _ := img.RawManifest()
	d := digest.FromBytes(raw)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	h := s.anonymous(t, repo)
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	same(t, "past the Harbor", s.do(t, http.MethodGet, "/v2/"+repo+"/manifests/v1", h), raw)
	layer, content := layerOf(t, img)
	same(t, "a layer past it", s.do(t, http.MethodGet, "/v2/"+repo+"/blobs/"+layer, h), content)
	s.harbor.ClearFaults()
	if s.holds(t, repo, d) {
		t.Fatal("the Harbor has it already")
	}
	r.becomes(t, "par1", "healed", 1)
	trial.Until(t, func() error { // Harbor keeps an image a while after it has given it
		if !s.holds(t, repo, d) {
			return errors.New("the Harbor does not hold it")
		}
		return nil
	})
	r.idle(t)
	asked := starting(r.hub.Requests(), "GET /v2/library/app/blobs/")
	s.do(t, http.MethodGet, "/v2/"+repo+"/manifests/v1", h)
	r.idle(t)
	if n := starting(r.hub.Requests(), "GET /v2/library/app/blobs/") - asked; n != 0 || r.counted(t, "par1", "healed") != 1 {
		t.Errorf("healed %d times; the upstream was asked %d times more", r.counted(t, "par1", "healed"), n)
	}
}
