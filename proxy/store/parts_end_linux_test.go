package store

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// inParts begins a fill, and returns when it has come to have parts.
func inParts(t *testing.T, s *Store, d digest.Digest, src *far, others ...Source) *Reader {
	t.Helper()
	r := mustFetch(t, s, d, append([]Source{src.source("far")}, others...)...)
	begun := time.Now()
	for s.parts.Load() < 7 || src.open.Load() < 8 {
		if time.Since(begun) > time.Minute {
			t.Fatal("there are no parts")
		}
		<-time.After(measure)
	}
	return r
}

// However a fill with parts ends, its bodies end, and nothing is left of it.
func TestAFillEndsWithItsParts(t *testing.T) {
	b, d := content(128 << 20)
	for name, end := range map[string]func(t *testing.T, s *Store, r *Reader){
		"the store closes": func(t *testing.T, s *Store, r *Reader) {
			s.Close()
			if _, err := io.Copy(io.Discard, r); err == nil {
				t.Error("the blob came")
			}
		},
		"its reader leaves": func(t *testing.T, s *Store, r *Reader) {
			r.Close()
			settle(s, d)
			held, err := s.Get(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			comes(t, s, b, held)
			if _, err := s.Purge(d); err != nil {
				t.Error(err)
			}
		},
		"it is purged": func(t *testing.T, s *Store, r *Reader) {
			f := r.fill
			if _, err := s.Purge(d); err != nil {
				t.Error(err)
			}
			comes(t, s, b, r)
			<-f.ended
			isGone(t, s, d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, Config{})
				src := &far{b: b, rate: 4 << 20, parts: 8}
				r := inParts(t, s, d, src)
				end(t, s, r)
				r.Close()
				settle(s, d)
				s.Close()
				synctest.Wait()
				if src.open.Load() != 0 || s.parts.Load() != 0 {
					t.Errorf("%d bodies are open, %d parts", src.open.Load(), s.parts.Load())
				}
				noReservation(t, s)
				empty(t, s)
			})
		})
	}
}

// A disk that is full when some of the parts are there costs the cache, and not the pull.
func TestADiskThatIsFullAmidParts(t *testing.T) {
	b, d := content(128 << 20)
	for _, mib := range []string{"50m", "90m"} {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+mib); err != nil {
			t.Skipf("a file system cannot be mounted here: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{Dir: dir})
			defer s.Close()
			src := &far{b: b, rate: 4 << 20, parts: 8}
			r := inParts(t, s, d, src)
			late := mustFetch(t, s, d, src.source("far"))
			buf := make([]byte, 4<<20) // some of it has been read before
			if _, err := io.ReadFull(late, buf); err != nil || !bytes.Equal(buf, b[:len(buf)]) {
				t.Error(err)
			}
			comes(t, s, b, r)
			comes(t, s, b[len(buf):], late)
			r.Close()
			late.Close()
			if !s.Degraded() {
				t.Error("the store is not degraded")
			}
			synctest.Wait()
			empty(t, s)
		})
	}
}

// A wrong byte in a part is found. Who sent it is asked last from then on, and another source
// makes the blob.
func TestAWrongPart(t *testing.T) {
	b, d := content(96 << 20)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		wrong := &far{b: b, rate: 8 << 20, parts: 8, does: func(n int, _, length int64, a *answer) error {
			if n == 4 && length > 0 {
				a.bytes = append([]byte{a.bytes[0] ^ 1}, a.bytes[1:]...)
			}
			return nil
		}}
		right := &far{b: b, rate: 8 << 20, parts: 8}
		r := mustFetch(t, s, d, wrong.source("wrong"), right.source("right"))
		if n, err := io.Copy(io.Discard, r); !errors.Is(err, ErrWrongContent) || n > int64(len(b))-holdBack {
			t.Errorf("%d bytes, %v", n, err)
		}
		r.Close()
		again := mustFetch(t, s, d, wrong.source("wrong"), right.source("right"))
		comes(t, s, b, again)
		if wrong.sent.Load() > int64(len(b)+len(b)/50) || right.sent.Load() > int64(len(b)+len(b)/50) {
			t.Errorf("%d and %d bytes were sent", wrong.sent.Load(), right.sent.Load())
		}
		settle(s, d)
		if order := s.inOrder(d, []Source{wrong.source("wrong"), right.source("right")}); order[0].Name != "right" {
			t.Errorf("%s is asked first", order[0].Name)
		}
	})
}

// Where the disk cannot be read, what has come in parts is not verified: its readers get no end.
func TestPartsThatCannotBeReadBack(t *testing.T) {
	b, d := content(96 << 20)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		src := &far{b: b, rate: 4 << 20, parts: 8}
		r := inParts(t, s, d, src)
		defer r.Close()
		r.fill.file.Close() // neither written nor read any more
		got, err := io.ReadAll(r)
		if err == nil || !bytes.HasPrefix(b, got) || int64(len(got)) > int64(len(b))-holdBack || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}
