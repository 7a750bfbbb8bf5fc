package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
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

// Where the disk cannot be read, nobody knows whether what has come in parts is right: it is not
// kept, and no source is blamed.
func TestPartsThatCannotBeReadBack(t *testing.T) {
	b, d := content(96 << 20)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		src := &far{b: b, rate: 4 << 20, parts: 8}
		r := inParts(t, s, d, src)
		defer r.Close()
		deaf, err := os.OpenFile(r.fill.file.Name(), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer deaf.Close()
		if err := unix.Dup3(int(deaf.Fd()), int(r.fill.file.Fd()), 0); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err == nil || !bytes.HasPrefix(b, got) || errors.Is(err, ErrWrongContent) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		settle(s, d)
		if order := s.inOrder(d, []Source{src.source("far"), src.source("other")}); order[0].Name != "far" || !s.Degraded() {
			t.Errorf("%s is asked first; degraded: %v", order[0].Name, s.Degraded())
		}
		empty(t, s)
	})
}

// Where the disk could not be read for a moment, the rest is not given to readers as if it had been
// verified.
func TestWhatCouldNotBeReadBackIsNotCompleted(t *testing.T) {
	b, d := content(96 << 20)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		r := inParts(t, s, d, &far{b: b, rate: 4 << 20, parts: 8})
		defer r.Close()
		fd := int(r.fill.file.Fd())
		whole, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(whole)
		deaf, err := os.OpenFile(r.fill.file.Name(), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer deaf.Close()
		if err := unix.Dup3(int(deaf.Fd()), fd, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := unix.Dup3(whole, fd, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // all of it could have come
		if got, err := io.ReadAll(r); err == nil || len(got) > len(b)-holdBack || !bytes.HasPrefix(b, got) {
			t.Errorf("%d bytes of %d, %v", len(got), len(b), err)
		}
	})
}

// Who was asked for a part and is late writes nothing where the lead has brought it meanwhile.
func TestAPartThatComesTooLate(t *testing.T) {
	b, d := content(96 << 20)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		src := &far{b: b, rate: 16 << 20, parts: 8}
		slow := from(func(ctx context.Context, offset, length int64) (Body, error) {
			if length < 0 {
				return src.answer(ctx, offset, length)
			}
			<-time.After(4 * time.Second) // whether it is still wanted or not
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(make([]byte, length))), Size: int64(len(b)), Offset: offset, Parts: 8}, nil
		})
		comes(t, s, b, mustFetch(t, s, d, slow))
		settle(s, d)
		held, err := s.Get(t.Context(), d) // what was read may be written over later
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		comes(t, s, b, held)
	})
}

// Where bytes of the lead are wrong, and another source brought the end, either may be to blame:
// one after the other is asked for the whole.
func TestAWrongLeadThatIsCutOff(t *testing.T) {
	b, d := content(96 << 20)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		wrong := &far{b: b, rate: 8 << 20, parts: 8, does: func(n int, _, _ int64, a *answer) error {
			if n == 1 {
				a.bytes = append([]byte{a.bytes[0] ^ 1}, a.bytes[1:]...)
			} else if n > 1 && n < 20 {
				return errors.New("refused")
			}
			return nil
		}}
		right := &far{b: b, rate: 8 << 20, parts: 8}
		wrong.does = cutAfter(wrong.does, 40<<20)
		r := mustFetch(t, s, d, wrong.source("wrong"), right.source("right"))
		io.Copy(io.Discard, r) //nolint:errcheck // it is cut off
		r.Close()
		again := mustFetch(t, s, d, wrong.source("wrong"), right.source("right"))
		comes(t, s, b, again)
		settle(s, d)
	})
}

// cutAfter has the first answer break off after n bytes.
func cutAfter(does func(int, int64, int64, *answer) error, n int64) func(int, int64, int64, *answer) error {
	return func(nth int, offset, length int64, a *answer) error {
		err := does(nth, offset, length, a)
		if nth == 1 {
			a.bytes, a.end = a.bytes[:n], errors.New("reset")
		}
		return err
	}
}
