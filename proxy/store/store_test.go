package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
)

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func content(n int) ([]byte, digest.Digest) {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b, digest.FromBytes(b)
}

// from is a source that answers so.
func from(open func(ctx context.Context, offset, length int64) (Body, error)) Source {
	return Source{Name: "test", Open: open}
}

// whole is a source that sends b, its length said or not.
func whole(b []byte, calls *atomic.Int64, size int64) Source {
	return from(func(_ context.Context, offset, _ int64) (Body, error) {
		calls.Add(1)
		return Body{io.NopCloser(bytes.NewReader(b[offset:])), size, offset}, nil
	})
}

// gated sends the first part at once and the rest when the gate opens.
func gated(b []byte, first int, gate <-chan struct{}, calls *atomic.Int64) Source {
	return from(func(ctx context.Context, _, _ int64) (Body, error) {
		calls.Add(1)
		rest := readerFunc(func(p []byte) (int, error) {
			select {
			case <-gate:
				return 0, io.EOF
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		body := io.MultiReader(bytes.NewReader(b[:first]), rest, bytes.NewReader(b[first:]))
		return Body{io.NopCloser(body), int64(len(b)), 0}, nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// settle waits until the fill of d, if there is one, has been committed.
func settle(s *Store, d digest.Digest) {
	s.mu.Lock()
	f := s.fills[d]
	s.mu.Unlock()
	if f != nil {
		<-f.ended
	}
}

// empty fails the test when the store keeps anything, whole or half.
func empty(t *testing.T, s *Store) {
	t.Helper()
	filepath.WalkDir(s.cfg.Dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "lock" {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
}

func mustFetch(t *testing.T, s *Store, d digest.Digest, src ...Source) *Reader {
	t.Helper()
	r, err := s.Fetch(t.Context(), d, src...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestManyReadersShareOneFill(t *testing.T) {
	b, d := content(2 << 20)
	for _, proto := range []string{"http", "tls", "h2"} {
		t.Run(proto, func(t *testing.T) {
			s := open(t, Config{})
			var calls atomic.Int64
			gate := make(chan struct{})
			src := gated(b, 1<<19, gate, &calls)
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				reader, err := s.Fetch(r.Context(), d, src)
				if err != nil {
					t.Error(err)
					return
				}
				defer reader.Close()
				http.ServeContent(flusher{w}, r, "", time.Time{}, reader)
			}))
			switch proto {
			case "http":
				srv.Start()
			case "tls":
				srv.StartTLS()
			case "h2":
				srv.EnableHTTP2 = true
				srv.StartTLS()
			}
			defer srv.Close()
			var all sync.WaitGroup
			var opened sync.Once
			for range 32 {
				all.Go(func() {
					resp, err := srv.Client().Get(srv.URL)
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					first := make([]byte, 64<<10)
					if _, err := io.ReadFull(resp.Body, first); err != nil {
						t.Error(err)
					}
					opened.Do(func() { close(gate) }) // bytes are here before the fill can end
					rest, err := io.ReadAll(resp.Body)
					if err != nil || !bytes.Equal(append(first, rest...), b) {
						t.Errorf("%d bytes, %v", len(first)+len(rest), err)
					}
				})
			}
			all.Wait()
			if calls.Load() != 1 {
				t.Errorf("the source was asked %d times", calls.Load())
			}
		})
	}
}

type flusher struct{ http.ResponseWriter }

func (w flusher) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

func TestFillOutlivesItsFirstReader(t *testing.T) {
	s := open(t, Config{})
	b, d := content(1 << 20)
	var calls atomic.Int64
	gate := make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	first, err := s.Fetch(ctx, d, gated(b, len(b)/10, gate, &calls))
	if err != nil {
		t.Fatal(err)
	}
	leave()
	first.Close()
	second := mustFetch(t, s, d)
	close(gate)
	if got, err := io.ReadAll(second); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	settle(s, d)
	third, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, held := third.File(); !held {
		t.Error("not held after the fill")
	}
}

func TestWrongBodiesAreNeverCompleted(t *testing.T) {
	b, d := content(1 << 20)
	flipped := bytes.Clone(b)
	flipped[17] ^= 1
	for name, src := range map[string]Source{
		"wrong bytes":                   whole(flipped, new(atomic.Int64), int64(len(b))),
		"wrong bytes of no length":      whole(flipped, new(atomic.Int64), -1),
		"truncated, length says so":     whole(b[:len(b)-1], new(atomic.Int64), int64(len(b)-1)),
		"truncated, length lies":        whole(append(bytes.Clone(b[:len(b)/2]), make([]byte, len(b)/2)...), new(atomic.Int64), int64(len(b))),
		"extra bytes":                   whole(append(bytes.Clone(b), 0), new(atomic.Int64), int64(len(b))),
		"extra bytes of no length":      whole(append(bytes.Clone(b), 0), new(atomic.Int64), -1),
		"an HTML page":                  whole([]byte("<html>"), new(atomic.Int64), 6),
		"nothing":                       whole(nil, new(atomic.Int64), 0),
		"nothing, and no length either": whole(nil, new(atomic.Int64), -1),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{})
			var got []byte
			r, err := s.Fetch(t.Context(), d, src)
			if err == nil {
				defer r.Close()
				got, err = io.ReadAll(r)
			}
			if !errors.Is(err, ErrWrongContent) {
				t.Errorf("read to the end: %v", err)
			}
			if longest := len(b) + 1; len(got) > longest-holdBack {
				t.Errorf("%d bytes given away: the last %d were to be held back", len(got), holdBack)
			}
			empty(t, s)
			healthy := mustFetch(t, s, d, whole(b, new(atomic.Int64), -1))
			if got, err := io.ReadAll(healthy); err != nil || !bytes.Equal(got, b) {
				t.Errorf("from a healthy source: %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestABodyThatBreaksOffIsResumed(t *testing.T) {
	b, d := content(300 << 10)
	for _, at := range []int{0, 1, len(b) / 2, len(b) - 1} {
		for _, ignoresRange := range []bool{false, true} {
			t.Run(fmt.Sprintf("at %d, ignoring ranges %v", at, ignoresRange), func(t *testing.T) {
				s := open(t, Config{})
				var offsets []int64
				r := mustFetch(t, s, d, from(func(_ context.Context, offset, _ int64) (Body, error) {
					offsets = append(offsets, offset)
					if len(offsets) == 1 {
						cut := io.MultiReader(bytes.NewReader(b[:at]), iotest.ErrReader(errors.New("reset by peer")))
						return Body{io.NopCloser(cut), int64(len(b)), 0}, nil
					}
					if ignoresRange {
						offset = 0
					}
					return Body{io.NopCloser(bytes.NewReader(b[offset:])), int64(len(b)), offset}, nil
				}))
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if len(offsets) != 2 || offsets[1] != int64(at) {
					t.Errorf("asked from %v", offsets)
				}
			})
		}
	}
}

func TestARefusalReachesTheCallerAsItIs(t *testing.T) {
	s := open(t, Config{})
	_, d := content(1)
	refusal := errors.New("no such blob")
	if _, err := s.Fetch(t.Context(), d, from(func(context.Context, int64, int64) (Body, error) { return Body{}, refusal })); !errors.Is(err, refusal) {
		t.Error(err)
	}
	empty(t, s)
}

// A client of one repo asks for a digest that only another repo holds: its
// refusal is not to become the other repo's.
func TestARefusalIsNotSharedWithOtherCallers(t *testing.T) {
	s := open(t, Config{})
	b, d := content(1000)
	asked, refuse := make(chan struct{}), make(chan struct{})
	var outcome error
	var all sync.WaitGroup
	all.Go(func() {
		_, outcome = s.Fetch(t.Context(), d, from(func(context.Context, int64, int64) (Body, error) {
			close(asked)
			<-refuse
			return Body{}, errors.New("not in this repo")
		}))
	})
	<-asked
	all.Go(func() {
		r, err := s.Fetch(t.Context(), d, whole(b, new(atomic.Int64), -1))
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	close(refuse)
	all.Wait()
	if outcome == nil {
		t.Error("the refused caller got the other's blob")
	}
}

func TestASilentSourceIsGivenUp(t *testing.T) {
	s := open(t, Config{Idle: 20 * time.Millisecond})
	b, d := content(200 << 10)
	var calls atomic.Int64
	r := mustFetch(t, s, d, gated(b, 100, nil, &calls))
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "sent too little for") {
		t.Error(err)
	}
	if calls.Load() < 2 {
		t.Error("nobody asked again")
	}
	empty(t, s)
}

func TestALeavingReaderIsNotKeptWaiting(t *testing.T) {
	s := open(t, Config{})
	b, d := content(200 << 10)
	ctx, leave := context.WithCancel(t.Context())
	r, err := s.Fetch(ctx, d, gated(b, 100, nil, new(atomic.Int64)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	leave()
	if _, err := r.Seek(1000, io.SeekStart); err != nil { // where there are no bytes yet
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCrashLeavesAStoreThatOpens(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	b, d := content(100)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second process: %v", err)
	}
	s.Close()
	half := filepath.Join(dir, "tmp", "fill-123")
	if err := os.WriteFile(half, b[:50], 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a fill is still there: %v", err)
	}
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _ := io.ReadAll(r); !bytes.Equal(got, b) {
		t.Error("another content after the restart")
	}
}

func TestATruncatedFileIsNotServed(t *testing.T) {
	s := open(t, Config{})
	b, d := content(100)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.path(d), 50); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	r := mustFetch(t, s, d, whole(b, new(atomic.Int64), -1))
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestPutRefusesWrongContent(t *testing.T) {
	s := open(t, Config{})
	_, d := content(10)
	if err := s.Put(d, []byte("x")); !errors.Is(err, ErrWrongContent) {
		t.Error(err)
	}
	if err := s.Put("sha256:../../x", nil); err == nil {
		t.Error("a digest that is a path was taken")
	}
	empty(t, s)
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

// What was used last before a restart is evicted last after it, and a blob is
// served although the store has not been listed yet.
func TestTheOrderOfUseSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	var all []digest.Digest
	for i, n := range []int{400, 401, 402} {
		b, d := content(n)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * 24 * time.Hour)
		if err := os.Chtimes(s.path(d), at, at); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	s.Close()
	s = open(t, Config{Dir: dir})
	<-s.scanned
	r, err := s.Get(t.Context(), all[0]) // the oldest is used: that is written down
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	s.Close()
	s = open(t, Config{Dir: dir, Size: 900})
	<-s.scanned
	for i, want := range []bool{true, false, true} {
		r, err := s.Get(t.Context(), all[i])
		if (err == nil) != want {
			t.Errorf("blob %d: %v", i, err)
		}
		if err == nil {
			r.Close()
		}
	}
}

func TestABlobIsServedBeforeTheStoreIsListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	b, d := content(1000)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, Config{Dir: dir})
	<-s.scanned
	s.mu.Lock() // as if it had not been
	s.blobs, s.scanned = newIndex(), make(chan struct{})
	s.mu.Unlock()
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) || s.blobs.bytes != 1000 {
		t.Errorf("%d bytes, %v; %d listed", len(got), err, s.blobs.bytes)
	}
	if _, other := content(1001); s.blobs.get(other) != nil {
		t.Error("a blob that is not there is listed")
	}
}

// Twenty blobs with a flipped bit, some of them while the store is open, some
// while it is not: none is read to its end, all are fetched again.
func TestRottenBlobsAreNotServed(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, ranged := range []bool{false, true} {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir})
			type rotten struct {
				content []byte
				digest  digest.Digest
			}
			var all []rotten
			for i := range 20 {
				b, d := content(1 + i*i*1000)
				if err := s.Put(d, b); err != nil {
					t.Fatal(err)
				}
				all = append(all, rotten{b, d})
				flipped := bytes.Clone(b)
				flipped[len(b)/2] ^= 1
				if err := os.WriteFile(s.path(d), flipped, 0o600); err != nil {
					t.Fatal(err)
				}
				later := time.Now().Add(time.Duration(i+1) * time.Second)
				if err := os.Chtimes(s.path(d), later, later); err != nil {
					t.Fatal(err)
				}
			}
			if restart {
				s.Close()
				s = open(t, Config{Dir: dir})
			}
			for _, blob := range all {
				r, err := s.Get(t.Context(), blob.digest)
				if err != nil {
					t.Fatal(err)
				}
				if ranged {
					if _, err := r.Seek(int64(len(blob.content)-1), io.SeekStart); err != nil {
						t.Fatal(err)
					}
				}
				got, err := io.ReadAll(r)
				r.Close()
				if !errors.Is(err, ErrWrongContent) || len(got) > max(0, len(blob.content)-holdBack) {
					t.Errorf("restart %v, range %v: %d of %d bytes served, %v", restart, ranged, len(got), len(blob.content), err)
				}
				again := mustFetch(t, s, blob.digest, whole(blob.content, new(atomic.Int64), -1))
				if got, err := io.ReadAll(again); err != nil || !bytes.Equal(got, blob.content) {
					t.Errorf("fetched again: %d bytes, %v", len(got), err)
				}
			}
		}
	}
}

// A blob that is still what it was is checked once after a start, and then
// handed over as a file again.
func TestABlobIsProvenOnceAfterAStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	b, d := content(300 << 10)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	file := func(want bool, from int64) {
		t.Helper()
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, bare := r.File(); bare != want {
			t.Errorf("handed over as a file: %v", bare)
		}
		if _, err := r.Seek(from, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[from:]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	file(true, 0)
	for _, from := range []int64{0, 1000} {
		s.Close()
		s = open(t, Config{Dir: dir})
		file(false, from)
		file(true, from)
	}
}

func TestTheScrubFindsWhatNobodyReads(t *testing.T) {
	s := open(t, Config{Scrub: time.Millisecond})
	b, d := content(1000)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.path(d))
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if err := os.WriteFile(s.path(d), b, 0o600); err != nil {
		t.Fatal(err)
	}
	// Put the time back, so that only the scrub can tell; it may have been faster.
	if err := os.Chtimes(s.path(d), info.ModTime(), info.ModTime()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for {
		r, err := s.Get(t.Context(), d)
		if errors.Is(err, fs.ErrNotExist) {
			break // the test's own deadline ends this, if nothing else does
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}

// FuzzReader holds readers of a running fill to a slice of bytes.
func FuzzReader(f *testing.F) {
	f.Add(uint32(200<<10), uint32(100), uint16(4000), true)
	f.Add(uint32(1), uint32(0), uint16(1), false)
	f.Add(uint32(0), uint32(0), uint16(1), true)
	f.Fuzz(func(t *testing.T, size, offset uint32, step uint16, known bool) {
		b, d := content(int(size % (1 << 20)))
		said := int64(-1)
		if known {
			said = int64(len(b))
		}
		s := open(t, Config{})
		r := mustFetch(t, s, d, from(func(context.Context, int64, int64) (Body, error) {
			return Body{io.NopCloser(iotest.HalfReader(bytes.NewReader(b))), said, 0}, nil
		}))
		at := int64(offset) % int64(len(b)+1)
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, int(step)+1)
		var got []byte
		for {
			n, err := r.Read(buf)
			got = append(got, buf[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, b[at:]) {
			t.Errorf("%d bytes from %d of %d", len(got), at, len(b))
		}
	})
}
