package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// strays puts files, directories, links and pipes that are no blobs into a directory, and
// returns their paths. name gives the name of the i-th.
func strays(t *testing.T, dir string, name func(i int) string) (all []string) {
	t.Helper()
	for i, put := range []func(path string) error{
		func(path string) error { return os.WriteFile(path, nil, 0o600) },
		func(path string) error { return os.Mkdir(path, 0o700) },
		func(path string) error { return os.MkdirAll(filepath.Join(path, "full"), 0o700) },
		func(path string) error { return os.Symlink("/nowhere/at/all", path) },
		func(path string) error { return os.Symlink(path, path) },
		func(path string) error { return os.Symlink("/proc/self/status", path) },
		func(path string) error { return unix.Mkfifo(path, 0o600) },
		func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	} {
		if path := filepath.Join(dir, name(i)); name(i) != "" {
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			all = append(all, path)
		}
	}
	return all
}

// everywhere puts strays on every level of a store's directory.
func everywhere(t *testing.T, dir string, taken digest.Digest) (all []string) {
	t.Helper()
	plain := func(i int) string { return ".nfs000" + string(rune('0'+i)) }
	blobs := filepath.Join(dir, "blobs")
	level := func(dir string, name func(int) string) { all = append(all, strays(t, dir, name)...) }
	level(dir, plain)
	level(blobs, plain)
	level(blobs, func(i int) string { return []string{"", "sha384", "", "sha512", "", "", "", ""}[i] })
	level(filepath.Join(blobs, "sha256"), plain)
	level(filepath.Join(blobs, "sha256"), func(i int) string { return "0" + string(rune('0'+i)) })
	prefix := filepath.Join(blobs, "sha256", taken.Encoded()[:2])
	level(prefix, plain)
	level(prefix, func(i int) string { // names of blobs, but for the first, which would be an empty blob
		return strings.TrimPrefix(taken.Encoded()[:2]+strings.Repeat(string(rune('0'+i)), 62), taken.Encoded()[:2]+strings.Repeat("0", 62))
	})
	return all
}

// Whatever lies in the store's directory, the store opens, lists its blobs and keeps to
// its budget. One warning says how much it went past, and all of that stays.
func TestStraysEndNeitherTheScanNorTheBudget(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	all := hold(t, s, 6)
	s.Close()
	left := everywhere(t, dir, all[5])
	strays(t, filepath.Join(dir, "tmp"), func(i int) string { return "fill-" + string(rune('0'+i)) })
	for _, size := range []int64{8 << 20, 4 << 20} {
		var log bytes.Buffer
		s = open(t, Config{Dir: dir, Size: size, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if _, err := s.Get(t.Context(), digest.Digest("sha256:"+filepath.Base(left[len(left)-2]))); err == nil { // perhaps before the scan has ended
			t.Error("a pipe is a blob")
		}
		<-s.scanned
		b, d := content(1<<20 + 100)
		mustFetch(t, s, d, whole(b, new(atomic.Int64), int64(len(b)))).Close()
		settle(s, d)
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		r.Close()
		s.Close()
		if n := blobsOnDisk(t, dir); n > size || n < size/2 {
			t.Errorf("%d bytes are on disk, of a budget of %d", n, size)
		}
		if n := strings.Count(log.String(), "level=WARN msg=\"the store's directory"); n != 1 || !strings.Contains(log.String(), "strays=") || strings.Contains(log.String(), "strays=1 ") {
			t.Errorf("%d warnings\n%s", n, &log)
		}
	}
	for _, path := range left {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// blobsOnDisk returns the size of the regular files among the blobs.
func blobsOnDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			n += info.Size()
		}
		return nil // an unreadable directory has none
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// asNobody lets the process be one that permissions bind, until the test ends.
func asNobody(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, nobody, nobody)
		}
		return err
	})
	if err == nil {
		err = os.Chmod(filepath.Dir(dir), 0o755)
	}
	if err == nil {
		err = syscall.Setresuid(-1, nobody, -1)
	}
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setresuid(-1, 0, -1); err != nil {
			t.Fatal(err)
		}
	})
}

