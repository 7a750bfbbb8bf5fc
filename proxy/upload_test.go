package proxy_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// nothingLeft waits until no upload is being written down any more.
func (s *site) nothingLeft(t *testing.T) {
	t.Helper()
	waitFor(t, "no temporary files", func() bool {
		all, err := os.ReadDir(s.dir + "/tmp")
		return err == nil && len(all) == 0
	})
}

// A registry may answer a POST that carries the whole blob by opening a session
// for it (the specification's "single POST"); Harbor's does. What the POST carried
// is then nobody's, and the blob is pushed into the session.
func TestAPostWithABlobThatHarborWantsInASession(t *testing.T) {
	s := newSite(t)
	h := s.asWriter(t, "multi-dc-demo/app")
	const content = "a blob in one request"
	d := digest.FromString(content)
	status, location := s.send(t, http.MethodPost, withDigest("/v2/multi-dc-demo/app/blobs/uploads/", d), h, strings.NewReader(content))
	if status != http.StatusAccepted {
		t.Fatal(status)
	}
	if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, strings.NewReader(content)); status != http.StatusCreated {
		t.Fatal(status)
	}
	path := "/v2/multi-dc-demo/app/blobs/" + d.String()
	same(t, "the next pull", s.do(t, http.MethodGet, path, h), []byte(content))
	if n := s.harbor.Requests()["GET "+path]; n != 0 {
		t.Errorf("Harbor was asked %d times for what was pushed through the edge", n)
	}
	s.nothingLeft(t)
}
