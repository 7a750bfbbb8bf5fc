package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// noFills makes the disk refuse every fill. Held blobs stay.
func noFills(t *testing.T, s *Store) {
	t.Helper()
	if err := os.Remove(s.tempDir()); err != nil {
		t.Fatal(err)
	}
}

// silent is a body that sends nothing until its context ends.
func silent(ctx context.Context) io.ReadCloser {
	return io.NopCloser(readerFunc(func([]byte) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}))
}

func TestAHitDoesNotWaitForTheSourceOfAnotherBlob(t *testing.T) {
	s := open(t, Config{})
	b, d := content(100)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	noFills(t, s)
	asked, answer := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, other := content(200)
		_, err := s.Fetch(t.Context(), other, from(func(context.Context, int64, int64) (Body, error) {
			close(asked)
			<-answer
			return Body{}, errors.New("no such blob")
		}))
		if err == nil {
			t.Error("the refusal was lost")
		}
	})
	<-asked
	r, err := s.Get(t.Context(), d) // this hangs if the source is asked under a lock
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	close(answer)
	all.Wait()
}

func TestAShortageOfDescriptorsCostsNoBlob(t *testing.T) {
	s := open(t, Config{})
	b, d := content(100)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Skip(err)
	}
	_, err := s.Get(t.Context(), d)
	if back := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); back != nil {
		t.Fatal(back)
	}
	if err == nil {
		t.Fatal("there were descriptors")
	}
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestAFillEvictsNoMoreThanItNeeds(t *testing.T) {
	s := open(t, Config{Size: 1000})
	for _, n := range []int{300, 301} {
		b, d := content(n)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
	}
	b, d := content(390)
	r := mustFetch(t, s, d, whole(b, new(atomic.Int64), int64(len(b))))
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	settle(s, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs.bytes != 991 {
		t.Errorf("%d bytes held, of 991 that fit in 1000", s.blobs.bytes)
	}
}

func TestContentLargerThanItsShareFlushesNothing(t *testing.T) {
	s := open(t, Config{Size: 1000})
	for _, n := range []int{300, 501} {
		b, d := content(n)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
	}
	if s.blobs.bytes != 300 {
		t.Errorf("%d bytes held", s.blobs.bytes)
	}
}

// A hundred clients ask repos that do not hold the blob. They are refused at the same
// time, and not one after the other.
func TestRefusalsDoNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		_, d := content(10)
		begun := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, err := s.Fetch(t.Context(), d, from(func(context.Context, int64, int64) (Body, error) {
					<-time.After(time.Second)
					return Body{}, errors.New("not in this repo")
				}))
				if err == nil {
					t.Error("a refusal was lost")
				}
			})
		}
		all.Wait()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		s.Close()
	})
}

// After a refusal every waiting caller asks its own source at once. One body is read,
// and all callers share it.
func TestOneOfManyAnswersIsTakenAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		b, d := content(1 << 20)
		var taken, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				if i > 0 {
					<-time.After(time.Millisecond) // after the caller that is refused
				}
				r, err := s.Fetch(t.Context(), d, from(func(ctx context.Context, _, _ int64) (Body, error) {
					<-time.After(time.Second)
					if i == 0 {
						return Body{}, errors.New("not in this repo")
					}
					first := true
					return Body{ReadCloser: io.NopCloser(io.MultiReader(readerFunc(func([]byte) (int, error) {
						if first {
							first = false
							taken.Add(1)
						}
						return 0, io.EOF
					}), bytes.NewReader(b))), Size: int64(len(b)), Offset: 0}, nil
				}))
				if err != nil {
					refused.Add(1)
					return
				}
				defer r.Close()
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		all.Wait()
		if taken.Load() != 1 || refused.Load() != 1 {
			t.Errorf("%d bodies were read, %d callers refused", taken.Load(), refused.Load())
		}
		s.Close()
	})
}

