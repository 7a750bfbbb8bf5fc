package store

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// onDisk returns how many bytes the files below a directory take: those that have a name,
// and those that are only open.
func onDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	seen := map[uint64]bool{}
	add := func(path string) {
		var stat syscall.Stat_t
		if syscall.Stat(path, &stat) == nil && stat.Mode&syscall.S_IFMT == syscall.S_IFREG && !seen[stat.Ino] {
			seen[stat.Ino] = true
			n += stat.Size
		}
	}
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error { //nolint:errcheck // files come and go
		add(path)
		return nil
	})
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, fd := range fds {
		path := filepath.Join("/proc/self/fd", fd.Name())
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, dir) {
			add(path)
		}
	}
	return n
}

// slowReader fetches the i-th blob of a test. It returns a reader that has read nothing, and
// what it is to read; nil: an error.
type slowReader func(t *testing.T, s *Store, i int) (r *Reader, want []byte)

// slowReaders are the ways in which a reader comes to hold a file that the store removes.
func slowReaders() map[string]slowReader {
	big, _ := content(6 << 20)
	wrong := bytes.Clone(big)
	wrong[1<<20] ^= 1
	reader := func(t *testing.T, s *Store, b []byte, said int64) *Reader {
		_, d := content(len(b))
		r := mustFetch(t, s, d, whole(b, new(atomic.Int64), said))
		settle(s, d)
		return r
	}
	return map[string]slowReader{
		"too large to be kept": func(t *testing.T, s *Store, _ int) (*Reader, []byte) { return reader(t, s, big, int64(len(big))), big },
		"of no length":         func(t *testing.T, s *Store, _ int) (*Reader, []byte) { return reader(t, s, big, -1), big },
		"wrong": func(t *testing.T, s *Store, _ int) (*Reader, []byte) {
			return reader(t, s, wrong, int64(len(big))), nil
		},
		"evicted after their fill": func(t *testing.T, s *Store, i int) (*Reader, []byte) {
			b, _ := content(2<<20 + i)
			return reader(t, s, b, int64(len(b))), b
		},
		"purged after their fill": func(t *testing.T, s *Store, _ int) (*Reader, []byte) {
			b, d := content(2 << 20)
			r := reader(t, s, b, int64(len(b)))
			if _, err := s.Purge(d); err != nil {
				t.Fatal(err)
			}
			return r, b
		},
		"purged while held": func(t *testing.T, s *Store, _ int) (*Reader, []byte) {
			b, d := content(2 << 20)
			if err := s.Put(d, b); err != nil {
				t.Fatal(err)
			}
			r := reader(t, s, b, int64(len(b)))
			if _, err := s.Purge(d); err != nil {
				t.Fatal(err)
			}
			return r, b
		},
	}
}

// Readers that read nothing hold files that the store has removed, in every way that there
// is. All files together keep to one and a half times the budget, later readers are served
// past it, and when the readers are gone nothing is counted any more.
func TestRemovedFilesCountUntilTheirReadersLetGo(t *testing.T) {
	const budget = 8 << 20
	for name, next := range slowReaders() {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Size: budget, Scrub: -1})
			small, smallDigest := content(500 << 10)
			if err := s.Put(smallDigest, small); err != nil {
				t.Fatal(err)
			}
			readers, want := make([]*Reader, 10), make([][]byte, 10)
			for i := range readers {
				readers[i], want[i] = next(t, s, i)
				if n := onDisk(t, s.cfg.Dir); n > budget*3/2 {
					t.Errorf("%d readers: %d bytes are on disk, of a budget of %d", i+1, n, budget)
				}
			}
			for i, r := range readers {
				got, err := io.ReadAll(r)
				if want[i] == nil && err == nil || want[i] != nil && (err != nil || !bytes.Equal(got, want[i])) {
					t.Errorf("reader %d: %d bytes, %v", i, len(got), err)
				}
				r.Close()
			}
			s.mu.Lock()
			if s.reserved != 0 || s.beside != 0 || len(s.pins) != 0 || s.blobs.bytes > budget {
				t.Errorf("at the end %d bytes held, %d reserved, %d of them beside, %d pinned", s.blobs.bytes, s.reserved, s.beside, len(s.pins))
			}
			s.mu.Unlock()
			if r, err := s.Get(t.Context(), smallDigest); err != nil && !strings.HasPrefix(name, "evicted") {
				t.Error("what was held is gone")
			} else if err == nil {
				r.Close()
			}
			if n := onDisk(t, s.cfg.Dir); n > budget+100 {
				t.Errorf("%d bytes are left on disk", n)
			}
		})
	}
}

// A reader that goes on past the store lets go of the file as soon as it has read it.
func TestAReaderPastTheStoreLetsGoOfTheFile(t *testing.T) {
	s := open(t, Config{Size: 16 << 20, Scrub: -1})
	b, d := content(28 << 20) // of no length: the store sees late that it has no room
	r := mustFetch(t, s, d, whole(b, new(atomic.Int64), -1))
	got := make([]byte, 27<<20)
	if n, err := io.ReadFull(r, got); err != nil {
		t.Fatal(n, err)
	}
	if n := onDisk(t, s.cfg.Dir) + reservedBytes(s); n > 100 {
		t.Errorf("%d bytes are still taken", n)
	}
	rest, err := io.ReadAll(r)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, b) {
		t.Error(fmt.Sprint(len(got), " bytes, ", err))
	}
}
