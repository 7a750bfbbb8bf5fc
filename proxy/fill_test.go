package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"example.org/breakwater/internal/lab"
)

// cold is a blob that Harbor has and the edge has not.
type cold struct {
	*site
	content []byte
	path    string
	header  map[string]string
	image   v1.Image
}

func newCold(t *testing.T, size int) *cold {
	t.Helper()
	c := &cold{site: newSite(t), image: image(t, size, byte(size>>20))}
	mustPush(t, c.harbor.URL(), "multi-dc-demo/app:v1", c.image, c.admin())
	digest, content := layerOf(t, c.image)
	c.content, c.path = content, "/v2/multi-dc-demo/app/blobs/"+digest
	c.header = c.as(t, reader, "multi-dc-demo/app")
	c.harbor.ResetRequests()
	return c
}

func (c *cold) faults(t *testing.T, faults ...lab.Fault) {
	t.Helper()
	for i := range faults {
		faults[i].Path = "^GET " + c.path
	}
	if err := c.harbor.SetFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

func (c *cold) get(ctx context.Context, t *testing.T, span string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.edge.URL+c.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	if span != "" {
		req.Header.Set("Range", "bytes="+span)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return &http.Response{Body: http.NoBody}
	}
	return resp
}

// equal compares a body with what it is to be, as it comes.
func equal(body io.Reader, want []byte) error {
	buf := make([]byte, 256<<10)
	for at := 0; ; {
		n, err := body.Read(buf)
		if n > len(want)-at || !bytes.Equal(buf[:n], want[at:at+n]) {
			return fmt.Errorf("other bytes at %d", at)
		}
		at += n
		switch {
		case err == io.EOF && at == len(want):
			return nil
		case err != nil:
			return fmt.Errorf("%d of %d bytes: %w", at, len(want), err)
		}
	}
}

// One client that reads a mebibyte and then nothing holds up none of 63 others,
// and gets all of it when it reads on.
func TestASlowClientAmongManyHoldsUpNobody(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	c := newCold(t, size)
	slow := c.get(t.Context(), t, "")
	defer slow.Body.Close()
	if err := equal(io.LimitReader(slow.Body, 1<<20), c.content[:1<<20]); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 63 {
		all.Go(func() {
			resp := c.get(t.Context(), t, "")
			defer resp.Body.Close()
			if err := equal(resp.Body, c.content); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := equal(slow.Body, c.content[1<<20:]); err != nil {
		t.Error("the slow one: ", err)
	}
	// A fill on a busy machine is slow enough to come in parts, which are transfers of their own; what
	// a source has sent counts before it is read.
	if sent := c.harbor.Sent()["GET "+c.path]; sent > int64(size)*3/2 {
		t.Errorf("Harbor sent %d bytes of a blob of %d", sent, size)
	}
}

// Fifty clients take what they like of a blob that is still coming.
func TestRandomRangesOfABlobThatIsComing(t *testing.T) {
	const size = 32 << 20
	c := newCold(t, size)
	c.faults(t, lab.Fault{Name: "slow", Bytes: 32 << 20})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 4 {
				from := rand.IntN(size)
				n := 1 + rand.IntN(min(2<<20, size-from))
				resp := c.get(t.Context(), t, fmt.Sprintf("%d-%d", from, from+n-1))
				err := equal(resp.Body, c.content[from:from+n])
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusPartialContent || resp.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", from, from+n-1, size) {
					t.Errorf("%d bytes at %d: %s, %s, %v", n, from, resp.Status, resp.Header.Get("Content-Range"), err)
				}
			}
		})
	}
	all.Wait()
	if sent := c.harbor.Sent()["GET "+c.path]; sent > size*11/10 {
		t.Errorf("Harbor sent %d bytes of a blob of %d", sent, size)
	}
}

