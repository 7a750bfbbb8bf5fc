package proxy_test

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
)

func TestManyClientsOfAColdBlobAreOneTransfer(t *testing.T) {
	s := newSite(t)
	img := image(t, 4<<20, 2)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/big:v1", img, s.admin())
	digest, layer := layerOf(t, img)
	h := s.as(t, reader, "multi-dc-demo/big")
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() { same(t, "one of 32", s.do(t, http.MethodGet, "/v2/multi-dc-demo/big/blobs/"+digest, h), layer) })
	}
	all.Wait()
	if n := s.harbor.Requests()["GET /v2/multi-dc-demo/big/blobs/"+digest]; n != 1 {
		t.Errorf("Harbor counts %d transfers", n)
	}
}

// Those who joined were each asked of Harbor whether their repo holds the blob,
// which their common repo had just been seen to do.
func TestJoiningAColdBlobOfAProxyCacheAsksHarborNoMore(t *testing.T) {
	s := newSite(t)
	img := image(t, 1<<20, 14)
	mustPush(t, s.hub.URL(), "library/nginx:latest", img, authn.Anonymous)
	digest, layer := layerOf(t, img)
	h := s.anonymous(t, "cache-dockerhub/nginx")
	if err := s.harbor.SetFaults(lab.Fault{Name: "slow", Path: "/blobs/", Bytes: 2 << 20}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			same(t, "one of 16", s.do(t, http.MethodGet, "/v2/cache-dockerhub/nginx/blobs/"+digest, h), layer)
		})
	}
	all.Wait()
	for request, n := range s.harbor.Requests() {
		if strings.HasSuffix(request, digest) && (n != 1 || !strings.HasPrefix(request, "GET ")) {
			t.Errorf("Harbor counts %d of %s", n, request)
		}
	}
}