// A directory that cannot be read costs what is in it, and nothing more. A blob that may
// be in it is looked for when it is asked for.
func TestAnUnreadableDirectoryEndsNeitherTheScanNorTheBudget(t *testing.T) {
	for _, level := range []string{"tmp", "blobs", "sha256", "prefix", "stray"} {
		t.Run(level, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir})
			all := hold(t, s, 6)
			s.Close()
			lost := filepath.Join(dir, "blobs", "sha256", "00")
			os.Mkdir(lost, 0o700) //nolint:errcheck // it may be there
			shut := map[string]string{"tmp": filepath.Join(dir, "tmp"), "blobs": filepath.Join(dir, "blobs"), "sha256": filepath.Dir(lost), "prefix": filepath.Dir(s.path(all[0])), "stray": lost}[level]
			asNobody(t, dir)
			if err := os.Chmod(shut, 0o300); err != nil { // names can be opened, but not listed
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(shut, 0o700) }) //nolint:errcheck // so that it can be removed
			var log bytes.Buffer
			s = open(t, Config{Dir: dir, Size: 4 << 20, Log: slog.New(slog.NewTextHandler(&log, nil))})
			<-s.scanned
			s.mu.Lock() // until then the scan may log
			text := log.String()
			s.mu.Unlock()
			if n := strings.Count(text, "level=WARN"); n != 1 || !strings.Contains(text, "permission denied") {
				t.Errorf("%d warnings\n%s", n, text)
			}
			if r, err := s.Get(t.Context(), all[0]); err != nil && level != "tmp" && level != "stray" {
				t.Errorf("what cannot be listed is not found: %v", err)
			} else if err == nil {
				r.Close()
			}
			b, d := content(1<<20 + 100)
			if got, err := io.ReadAll(mustFetch(t, s, d, whole(b, new(atomic.Int64), int64(len(b))))); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			settle(s, d)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.blobs.bytes > 4<<20 {
				t.Errorf("%d bytes are held, of a budget of 4 MiB", s.blobs.bytes)
			}
		})
	}
}

// A file that says to be longer than any blob is none: it does not evict the blobs.
func TestAFileLongerThanAnyBlobIsNone(t *testing.T) {
	dir, _ := smallDisk(t)
	s := open(t, Config{Dir: dir})
	b, d := content(1000)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	long := s.path(d)[:len(s.path(d))-2] + "00"
	if err := os.WriteFile(long, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(long, 1<<62); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Hour) // the blob is the one to be evicted first
	if err := os.Chtimes(s.path(d), before, before); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, Config{Dir: dir, Size: 8 << 20})
	<-s.scanned
	if n := heldOf(s, []digest.Digest{d}); n != 1 {
		t.Error("the blob is gone")
	}
	s.Close()
}

// What is no file in a blob's place is no blob, and nobody waits for it: the blob is dropped,
// and fetched again where there is room for it.
func TestWhatIsNoFileInABlobsPlace(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a pipe":            func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":       func(path string) error { return os.Mkdir(path, 0o700) },
		"a link to nowhere": func(path string) error { return os.Symlink(path+".gone", path) },
		"a link to a file": func(path string) error {
			b, _ := content(100 << 10)
			return errors.Join(os.WriteFile(path+".x", b, 0o600), os.Symlink(path+".x", path))
		},
		"a socket": func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
		"nothing":  func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Scrub: -1})
			<-s.scanned
			b, d := content(100 << 10)
			if err := s.Put(d, b); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(s.path(d)), make(s.path(d))); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), d); !errors.Is(err, fs.ErrNotExist) || s.Use(d) {
				t.Errorf("%v, and it is listed: %v", err, s.Use(d))
			}
			var calls atomic.Int64
			for range 2 {
				r := mustFetch(t, s, d, whole(b, &calls, int64(len(b))))
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				settle(s, d)
			}
			if n := calls.Load(); n != 1 || s.Degraded() {
				t.Errorf("fetched %d times, degraded: %v", n, s.Degraded())
			}
		})
	}
}
