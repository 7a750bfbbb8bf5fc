package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// registries are a few registries that hold one blob, and a source for each.
type registries struct {
	content []byte
	digest  digest.Digest
	all     []*lab.Upstream
	sources []store.Source
}

func newRegistries(t *testing.T, n, size int) *registries {
	t.Helper()
	p := &registries{content: make([]byte, size)}
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}).Read(p.content)
	p.digest = digest.FromBytes(p.content)
	for i := range n {
		u, err := lab.StartUpstream(nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Close() })
		repo, err := name.NewRepository(u.URL()[len("http://"):]+"/library/app", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteLayer(repo, static.NewLayer(p.content, types.OCILayer)); err != nil {
			t.Fatal(err)
		}
		u.ResetRequests()
		p.all = append(p.all, u)
		p.sources = append(p.sources, source(t, fmt.Sprint("source ", i), u.URL(), p.digest))
	}
	return p
}

// source asks a registry as the edge does.
func source(t *testing.T, name, url string, d digest.Digest) store.Source {
	t.Helper()
	client, err := registry.NewSource(registry.SourceConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindBlob, Repo: "library/app", Digest: d}
	return store.Source{Name: name, Open: func(ctx context.Context, offset, length int64) (store.Body, error) {
		header := http.Header{}
		switch {
		case length >= 0:
			header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
		case offset > 0:
			header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		}
		resp, err := client.Do(ctx, req, header)
		if err != nil {
			return store.Body{}, err
		}
		body := store.Body{ReadCloser: resp.Body, Size: resp.ContentLength}
		switch {
		case resp.Header.Get("Content-Encoding") != "":
			resp.Body.Close()
			return store.Body{}, errors.New("encoded")
		case resp.StatusCode == http.StatusPartialContent:
			var last int64
			fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &body.Offset, &last, &body.Size)
		case resp.StatusCode != http.StatusOK:
			return store.Body{}, registry.ReadError(resp)
		}
		return body, nil
	}}
}

func (p *registries) path() string { return "GET /v2/library/app/blobs/" + p.digest.String() }

func (p *registries) asked(i int) int { return p.all[i].Requests()[p.path()] }

func (p *registries) sent() (n int64) {
	for _, u := range p.all {
		n += u.Sent()[p.path()]
	}
	return n
}

func (p *registries) faults(t *testing.T, i int, faults ...lab.Fault) {
	t.Helper()
	for j := range faults {
		faults[j].Path = "^GET .*/blobs/"
	}
	if err := p.all[i].SetFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

func openStore(t *testing.T, cfg store.Config) (s *store.Store, dir string) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, cfg.Dir
}

func pull(t *testing.T, s *store.Store, p *registries) ([]byte, error) {
	t.Helper()
	r, err := s.Fetch(t.Context(), p.digest, p.sources...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// files returns what lies in the store's directory beside its lock and its format
// number.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error { //nolint:errcheck // never an error
		if err == nil && !e.IsDir() && e.Name() != "lock" && e.Name() != "format" {
			all = append(all, path)
		}
		return nil
	})
	return all
}

// Each of three sources in turn breaks off at a byte. The reader gets the right bytes in
// one answer, and no byte is sent twice.
func TestABrokenSourceIsResumedElsewhere(t *testing.T) {
	const size = 3 << 20
	for _, n := range []int64{0, 1, size / 2, size - 1} {
		p := newRegistries(t, 3, size)
		for broken := range 3 {
			t.Run(fmt.Sprintf("at %d, source %d", n, broken), func(t *testing.T) {
				s, dir := openStore(t, store.Config{})
				for i := range p.all {
					p.all[i].ResetRequests()
					p.all[i].ClearFaults()
				}
				for i := range broken { // the sources before it are down
					p.faults(t, i, lab.Fault{Name: "down"})
				}
				p.faults(t, broken, lab.Fault{Name: "cut", Bytes: n, Times: 1})
				got, err := pull(t, s, p)
				if err != nil || !bytes.Equal(got, p.content) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				if sent := p.sent(); sent > size+1 {
					t.Errorf("%d bytes were sent for a blob of %d", sent, size)
				}
				if left := files(t, dir); len(left) != 1 {
					t.Errorf("in the store: %v", left)
				}
			})
		}
	}
}

