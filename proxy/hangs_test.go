package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// An upstream that hangs, and Harbor's cache with it, is waited for: it may be slow. Once it
// has been waited for in vain for long, whoever comes is told so, also of other images; what
// answers all the same is served; and who comes when all is well again is in nobody's queue.
func TestAHangThatIsKnownIsAnsweredSooner(t *testing.T) {
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Deadline = 100 * time.Millisecond })
	repo := func(i int) string { return fmt.Sprintf("cache-dockerhub/library/hang%d", i) }
	pull := func(i int) answer { return s.do(t, http.MethodGet, manifests(repo(i)), s.anonymous(t, repo(i))) }
	raw := map[int][]byte{}
	for i := range 4 {
		img := image(t, 100, byte(i))
		raw[i], _ = img.RawManifest()
		mustPush(t, s.hub.URL(), fmt.Sprintf("library/hang%d:v1", i), img, authn.Anonymous)
	}
	if err := s.hub.SetFaults(lab.Fault{Name: "hang", Path: "^(GET|HEAD) /v2/library/hang[012]/"}); err != nil {
		t.Fatal(err)
	}
	first := make(chan answer, 1)
	go func() { first <- pull(0) }()
	told := func(i int) bool { // who comes too early leaves again
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.edge.URL+manifests(repo(i)), nil)
		if err != nil {
			t.Error(err)
			return true
		}
		for name, value := range s.anonymous(t, repo(i)) {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != ""
	}
	for i := range 3 { // the same, and others
		waitFor(t, fmt.Sprintf("word that hang%d may never come", i), func() bool { return told(i) })
	}
	served := func(i int) {
		waitFor(t, fmt.Sprintf("an answer for hang%d", i), func() bool {
			a := pull(i)
			return a.status == http.StatusOK && string(a.body) == string(raw[i])
		})
	}
	served(3) // it does not hang
	if err := s.hub.SetFaults(); err != nil {
		t.Fatal(err)
	}
	<-first
	for i := range 3 {
		served(i)
	}
}
