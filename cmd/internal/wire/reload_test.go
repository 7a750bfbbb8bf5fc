package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/internal/lab"
)

// imageOf is an image of one layer of pseudo-random bytes.
func imageOf(t *testing.T, seed, size int) v1.Image {
	t.Helper()
	layer := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(layer)
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer, types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// pullAll pulls an image, all of it.
func pullAll(reference string, auth authn.Authenticator) error {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, remote.WithAuth(auth), remote.WithRetryStatusCodes(), remote.WithRetryPredicate(func(error) bool { return false }))
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	r, err := layers[0].Compressed()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// No request fails, of 500 pulls and pushes, while all that can be changed is changed 50
// times: the robot, an upstream's credentials, caches, projects, a peer.
func TestNoRequestFailsWhileFilesAreReadAgain(t *testing.T) {
	const requests, reloads, beside = 500, 50, 12
	dir := t.TempDir()
	start := func() *lab.Harbor {
		h, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h
	}
	harbor, other, hub := start(), start(), start()
	hub.CreateProject("open", true)
	hub.CreateRobot("*", "puller", "Some1Secret", "pull")
	harbor.CreateProject("multi-dc-demo", false)
	for _, robot := range []string{"edge-1", "edge-2"} {
		harbor.CreateRobot("*", robot, "Some1Secret", "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
	}
	if err := harbor.CreateCache("cache-hub", "docker-registry", "http://127.0.0.1:1", true); err != nil { // the edge's own way is the only one
		t.Fatal(err)
	}
	admin := func(h *lab.Harbor) authn.Authenticator {
		username, password := h.Admin()
		return authn.FromConfig(authn.AuthConfig{Username: username, Password: password})
	}
	fill := func(h *lab.Harbor, image string, seed int) {
		ref, err := name.ParseReference(strings.TrimPrefix(h.URL(), "http://")+"/"+image, name.Insecure)
		if err == nil {
			err = remote.Write(ref, imageOf(t, seed, 300<<10), remote.WithAuth(admin(h)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		fill(harbor, fmt.Sprintf("multi-dc-demo/app:v%d", i), i)
		fill(hub, fmt.Sprintf("open/app:v%d", i), 100+i)
	}
	write := func(file, text string) {
		path := filepath.Join(dir, file)
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	write("secret", "Some1Secret")
	write("key", strings.Repeat("a key of the fleet ", 3))
	file := func(n int) string {
		robot, peer, credentials, more := "edge-1", `, edge: "http://127.0.0.1:1"`, "", ""
		if n%2 == 1 {
			robot, peer = "edge-2", ""
			credentials = fmt.Sprintf(`, username: "robot$puller", password: "file:%s/secret"`, dir)
			more = fmt.Sprintf("    more: { endpoint: %q }\n", hub.URL())
		}
		return fmt.Sprintf(`domain: harbor.example.org
datacenters:
  par1: { harbor: %q }
  mad1: { harbor: %q%s }
projects:
  cache:
    hub: { endpoint: %q%s }
%sedge:
  plain_http: true
  listen: "127.0.0.1:0"
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  store: { path: "%s/store" }
  robot: { name: %s, secret: "file:%s/secret" }
  peers: { key: "file:%s/key" }
  freshness: { cache: %ds }
`, harbor.URL(), other.URL(), peer, hub.URL(), credentials, more, dir, robot, dir, dir, n%2)
	}
	write("fleet.yaml", file(0))
	var log lockedBuffer
	e := run(t, EdgeConfig{File: filepath.Join(dir, "fleet.yaml"), Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&log, nil)), Level: new(slog.LevelVar)})
	address := e.Servers[0].Listener.Addr().String()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	work := make(chan int)
	go func() { // as long as there are reloads, and all of them
		defer close(work)
		for i := 0; i < requests || ctx.Err() == nil; i++ {
			work <- i
		}
	}()
	var workers sync.WaitGroup
	for range beside {
		workers.Go(func() {
			for i := range work {
				var err error
				switch i % 3 {
				case 0:
					err = pullAll(fmt.Sprintf("%s/multi-dc-demo/app:v%d", address, i%20), admin(harbor))
				case 1:
					err = pullAll(fmt.Sprintf("%s/cache-hub/open/app:v%d", address, i%20), authn.Anonymous)
				case 2:
					var ref name.Reference
					if ref, err = name.ParseReference(fmt.Sprintf("%s/multi-dc-demo/pushed-%d:v1", address, i), name.Insecure); err == nil {
						err = remote.Write(ref, imageOf(t, 1000+i, 100<<10), remote.WithAuth(admin(harbor)), remote.WithRetryStatusCodes())
					}
				}
				if err != nil {
					t.Errorf("request %d: %v", i, err)
				}
			}
		})
	}
	for n := 1; n <= reloads; n++ {
		write("fleet.yaml", file(n))
		reload(t, &log)
	}
	cancel()
	workers.Wait()
	if said := log.String(); strings.Count(said, "files read again") < reloads || strings.Contains(said, "files not taken") {
		t.Errorf("not all of %d reloads were taken", reloads)
	}
}
