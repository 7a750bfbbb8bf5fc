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

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy/access"
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

// changing is an edge all of whose settings change, and what it asks.
type changing struct {
	t           *testing.T
	dir         string
	harbor, hub *lab.Harbor
}

func startHarbor(t *testing.T) *lab.Harbor {
	t.Helper()
	h, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func adminOf(h *lab.Harbor) authn.Authenticator {
	username, password := h.Admin()
	return authn.FromConfig(authn.AuthConfig{Username: username, Password: password})
}

func newChanging(t *testing.T) *changing {
	t.Helper()
	c := &changing{t, t.TempDir(), startHarbor(t), startHarbor(t)}
	c.hub.CreateProject("open", true)
	c.hub.CreateRobot("*", "puller", "Some1Secret", "pull")
	c.harbor.CreateProject("multi-dc-demo", false)
	for _, robot := range []string{"edge-1", "edge-2"} {
		c.harbor.CreateRobot("*", robot, "Some1Secret", "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
	}
	if err := c.harbor.CreateCache("cache-hub", "docker-registry", "http://127.0.0.1:1", true); err != nil { // the edge's own way is the only one
		t.Fatal(err)
	}
	fill := func(h *lab.Harbor, image string, seed int) {
		ref, err := name.ParseReference(strings.TrimPrefix(h.URL(), "http://")+"/"+image, name.Insecure)
		if err == nil {
			err = remote.Write(ref, imageOf(t, seed, 300<<10), remote.WithAuth(adminOf(h)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		fill(c.harbor, fmt.Sprintf("multi-dc-demo/app:v%d", i), i)
		fill(c.hub, fmt.Sprintf("open/app:v%d", i), 100+i)
	}
	c.write("secret", "Some1Secret")
	c.write("key-0", firstKey)
	c.write("key-1", secondKey)
	return c
}

func (c *changing) write(file, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, file)
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		c.t.Fatal(err)
	}
}

// file is the fleet file, one time like this and one time like that.
func (c *changing) file(n int) string {
	robot, peer, credentials, more := "edge-1", `, edge: "http://127.0.0.1:1"`, "", ""
	if n%2 == 1 {
		robot, peer = "edge-2", ""
		credentials = fmt.Sprintf(`, username: "robot$puller", password: "file:%s/secret"`, c.dir)
		more = fmt.Sprintf("    more: { endpoint: %q }\n", c.hub.URL())
	}
	return fmt.Sprintf(`domain: harbor.example.org
datacenters:
  par1: { harbor: %[1]q }
  mad1: { harbor: "http://127.0.0.1:2"%[2]s }
projects:
  cache:
    hub: { endpoint: %[3]q%[4]s }
%[5]sedge:
  plain_http: true
  listen: "127.0.0.1:0"
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  store: { path: "%[6]s/store" }
  robot: { name: %[7]s, secret: "file:%[6]s/secret" }
  peers: { key: "file:%[6]s/key-%[8]d", previous_key: "file:%[6]s/key-%[9]d" }
  freshness: { cache: %[8]ds }
`, c.harbor.URL(), peer, c.hub.URL(), credentials, more, c.dir, robot, n%2, 1-n%2)
}

// request is the i-th, of pulls and pushes.
func (c *changing) request(address string, i int) error {
	switch i % 3 {
	case 0:
		return pullAll(fmt.Sprintf("%s/multi-dc-demo/app:v%d", address, i%20), adminOf(c.harbor))
	case 1:
		return pullAll(fmt.Sprintf("%s/cache-hub/open/app:v%d", address, i%20), authn.Anonymous)
	}
	ref, err := name.ParseReference(fmt.Sprintf("%s/multi-dc-demo/pushed-%d:v1", address, i), name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(ref, imageOf(c.t, 1000+i, 100<<10), remote.WithAuth(adminOf(c.harbor)), remote.WithRetryStatusCodes())
}

// No request fails, of 500 pulls and pushes, while all that can be changed is changed 50
// times: the robot, an upstream's credentials, caches, keys, a peer, the freshness.
func TestNoRequestFailsWhileFilesAreReadAgain(t *testing.T) {
	const requests, reloads, beside = 500, 50, 12
	c := newChanging(t)
	c.write("fleet.yaml", c.file(0))
	var log lockedBuffer
	e := run(t, EdgeConfig{File: filepath.Join(c.dir, "fleet.yaml"), Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&log, nil)), Level: new(slog.LevelVar)})
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
				if err := c.request(address, i); err != nil {
					t.Errorf("request %d: %v", i, err)
				}
			}
		})
	}
	for n := 1; n <= reloads; n++ {
		c.write("fleet.yaml", c.file(n))
		reload(t, &log)
	}
	cancel()
	workers.Wait()
	if said := log.String(); strings.Count(said, "files read again") < reloads || strings.Contains(said, "files not taken") {
		t.Errorf("not all of %d reloads were taken", reloads)
	}
}

// A token that was verified by a key is good no longer when the key is gone: whoever has
// the old key could have signed one for ever.
func TestATokenOfAKeyThatIsGoneIsRefused(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(firstKey), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Load("fleet.yaml", fmt.Appendf(nil, `
domain: harbor.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1" } }
edge: { plain_http: true, listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", store: { path: "%s/store" }, peers: { key: "file:%s" } }
`, dir, key))
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	e := run(t, EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&log, nil)), Level: new(slog.LevelVar)})
	token, _, err := e.access.OwnToken("somebody", []string{"multi-dc-demo/app"})
	if err != nil {
		t.Fatal(err)
	}
	q := access.Query{Authorization: "Bearer " + token, Repos: []string{"multi-dc-demo/app"}, Action: "pull"}
	if _, err := e.access.Allow(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte(secondKey), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(t, &log)
	if _, err := e.access.Allow(t.Context(), q); err == nil {
		t.Error("it is good still")
	}
}
