package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"example.org/breakwater/internal/trial"
)

// hangingDisk mounts a file system whose calls can be made to hang: open(2), and read(2)
// of what is open, do not return until let is called. called waits for the first one. That is fanotify's: a program that
// watches a file system may forbid each of these calls, and they wait for its answer.
func hangingDisk(t *testing.T) (dir string, hang func() (called func()), let func()) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	watch := -1
	hang = func() (called func()) {
		t.Helper()
		var err error
		if watch, err = unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_NONBLOCK, unix.O_RDONLY); err == nil {
			err = unix.FanotifyMark(watch, unix.FAN_MARK_ADD|unix.FAN_MARK_MOUNT, unix.FAN_OPEN_PERM|unix.FAN_ACCESS_PERM, unix.AT_FDCWD, dir)
		}
		if err != nil {
			t.Skipf("no calls can be made to hang here: %v", err)
		}
		return func() {
			for n := 0; n == 0; {
				if n, err = unix.Poll([]unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}}, 100); err != nil && err != unix.EINTR {
					t.Fatal(err)
				}
			}
		}
	}
	let = func() {
		if watch >= 0 { // those that wait are let through
			unix.Close(watch)
			watch = -1
		}
	}
	t.Cleanup(let)
	return dir, hang, let
}

// within fails the test where something takes longer than it may.
func within(t *testing.T, what string, most time.Duration, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(most):
		t.Errorf("%s takes longer than %v", what, most)
		<-done
	}
}

// pullFrom reads a blob from an offset on, and fails the test where it is not what it should be.
func pullFrom(t *testing.T, s *Store, b []byte, d digest.Digest, from int64, calls *atomic.Int64) {
	t.Helper()
	r, err := s.Fetch(t.Context(), d, whole(b, calls, int64(len(b))))
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	if _, err := r.Seek(from, io.SeekStart); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[from:]) {
		t.Errorf("%d bytes of %d, %v", len(got), int64(len(b))-from, err)
	}
}

// slow is what may take its time on a loaded machine: a call that hangs is given up after
// a second.
const slow = 15 * time.Second

// A disk on which open(2) does not return costs the cache, not the pulls: what is in
// memory, what sources have and pushes go on, nobody waits for long, and metrics say so.
func TestADiskThatHangsCostsTheCacheAndNotThePulls(t *testing.T) {
	dir, hang, let := hangingDisk(t)
	var log bytes.Buffer
	metrics := prometheus.NewRegistry()
	s := open(t, Config{Dir: dir, Scrub: -1, Metrics: metrics, Log: slog.New(slog.NewTextHandler(&log, nil))})
	<-s.scanned
	held, hd := content(100 << 10)
	cold, cd := content(4 << 20)
	if err := s.Put(hd, held); err != nil {
		t.Fatal(err)
	}
	called := hang()
	defer let()
	var calls atomic.Int64
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		if _, err := s.Get(t.Context(), hd); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what hangs: %v", err)
		}
	}()
	called()
	within(t, "to ask for what is in memory, while a call hangs", patience/4, func() {
		if !s.Use(hd) {
			t.Error("it is not listed")
		}
	})
	within(t, "a pull of what is held", slow, func() { pullFrom(t, s, held, hd, 0, &calls) })
	within(t, "a pull of something new", slow, func() { pullFrom(t, s, cold, cd, 0, &calls) })
	within(t, "a range of it", slow, func() { pullFrom(t, s, cold, cd, 3<<20, &calls) })
	within(t, "a manifest", slow, func() {
		b, d := content(1000)
		if err := s.Put(d, b); err != nil {
			t.Error(err)
		}
	})
	within(t, "an upload", slow, func() {
		b, d := content(300 << 10)
		u := s.NewUpload()
		upload(t, u, b)
		if err := u.Commit(d); err != nil {
			t.Error(err)
		}
	})
	<-stuck
	awaitHanging(t, s, true)
	if metric(t, metrics, "breakwater_store_hanging") != 1 || !s.Degraded() || strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("degraded: %v\n%s", s.Degraded(), &log)
	}
	within(t, "a pull when it is known", patience, func() { pullFrom(t, s, held, hd, 0, &calls) })
}

// awaitHanging waits until the store says that its disk hangs, or that it does not.
func awaitHanging(t *testing.T, s *Store, want bool) {
	t.Helper()
	trial.Until(t, func() error {
		if s.Hanging() != want {
			return fmt.Errorf("hanging: %v", !want)
		}
		return nil
	})
}

// When the disk answers again, what it holds is served again, and it takes what is new.
func TestADiskThatAnswersAgainIsUsedAgain(t *testing.T) {
	dir, hang, let := hangingDisk(t)
	s := open(t, Config{Dir: dir, Scrub: -1})
	<-s.scanned
	held, hd := content(100 << 10)
	cold, cd := content(4 << 20)
	if err := s.Put(hd, held); err != nil {
		t.Fatal(err)
	}
	hang()
	defer let()
	var calls atomic.Int64
	pullFrom(t, s, held, hd, 0, &calls)
	awaitHanging(t, s, true)
	let()
	awaitHanging(t, s, false)
	before := calls.Load()
	pullFrom(t, s, held, hd, 0, &calls)
	if calls.Load() != before {
		t.Error("what was held all the time is fetched again")
	}
	pullFrom(t, s, cold, cd, 0, &calls)
	settle(s, cd)
	if s.Degraded() {
		t.Error("it is still degraded")
	}
	if r, err := s.Get(t.Context(), cd); err != nil {
		t.Error("what is new is not kept")
	} else {
		r.Close()
	}
	if left, err := os.ReadDir(s.tempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A disk that was slow to open a blob has not refused anything: when it answers again, nothing
// is left to be done.
func TestASlowDiskIsNotDegraded(t *testing.T) {
	dir, hang, let := hangingDisk(t)
	var log bytes.Buffer
	s := open(t, Config{Dir: dir, Scrub: -1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	<-s.scanned
	b, d := content(100 << 10)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		hang()
		if _, err := s.Get(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("while it is slow: %v", err)
		}
		let()
		awaitHanging(t, s, false)
		r, err := s.Get(t.Context(), d)
		if err != nil || s.Degraded() {
			t.Fatalf("afterwards: %v, degraded: %v", err, s.Degraded())
		}
		r.Close()
	}
	if n := strings.Count(log.String(), "does not answer"); n != 2 {
		t.Errorf("%d warnings\n%s", n, &log)
	}
}

// One file that cannot be opened is one blob's loss: the others are served, and the blob
// itself is fetched again.
func TestOneFileThatHangsIsOneBlobsLoss(t *testing.T) {
	dir, _, _ := hangingDisk(t)
	s := open(t, Config{Dir: dir, Scrub: -1})
	<-s.scanned
	bad, bd := content(100 << 10)
	good, gd := content(101 << 10)
	for d, b := range map[digest.Digest][]byte{bd: bad, gd: good} {
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
	}
	watch, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err == nil {
		err = unix.FanotifyMark(watch, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, s.path(bd))
	}
	if err != nil {
		t.Skipf("no calls can be made to hang here: %v", err)
	}
	defer unix.Close(watch)
	var calls atomic.Int64
	for _, c := range []struct {
		b []byte
		d digest.Digest
	}{{bad, bd}, {good, gd}, {bad, bd}, {good, gd}} {
		r, err := s.Fetch(t.Context(), c.d, whole(c.b, &calls, int64(len(c.b))))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, c.b) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		r.Close()
		settle(s, c.d)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d transfers, want one: the blob that cannot be opened is replaced", n)
	}
}

var _ = binary.LittleEndian
