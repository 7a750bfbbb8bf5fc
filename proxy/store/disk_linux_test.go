package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of 1 MiB. readOnly makes it read-only, or writable again.
func smallDisk(t *testing.T) (dir string, readOnly func(bool)) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, func(on bool) {
		var flags uintptr = unix.MS_REMOUNT
		if on {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=1m"); err != nil {
			t.Fatal(err)
		}
	}
}

func metric(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// Pulls succeed although the disk is full or read-only. One warning and a metric say so,
// and no temporary file stays.
func TestPullsGoOnWithoutTheDisk(t *testing.T) {
	b, d := content(4 << 20)
	for _, state := range []string{"full", "read-only"} {
		for _, said := range []int64{int64(len(b)), -1} {
			dir, readOnly := smallDisk(t)
			var log bytes.Buffer
			metrics := prometheus.NewRegistry()
			s, err := Open(Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: metrics})
			if err != nil {
				t.Fatal(err)
			}
			readOnly(state == "read-only")
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					r, err := s.Fetch(t.Context(), d, whole(b, new(atomic.Int64), said))
					if err != nil {
						t.Errorf("%s: %v", state, err)
						return
					}
					defer r.Close()
					from := 0
					if i%4 == 3 && said >= 0 { // a range
						from = 3 << 20
						if _, err := r.Seek(int64(from), io.SeekStart); err != nil {
							t.Error(err)
						}
					}
					if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[from:]) {
						t.Errorf("%s, length %d: %d bytes from %d, %v", state, said, len(got), from, err)
					}
				})
			}
			all.Wait()
			if err := s.Put(d, b); err != nil {
				t.Errorf("%s: Put: %v", state, err)
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 {
				t.Errorf("%s: %d warnings\n%s", state, n, &log)
			}
			if metric(t, metrics, "breakwater_store_degraded") != 1 || metric(t, metrics, "breakwater_store_passed_total") == 0 {
				t.Errorf("%s: the metrics do not say so", state)
			}
			if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
				t.Errorf("%s: left behind: %v, %v", state, left, err)
			}
			readOnly(false)
			small, sd := content(1000)
			if err := s.Put(sd, small); err != nil || metric(t, metrics, "breakwater_store_degraded") != 0 {
				t.Errorf("%s: it keeps nothing again: %v", state, err)
			}
			s.Close()
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
}

// Also without the disk, no reader gets a complete wrong body.
func TestWrongBodiesWithoutTheDisk(t *testing.T) {
	b, d := content(4 << 20)
	wrong := bytes.Clone(b)
	wrong[3<<20] ^= 1
	dir, _ := smallDisk(t)
	s := open(t, Config{Dir: dir})
	for name, src := range map[string]Source{
		"wrong": whole(wrong, new(atomic.Int64), int64(len(b))), "of no length": whole(wrong, new(atomic.Int64), -1),
		"too long": whole(append(bytes.Clone(b), 0), new(atomic.Int64), int64(len(b))), "too short": whole(b[:len(b)-1], new(atomic.Int64), -1),
	} {
		r, err := s.Fetch(t.Context(), d, src)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if !errors.Is(err, ErrWrongContent) || len(got) > len(b)-holdBack {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// A direct stream that breaks off is resumed.
func TestAStreamWithoutTheDiskIsResumed(t *testing.T) {
	b, d := content(4 << 20)
	dir, readOnly := smallDisk(t)
	s := open(t, Config{Dir: dir})
	readOnly(true)
	defer readOnly(false)
	asked := 0
	r, err := s.Fetch(t.Context(), d, from(func(_ context.Context, offset, _ int64) (Body, error) {
		asked++
		end := min(offset+1<<20, int64(len(b)))
		return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset:end])), Size: int64(len(b)), Offset: offset}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) || asked != 4 {
		t.Errorf("%d bytes, asked %d times, %v", len(got), asked, err)
	}
}

// An upload onto a full disk succeeds, but is not kept.
func TestAnUploadOntoAFullDisk(t *testing.T) {
	dir, _ := smallDisk(t)
	s := open(t, Config{Dir: dir})
	b, d := content(4 << 20)
	u := s.NewUpload()
	upload(t, u, b)
	if err := u.Commit(d); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), d); err == nil {
		t.Error("it is held")
	}
	empty(t, s)
}

// A store from before there were format numbers opens on a disk that takes nothing,
// and serves what it holds. The number is written by the first start that can.
func TestAFullDiskDoesNotKeepAnOldStoreShut(t *testing.T) {
	for _, state := range []string{"full", "read-only"} {
		dir, readOnly := smallDisk(t)
		s := open(t, Config{Dir: dir})
		b, d := content(1000)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		s.Close()
		number, ballast := filepath.Join(dir, "format"), filepath.Join(dir, "ballast")
		if err := os.Remove(number); err != nil {
			t.Fatal(err)
		}
		if state == "full" {
			if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
		}
		readOnly(state == "read-only")
		var log bytes.Buffer
		s, err := Open(Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", state, len(got), err)
		}
		r.Close()
		s.Close()
		if n := strings.Count(log.String(), "format number is not written"); n != 1 {
			t.Errorf("%s: %d warnings\n%s", state, n, &log)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", state, left, err)
		}
		readOnly(false)
		os.Remove(ballast)
		open(t, Config{Dir: dir}).Close()
		if text, err := os.ReadFile(number); err != nil || string(text) != "1\n" {
			t.Errorf("%s: the number is %q, %v", state, text, err)
		}
	}
}
