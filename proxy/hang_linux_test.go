package proxy_test

import (
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

// A disk whose open(2) does not return costs the cache and not the pulls: what is in memory
// is served as ever, what is held comes from Harbor, pushes go through, health says what
// is wrong and that this edge serves.
func TestADiskThatHangsCostsTheCacheAndNotThePulls(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s := newSite(t)
	metrics := prometheus.NewRegistry()
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, dir, &s.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		db, err := state.Open(filepath.Join(dir, "state.db"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		p.State, a.Members, a.Grants, p.Metrics = db, db, db, metrics
	})
	a, b := image(t, 100<<10, 1), image(t, 100<<10, 2)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", a, s.admin())
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v2", b, s.admin())
	held, layer := layerOf(t, a)
	cold, other := layerOf(t, b)
	h := s.as(t, reader, "multi-dc-demo/app")
	w := s.asWriter(t, "multi-dc-demo/app")["Authorization"]
	blobs, manifest := "/v2/multi-dc-demo/app/blobs/", "/v2/multi-dc-demo/app/manifests/v1"
	raw, _ := a.RawManifest()
	for range 2 {
		same(t, "the blob, before", s.do(t, http.MethodGet, blobs+held, h), layer)
		same(t, "the manifest, before", s.do(t, http.MethodGet, manifest, h), raw)
	}
	watch, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err == nil {
		err = unix.FanotifyMark(watch, unix.FAN_MARK_ADD|unix.FAN_MARK_MOUNT, unix.FAN_OPEN_PERM|unix.FAN_ACCESS_PERM, unix.AT_FDCWD, dir)
	}
	if err != nil {
		t.Skipf("no calls can be made to hang here: %v", err)
	}
	t.Cleanup(func() { unix.Close(watch) })
	within := func(most time.Duration, what string, do func()) {
		t.Helper()
		begun := time.Now()
		if do(); time.Since(begun) > most {
			t.Errorf("%s took %v", what, time.Since(begun))
		}
	}
	const slow = 15 * time.Second // of a loaded machine; a call is given up after a second
	within(slow, "what is held", func() { same(t, "what is held", s.do(t, http.MethodGet, blobs+held, h), layer) })
	within(slow, "what is in memory", func() { same(t, "what is in memory", s.do(t, http.MethodGet, manifest, h), raw) })
	within(slow, "what is new", func() { same(t, "what is new", s.do(t, http.MethodGet, blobs+cold, h), other) })
	within(2*slow, "a push", func() {
		header := map[string]string{"Authorization": w, "Content-Type": string(types.OCIImageIndex)}
		status, _ := s.send(t, http.MethodPut, "/v2/multi-dc-demo/app/manifests/pushed", header, strings.NewReader(`{"schemaVersion":2,"mediaType":"`+string(types.OCIImageIndex)+`","manifests":[]}`))
		if status != http.StatusCreated {
			t.Errorf("a push: %d", status)
		}
	})
	trial.Until(t, func() error {
		health := s.do(t, http.MethodGet, "/breakwater/v1/health", nil)
		if health.status != http.StatusOK || !strings.Contains(string(health.body), `"store":"hanging"`) || !strings.Contains(string(health.body), `"serving":true`) {
			return errors.New("health does not say that the disk hangs: " + string(health.body))
		}
		return nil
	})
	within(slow, "what is held, when it is known", func() {
		before := len(front.of(""))
		a := s.do(t, http.MethodGet, blobs+held, h)
		same(t, "what is held", a, layer)
		judged(t, "an open(2) that hangs: what the edge holds", a, front.reached(before, "/blobs/"))
	})
}
