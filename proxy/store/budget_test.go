package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// sliceServer is an HTTP server of blobs that are slices of one buffer.
type sliceServer struct {
	buffer []byte
	url    string
}

type slice struct {
	from, n int
	digest  digest.Digest
}

func newSliceServer(t *testing.T, size int) *sliceServer {
	t.Helper()
	s := &sliceServer{}
	s.buffer, _ = content(size)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var from, n int
		fmt.Sscanf(r.URL.Path, "/%d/%d", &from, &n) //nolint:errcheck // source makes the paths
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.buffer[from:from+n]))
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *sliceServer) blob(from, n int) slice {
	return slice{from, n, digest.FromBytes(s.buffer[from : from+n])}
}

func (s *sliceServer) source(b slice) Source {
	return Source{Name: "slices", Open: func(ctx context.Context, offset, _ int64) (Body, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/%d/%d", s.url, b.from, b.n), nil)
		if err != nil {
			return Body{}, err
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return Body{}, err
		}
		return Body{ReadCloser: resp.Body, Size: int64(b.n), Offset: offset}, nil
	}}
}

// Many clients pull ten times as many bytes as the store may hold. The files never take
// more than one and a half times the budget. A blob that is larger than its share is
// served, and a blob that is being read is not evicted.
func TestTenTimesTheBudget(t *testing.T) {
	budget := 128 << 20
	if testing.Short() {
		budget = 16 << 20
	}
	const clients = 32
	origin := newSliceServer(t, budget)
	s := open(t, Config{Size: int64(budget), Scrub: -1})
	kept := origin.blob(0, budget/64)
	pullSlice(t, s, origin, kept)
	reading, err := s.Get(t.Context(), kept.digest)
	if err != nil {
		t.Fatal(err)
	}
	var blobs []slice
	for total := 0; total < 10*budget; {
		n := 1 + rand.IntN(budget/8)
		if len(blobs)%40 == 20 {
			n = budget * 3 / 4 // larger than its share
		}
		blobs = append(blobs, origin.blob(rand.IntN(budget-n), n))
		total += n
	}
	stop, watched := make(chan struct{}), make(chan int64)
	go func() { watched <- mostOnDisk(s, stop) }()
	var next atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(blobs); i = int(next.Add(1)) - 1 {
				pullSlice(t, s, origin, blobs[i])
			}
		})
	}
	all.Wait()
	close(stop)
	if most, bound := <-watched, int64(budget)*3/2+farAhead; most > bound {
		t.Errorf("%d bytes were on disk, of a budget of %d", most, budget)
	}
	if r, err := s.Get(t.Context(), kept.digest); err != nil {
		t.Error("what is being read is gone")
	} else {
		r.Close()
	}
	reading.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs.bytes > int64(budget) || s.reserved != 0 || len(s.pins) != 0 {
		t.Errorf("at the end %d bytes held, %d reserved, %d pinned", s.blobs.bytes, s.reserved, len(s.pins))
	}
}

func pullSlice(t *testing.T, s *Store, origin *sliceServer, b slice) {
	t.Helper()
	r, err := s.Fetch(t.Context(), b.digest, origin.source(b))
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	buf := make([]byte, 256<<10)
	for at := b.from; ; {
		n, err := r.Read(buf)
		if n > b.from+b.n-at || !bytes.Equal(buf[:n], origin.buffer[at:at+n]) {
			t.Errorf("other bytes at %d of %d", at-b.from, b.n)
			return
		}
		at += n
		if err == io.EOF && at == b.from+b.n {
			return
		}
		if err != nil {
			t.Errorf("%d of %d bytes: %v", at-b.from, b.n, err)
			return
		}
	}
}

// mostOnDisk returns the most bytes that the store's files had until stop.
func mostOnDisk(s *Store, stop <-chan struct{}) (most int64) {
	for {
		var now int64
		filepath.WalkDir(s.cfg.Dir, func(_ string, e fs.DirEntry, err error) error { //nolint:errcheck // files come and go
			if err == nil && !e.IsDir() {
				if info, err := e.Info(); err == nil {
					now += info.Size()
				}
			}
			return nil
		})
		most = max(most, now)
		select {
		case <-stop:
			return most
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestBudget(t *testing.T) {
	s := open(t, Config{Size: 1000})
	put := func(n int) digest.Digest {
		b, d := content(n)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		return d
	}
	held := func(d digest.Digest) bool {
		r, err := s.Get(t.Context(), d)
		if err == nil {
			r.Close()
		}
		return err == nil
	}
	oldest, pinned := put(400), put(401)
	reader, err := s.Get(t.Context(), pinned)
	if err != nil {
		t.Fatal(err)
	}
	if !held(oldest) {
		t.Fatal("evicted below the budget")
	}
	third := put(402)
	if held(oldest) || !held(third) {
		t.Error("the least recently used blob was to go: the older one of those that nobody reads")
	}
	fourth := put(403)
	if held(third) || !held(pinned) || !held(fourth) {
		t.Error("a blob that is being read was to stay")
	}
	if got, err := io.ReadAll(reader); err != nil || len(got) != 401 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	reader.Close()

	b, d := content(501)
	r := mustFetch(t, s, d, whole(b, new(atomic.Int64), int64(len(b))))
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("a blob larger than its share: %d bytes, %v", len(got), err)
	}
	if held(d) || !held(fourth) {
		t.Error("a blob larger than its share was kept, or flushed others")
	}
	if s.blobs.bytes > 1000 {
		t.Errorf("%d bytes held", s.blobs.bytes)
	}
}

// TestASweepLeavesWhatIsPulledOften has images pulled again and again, and between that each time more than
// the store may hold read once, as a scanner does.
func TestASweepLeavesWhatIsPulledOften(t *testing.T) {
	s := open(t, Config{Size: 10_000})
	n := 0
	put := func() digest.Digest {
		n++
		b, _ := content(1000 + n) // each another one
		d := digest.FromBytes(b)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		return d
	}
	pull := func(d digest.Digest) bool {
		r, err := s.Get(t.Context(), d)
		if err == nil {
			r.Close()
		}
		return err == nil
	}
	often := []digest.Digest{put(), put(), put()}
	for night := range 3 {
		for _, d := range often {
			if !pull(d) {
				t.Errorf("after %d sweeps what is pulled often is gone", night)
			}
		}
		for range 12 { // more than the budget
			put()
		}
	}
	for _, d := range often {
		if !pull(d) {
			t.Error("what was pulled before the last sweep is gone")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs.bytes > 10_000 {
		t.Errorf("%d bytes are held", s.blobs.bytes)
	}
}
