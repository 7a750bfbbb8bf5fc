package proxy_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/warm"
)

// stored waits for a blob to be in an edge's store.
func (s *site) stored(t *testing.T, d string) {
	t.Helper()
	trial.Until(t, func() error {
		if _, err := os.Stat(filepath.Join(s.dir, "blobs", "sha256", d[len("sha256:"):][:2], d[len("sha256:"):])); err != nil {
			return fmt.Errorf("it is not in the store: %w", err)
		}
		return nil
	})
}

// Who says that a tag may have moved is not answered out of memory, however fresh that is.
func TestAnOrderAsksAnew(t *testing.T) {
	s := newSite(t, quick)
	for i := range 2 {
		img := image(t, 1000, byte(i))
		mustPush(t, s.hub.URL(), "library/app:v1", img, authn.Anonymous)
		var taken warm.Taken
		if code := s.operate(t, http.MethodPost, "/warm", warm.Order{References: []string{"cache-dockerhub/app:v1"}}, &taken); code != http.StatusOK {
			t.Fatal(code)
		}
		s.warmed(t, "")
		d, _ := layerOf(t, img)
		s.stored(t, d)
	}
}

// What was signed after it was warmed has its signature with the next order.
func TestAnOrderLooksForSignaturesAnew(t *testing.T) {
	s := newSite(t, quick)
	img, signature := image(t, 1000, 1), image(t, 1000, 2)
	mustPush(t, s.hub.URL(), "library/app:v1", img, authn.Anonymous)
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var taken warm.Taken
		if code := s.operate(t, http.MethodPost, "/warm", warm.Order{References: []string{"cache-dockerhub/app:v1"}}, &taken); code != http.StatusOK {
			t.Fatal(code)
		}
		s.warmed(t, "")
		mustPush(t, s.hub.URL(), "library/app:"+strings.Replace(d.String(), ":", "-", 1)+".sig", signature, authn.Anonymous)
	}
	layer, _ := layerOf(t, signature)
	if _, err := os.Stat(filepath.Join(s.dir, "blobs", "sha256", layer[len("sha256:"):][:2], layer[len("sha256:"):])); err != nil {
		t.Error(err)
	}
}