// containerd's parallel fetch: eight ranges, each open to the end, and each
// closed when its part is there.
func TestParallelFetchOfAColdBlob(t *testing.T) {
	const size, parts = 64 << 20, 8
	for _, fault := range []string{"", "ignore-range", "no-length"} {
		t.Run(fault, func(t *testing.T) {
			c := newCold(t, size)
			if fault != "" {
				c.faults(t, lab.Fault{Name: fault})
			}
			c.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", c.header) // as every client does first
			var all sync.WaitGroup
			for i := range parts {
				all.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					from := size / parts * i
					resp := c.get(ctx, t, fmt.Sprintf("%d-", from))
					defer resp.Body.Close()
					if err := equal(io.LimitReader(resp.Body, size/parts), c.content[from:from+size/parts]); err != nil || resp.StatusCode != http.StatusPartialContent {
						t.Errorf("part %d: %s, %v", i, resp.Status, err)
					}
				})
			}
			all.Wait()
			if sent := c.harbor.Sent()["GET "+c.path]; sent > size*12/10 {
				t.Errorf("Harbor sent %d bytes of a blob of %d", sent, size)
			}
		})
	}
}

// Harbor sends a layer that it is fetching itself without a length. The manifest
// has named it: HEAD and ranges need not wait for the end.
func TestLengthsComeFromTheManifest(t *testing.T) {
	const size = 1 << 20
	c := newCold(t, size)
	c.faults(t, lab.Fault{Name: "no-length"}, lab.Fault{Name: "slow", Bytes: 512 << 10})
	c.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", c.header)
	whole := c.get(t.Context(), t, "")
	defer whole.Body.Close()
	if whole.ContentLength != size {
		t.Errorf("GET: the length is %d", whole.ContentLength)
	}
	if a := c.do(t, http.MethodHead, c.path, c.header); a.status != http.StatusOK || a.header.Get("Content-Length") != fmt.Sprint(size) {
		t.Errorf("HEAD: %d, %v", a.status, a.header)
	}
	part := c.get(t.Context(), t, "10-19")
	defer part.Body.Close()
	if err := equal(part.Body, c.content[10:20]); err != nil || part.Header.Get("Content-Range") != "bytes 10-19/1048576" {
		t.Errorf("%s: %v", part.Header.Get("Content-Range"), err)
	}
	if a := c.do(t, http.MethodGet, c.path, map[string]string{"Authorization": c.header["Authorization"], "Range": "bytes=1048576-"}); a.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("beyond the end: %d", a.status)
	}
	if err := equal(whole.Body, c.content); err != nil {
		t.Error(err)
	}
}

// A manifest that lies about a blob's length spoils it for its own repo alone.
func TestALengthIsBelievedInItsOwnRepoAlone(t *testing.T) {
	c := newCold(t, 1<<20)
	raw, err := c.image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mustPush(t, c.harbor.URL(), "multi-dc-demo/evil:v1", c.image, c.admin())
	lie := bytes.Replace(raw, []byte(`"size":1048576`), []byte(`"size":1048570`), 1)
	if bytes.Equal(lie, raw) {
		t.Fatal("the manifest does not name the length")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, c.harbor.URL()+"/v2/multi-dc-demo/evil/manifests/lie", bytes.NewReader(lie))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(c.harbor.Admin())
	var inside struct{ MediaType string }
	if err := json.Unmarshal(raw, &inside); err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", inside.MediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}
	if err := c.harbor.SetFaults(lab.Fault{Name: "no-length", Path: "^GET .*/blobs/"}); err != nil {
		t.Fatal(err)
	}
	evil := c.as(t, reader, "multi-dc-demo/evil")
	if a := c.do(t, http.MethodGet, "/v2/multi-dc-demo/evil/manifests/lie", evil); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := c.do(t, http.MethodGet, strings.Replace(c.path, "/app/", "/evil/", 1), evil); a.err == nil {
		t.Errorf("a shorter body was completed: %d, %d bytes", a.status, len(a.body))
	}
	same(t, "the other repo", c.do(t, http.MethodGet, c.path, c.header), c.content)
}