// A source says one length first, and a longer one when it is asked for the rest. If the
// longer one counted, the bytes that are held back would lie behind the end that the
// client was told, and the client would get a complete wrong body.
func TestAnotherLengthPastTheDiskIsWrong(t *testing.T) {
	b, d := content(2 << 20)
	wrong := append(bytes.Clone(b), make([]byte, 1<<20)...)
	wrong[len(b)-1] ^= 1
	s := open(t, Config{})
	noFills(t, s)
	asked := 0
	r := mustFetch(t, s, d, from(func(_ context.Context, offset, _ int64) (Body, error) {
		if asked++; asked == 1 {
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(wrong[:1<<20])), Size: int64(len(b)), Offset: 0}, nil
		}
		return Body{ReadCloser: io.NopCloser(bytes.NewReader(wrong[offset:])), Size: int64(len(wrong)), Offset: offset}, nil
	}))
	if n, err := io.CopyN(io.Discard, r, int64(len(b))); !errors.Is(err, ErrWrongContent) || n > int64(len(b)-holdBack) {
		t.Errorf("%d of %d bytes given away, %v", n, len(b), err)
	}
}

// A server seeks to the end first to learn the length. That must not ask the source a
// second time.
func TestAStreamPastTheDiskAsksOnce(t *testing.T) {
	b, d := content(1 << 20)
	s := open(t, Config{})
	noFills(t, s)
	var calls atomic.Int64
	r := mustFetch(t, s, d, whole(b, &calls, int64(len(b))))
	for _, whence := range []int{io.SeekEnd, io.SeekStart} {
		if _, err := r.Seek(0, whence); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) || calls.Load() != 1 {
		t.Errorf("%d bytes, asked %d times, %v", len(got), calls.Load(), err)
	}
}

func TestAVerifiedBodyIsReadToItsEndThoughTheDiskRefusesIt(t *testing.T) {
	s := open(t, Config{})
	b, d := content(200 << 10)
	gate := make(chan struct{})
	r := mustFetch(t, s, d, gated(b, 100<<10, gate, new(atomic.Int64)))
	for _, err := range []error{os.RemoveAll(s.tempDir()), os.RemoveAll(s.blobDir()), os.WriteFile(s.blobDir(), nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if left, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTheStoreIsOpenedAgainInOneProcess(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Metrics: prometheus.NewRegistry()}
	for range 2 {
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	other := Config{Dir: t.TempDir(), Metrics: cfg.Metrics}
	open(t, cfg)
	if _, err := Open(other); err == nil {
		t.Fatal("two stores count in one place")
	}
	other.Metrics = nil
	open(t, other) // the refused Open left no lock behind
}

// A fill that starts while the store closes is cancelled, or does not start. Close
// returns only when it has ended.
func TestCloseEndsTheFillsThatBegin(t *testing.T) {
	for range 200 {
		s, err := Open(Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		_, d := content(1 << 18)
		var all sync.WaitGroup
		begun := make(chan struct{})
		var readers atomic.Int64
		all.Go(func() {
			close(begun)
			r, err := s.Fetch(t.Context(), d, from(func(ctx context.Context, _, _ int64) (Body, error) {
				return Body{ReadCloser: silent(ctx), Size: 1 << 18, Offset: 0}, nil
			}))
			if err != nil {
				return
			}
			defer r.Close()
			readers.Add(1)
			if _, err := r.Read(make([]byte, 1)); err == nil {
				t.Error("a byte that nobody sent")
			}
		})
		<-begun
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(s.tempDir()); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		all.Wait()
	}
}

func TestReadsWithoutBytesDoNotPutOffTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		_, d := content(1 << 18)
		var reads atomic.Int64
		_, err := s.Fetch(t.Context(), d, from(func(ctx context.Context, _, _ int64) (Body, error) {
			return Body{ReadCloser: io.NopCloser(readerFunc(func([]byte) (int, error) {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return 0, ctx.Err()
				}
				if reads.Add(1) > 1000 {
					return 0, errors.New("nobody gave up")
				}
				return 0, nil
			})), Size: 1 << 18, Offset: 0}, nil
		}))
		if err == nil || reads.Load() > int64(maxResumes+1)*int64(defaultIdle/time.Second) {
			t.Errorf("%v after %d seconds", err, reads.Load())
		}
		s.Close()
	})
}

// A client can name a digest whose first 32 bytes are another digest's.
func TestADigestThatBeginsAsAnotherIsAnother(t *testing.T) {
	s := open(t, Config{})
	b, d := content(100)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	alike := digest.Digest("sha512:" + d.Encoded() + strings.Repeat("0", 64))
	if _, err := s.Get(t.Context(), alike); err == nil {
		t.Error("nobody stored that")
	}
	if s.Use(alike) {
		t.Error("it is listed")
	}
	if was, err := s.Purge(alike); was || err != nil {
		t.Errorf("it was there: %v, %v", was, err)
	}
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatalf("what was stored is gone: %v", err)
	}
	r.Close()
}