// The first bytes are with the client while Harbor has still most to send.
func TestBytesArriveBeforeTheFillEnds(t *testing.T) {
	s := newSite(t)
	img := image(t, 4<<20, 3)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/big:v1", img, s.admin())
	digest, _ := layerOf(t, img)
	if err := s.harbor.SetFaults(lab.Fault{Name: "slow", Path: "/blobs/", Bytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.edge.URL+"/v2/multi-dc-demo/big/blobs/"+digest, nil)
	req.Header.Set("Authorization", s.as(t, reader, "multi-dc-demo/big")["Authorization"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.ReadFull(resp.Body, make([]byte, 64<<10)); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if held(t, s.dir, digest) {
		t.Error("the fill has ended: nothing was streamed")
	}
}

// held reports whether the store has committed the blob.
func held(t *testing.T, dir, digest string) bool {
	t.Helper()
	hex := strings.TrimPrefix(digest, "sha256:")
	_, err := os.Stat(filepath.Join(dir, "blobs", "sha256", hex[:2], hex))
	return err == nil
}

func TestWrongBytesAreNeverAPull(t *testing.T) {
	for _, fault := range []lab.Fault{{Name: "wrong-digest"}, {Name: "truncate", Bytes: 7}, {Name: "extra", Bytes: 7}, {Name: "html"}, {Name: "no-length"}} {
		for _, kind := range []string{"blobs", "manifests"} {
			t.Run(fault.Name+" "+kind, func(t *testing.T) {
				s := newSite(t)
				img := image(t, 200<<10, 4)
				mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
				digest, content := layerOf(t, img)
				if kind == "manifests" {
					d, _ := img.Digest()
					digest = d.String()
					content, _ = img.RawManifest()
				}
				fault.Path = "/" + kind + "/"
				if err := s.harbor.SetFaults(fault); err != nil {
					t.Fatal(err)
				}
				path, h := "/v2/multi-dc-demo/app/"+kind+"/"+digest, s.as(t, reader, "multi-dc-demo/app")
				a := s.do(t, http.MethodGet, path, h)
				right := fault.Name == "no-length" // a legal answer
				if pulled := a.status == http.StatusOK && a.err == nil; pulled != right {
					t.Errorf("status %d, %d bytes, %v", a.status, len(a.body), a.err)
				}
				if held(t, s.dir, digest) != right {
					t.Error("the store holds what it should not, or the other way round")
				}
				filepath.WalkDir(filepath.Join(s.dir, "tmp"), func(path string, e fs.DirEntry, err error) error {
					if err == nil && !e.IsDir() {
						t.Errorf("left behind: %s", path)
					}
					return err
				})
				s.harbor.ClearFaults()
				same(t, "from a healthy source", s.do(t, http.MethodGet, path, h), content)
			})
		}
	}
}

func TestRangesAndConditions(t *testing.T) {
	s := newSite(t)
	img := image(t, 300<<10, 8)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	digest, layer := layerOf(t, img)
	path := "/v2/multi-dc-demo/app/blobs/" + digest
	for _, state := range []string{"cold", "warm"} {
		h := s.as(t, reader, "multi-dc-demo/app")
		for name, want := range map[[2]string]int{{"If-None-Match", `"x", W/"` + digest + `"`}: 304, {"If-None-Match", `"x"`}: 200, {"Range", "bytes=5-9"}: 206, {"Range", "bytes=400000-"}: 416} {
			h[name[0]] = name[1]
			if a := s.do(t, http.MethodHead, path, h); a.status != want || a.header.Get("Docker-Content-Digest") != digest {
				t.Errorf("%s HEAD with %v: %d %v", state, name, a.status, a.header)
			}
			delete(h, name[0])
		}
		h["Range"] = "bytes=1000-1999"
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusPartialContent || !bytes.Equal(a.body, layer[1000:2000]) || a.header.Get("Content-Range") != "bytes 1000-1999/307200" {
			t.Errorf("%s range: %d, %d bytes, %q", state, a.status, len(a.body), a.header.Get("Content-Range"))
		}
		h["Range"] = "bytes=400000-"
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s range behind the end: %d", state, a.status)
		}
		delete(h, "Range")
		if a := s.do(t, http.MethodHead, path, h); a.status != http.StatusOK || a.header.Get("Content-Length") != "307200" || a.header.Get("Docker-Content-Digest") != digest {
			t.Errorf("%s HEAD: %d %v", state, a.status, a.header)
		}
		h["If-None-Match"] = `"` + digest + `"`
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusNotModified {
			t.Errorf("%s condition: %d", state, a.status)
		}
	}
}

// A HEAD of a cold blob is 404 from Harbor's proxy cache, and is not from the edge.
func TestHeadOfAColdBlobInAProxyCache(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 9)
	mustPush(t, s.hub.URL(), "library/nginx:latest", img, authn.Anonymous)
	digest, _ := layerOf(t, img)
	a := s.do(t, http.MethodHead, "/v2/cache-dockerhub/nginx/blobs/"+digest, s.anonymous(t, "cache-dockerhub/nginx"))
	if a.status != http.StatusOK || a.header.Get("Content-Length") != "102400" {
		t.Errorf("%d %v", a.status, a.header)
	}
}

func TestABlobsFirstClientLeaves(t *testing.T) {
	s := newSite(t)
	img := image(t, 4<<20, 13)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/big:v1", img, s.admin())
	digest, layer := layerOf(t, img)
	path, h := "/v2/multi-dc-demo/big/blobs/"+digest, s.as(t, reader, "multi-dc-demo/big")
	if err := s.harbor.SetFaults(lab.Fault{Name: "slow", Path: "/blobs/", Bytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodGet, s.edge.URL+path, nil)
	req.Header.Set("Authorization", h["Authorization"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 400<<10)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	same(t, "the next client", s.do(t, http.MethodGet, path, h), layer)
	if n := s.harbor.Requests()["GET "+path]; n != 1 {
		t.Errorf("%d transfers", n)
	}
}

// fromFile notes whether a body was handed over as a file, which net/http then
// lets the kernel copy.
type fromFile struct {
	http.ResponseWriter
	files *atomic.Int64
}

// Unwrap is for http.ResponseController.
func (w fromFile) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom implements io.ReaderFrom.
func (w fromFile) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			w.files.Add(1)
		}
	}
	return io.Copy(w.ResponseWriter, r)
}

func TestACompleteBlobLeavesByTheKernel(t *testing.T) {
	s := newSite(t)
	img := image(t, 1<<20, 17)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	digest, layer := layerOf(t, img)
	var files atomic.Int64
	inner := s.edge.Config.Handler
	s.edge = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(fromFile{w, &files}, r) }))
	defer s.edge.Close()
	h := s.as(t, reader, "multi-dc-demo/app")
	path := "/v2/multi-dc-demo/app/blobs/" + digest
	same(t, "cold", s.do(t, http.MethodGet, path, h), layer)
	files.Store(0) // what had come of the cold one may have left so too
	same(t, "warm", s.do(t, http.MethodGet, path, h), layer)
	if files.Load() == 0 {
		t.Error("a middleware hides io.ReaderFrom, or the file")
	}
}
