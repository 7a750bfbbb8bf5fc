package proxy_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// A part of the disk cannot be read any more: one pull breaks off, and the next one is served from
// Harbor.
func TestABlobThatTheDiskCannotReadIsFetchedAgain(t *testing.T) {
	dir, tear, mend := trial.TornDisk(t)
	s := newSite(t)
	s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey)
	img := image(t, 40<<20, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	d, content := layerOf(t, img)
	h, path := s.as(t, reader, "multi-dc-demo/app"), "/v2/multi-dc-demo/app/blobs/"+d
	for range 2 {
		same(t, "before", s.do(t, http.MethodGet, path, h), content)
	}
	hex := strings.TrimPrefix(d, "sha256:")
	tear(filepath.Join(dir, "blobs", "sha256", hex[:2], hex))
	if a := s.do(t, http.MethodGet, path, h); a.err == nil {
		t.Errorf("%d bytes are read of a disk that is torn", len(a.body))
	}
	mend()
	s.harbor.ResetRequests()
	same(t, "after", s.do(t, http.MethodGet, path, h), content)
	if n := count(s.harbor.Requests(), "GET "+path); n == 0 {
		t.Error("Harbor was not asked")
	}
	same(t, "held again", s.do(t, http.MethodGet, path, h), content)
}