// All three sources break off one after the other, each at a later byte.
func TestThreeBrokenSourcesMakeOneBlob(t *testing.T) {
	const size = 3 << 20
	p := newRegistries(t, 3, size)
	s, _ := openStore(t, store.Config{})
	for i := range p.all {
		p.faults(t, i, lab.Fault{Name: "cut", Bytes: size / 4, Times: 1})
	}
	got, err := pull(t, s, p)
	if err != nil || !bytes.Equal(got, p.content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i := range p.all {
		if n := p.asked(i); n == 0 || n > 2 {
			t.Errorf("source %d was asked %d times", i, n)
		}
	}
	if sent := p.sent(); sent != size {
		t.Errorf("%d bytes were sent for a blob of %d", sent, size)
	}
}

// A source of wrong content is put into quarantine for that blob, and the next source is
// asked. A reader without bytes of the wrong body gets the right ones; a reader that has
// some is cut off. No reader gets a complete wrong body.
func TestALiarIsPutAside(t *testing.T) {
	for _, size := range []int{20 << 10, 3 << 20} { // the first is held back to its end until it is verified
		for _, fault := range []lab.Fault{{Name: "wrong-digest"}, {Name: "truncate", Bytes: 7}, {Name: "extra", Bytes: 7}, {Name: "html"}, {Name: "gzip"}} {
			t.Run(fmt.Sprintf("%s of %d bytes", fault.Name, size), func(t *testing.T) {
				p := newRegistries(t, 2, size)
				s, dir := openStore(t, store.Config{})
				p.faults(t, 0, fault)
				got, err := pull(t, s, p)
				unseen := size < 64<<10 || fault.Name == "html" || fault.Name == "gzip" // the reader has no byte of the wrong body
				if err == nil && !bytes.Equal(got, p.content) || unseen && err != nil {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if err != nil && !errors.Is(err, store.ErrWrongContent) {
					t.Error(err)
				}
				if got, err = pull(t, s, p); err != nil || !bytes.Equal(got, p.content) {
					t.Errorf("the next reader: %d bytes, %v", len(got), err)
				}
				if n := p.asked(0); n != 1 && fault.Name != "gzip" {
					t.Errorf("the liar was asked %d times", n)
				}
				if left := files(t, dir); len(left) != 1 {
					t.Errorf("in the store: %v", left)
				}
				if _, err := s.Purge(p.digest); err != nil {
					t.Fatal(err)
				}
				if got, err := pull(t, s, p); err != nil || !bytes.Equal(got, p.content) {
					t.Errorf("after a purge: %d bytes, %v", len(got), err)
				}
				if n := p.asked(0); n != 1 && fault.Name != "gzip" {
					t.Errorf("the liar was asked first again: %d times", n)
				}
			})
		}
	}
}

// Two sources sent parts of a wrong body, and either may have sent the wrong part. Each
// is asked for the whole blob. The present readers are cut off, and the next is served.
func TestALieInTwoPartsIsFoundOut(t *testing.T) {
	const size = 3 << 20
	for liar := range 2 {
		p := newRegistries(t, 2, size)
		s, _ := openStore(t, store.Config{})
		p.faults(t, 0, lab.Fault{Name: "cut", Bytes: size / 2, Times: 1})
		p.faults(t, liar, append([]lab.Fault{{Name: "wrong-digest"}}, []lab.Fault{{Name: "cut", Bytes: size / 2, Times: 1}}[:1-liar]...)...)
		if got, err := pull(t, s, p); err == nil {
			t.Errorf("liar %d: a wrong body was completed: %v", liar, bytes.Equal(got, p.content))
		}
		if got, err := pull(t, s, p); err != nil || !bytes.Equal(got, p.content) {
			t.Errorf("liar %d: %d bytes, %v", liar, len(got), err)
		}
	}
}

// The only source is asked again after it sent wrong content once.
func TestTheOnlySourceIsAskedAgain(t *testing.T) {
	p := newRegistries(t, 1, 3<<20)
	s, dir := openStore(t, store.Config{})
	p.faults(t, 0, lab.Fault{Name: "wrong-digest", Times: 1})
	if got, err := pull(t, s, p); !errors.Is(err, store.ErrWrongContent) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if got, err := pull(t, s, p); err != nil || !bytes.Equal(got, p.content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Every source refuses: the error has every refusal.
func TestEveryRefusalIsHeard(t *testing.T) {
	p := newRegistries(t, 3, 1000)
	s, _ := openStore(t, store.Config{})
	for i, name := range []string{"404", "503", "429"} {
		p.faults(t, i, lab.Fault{Name: name})
	}
	_, err := pull(t, s, p)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 3 {
		t.Fatalf("%v", err)
	}
	var statuses []int
	for _, one := range joined.Unwrap() {
		var refused *registry.Error
		if errors.As(one, &refused) {
			statuses = append(statuses, refused.Status)
		}
	}
	if fmt.Sprint(statuses) != "[404 503 429]" {
		t.Errorf("%v: %v", statuses, err)
	}
}

// A source that sends too slowly is given up, and the next one is asked for the rest.
func TestATrickleIsLeftForAnotherSource(t *testing.T) {
	p := newRegistries(t, 2, 1<<20)
	s, _ := openStore(t, store.Config{Idle: 300 * time.Millisecond})
	p.faults(t, 0, lab.Fault{Name: "slow", Bytes: 20_000})
	got, err := pull(t, s, p)
	if err != nil || !bytes.Equal(got, p.content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if p.asked(1) != 1 {
		t.Errorf("the second source was asked %d times", p.asked(1))
	}
}

// containerd's parallel fetch asks for ranges without an end, and closes them early.
func TestWideOpenRangesClosedEarly(t *testing.T) {
	const size, parts = 256 << 20, 8
	p := newRegistries(t, 1, size)
	s, _ := openStore(t, store.Config{})
	errs := make(chan error, parts)
	for i := range parts {
		go func() {
			errs <- func() error {
				r, err := s.Fetch(t.Context(), p.digest, p.sources...)
				if err != nil {
					return err
				}
				defer r.Close()
				from, n := size/parts*i, size/parts
				if _, err := r.Seek(int64(from), io.SeekStart); err != nil {
					return err
				}
				got := make([]byte, n)
				if _, err := io.ReadFull(r, got); err != nil {
					return err
				}
				if !bytes.Equal(got, p.content[from:from+n]) {
					return errors.New("other bytes")
				}
				return nil
			}()
		}()
	}
	for range parts {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if sent := p.sent(); sent > size*12/10 {
		t.Errorf("%d bytes were sent for a blob of %d", sent, size)
	} else {
		t.Logf("%.3f of the blob was sent", float64(sent)/size)
	}
}
