package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// far is a source that is far away: what it sends begins late, and each of its bodies has a
// rate. All of its bodies together may have one too.
type far struct {
	b     []byte
	late  time.Duration
	rate  int64 // of each body, in bytes a second
	all   int64 // of all together; 0: no limit
	parts int   // that it says it gives at once
	// does says what an answer is to be instead: the number of the question, from 1 on, and what
	// it asks for. nil: nothing.
	does func(n int, offset, length int64, whole *answer) error

	sent, asked, open, most atomic.Int64

	mu   sync.Mutex
	free time.Time // when all together have sent what was taken
}

// answer is what a source sends.
type answer struct {
	Body
	bytes []byte
	end   error
	rate  int64 // 0: as the source's
}

func (s *far) source(name string) Source { return named(name, from(s.answer)) }

func (s *far) answer(ctx context.Context, offset, length int64) (Body, error) {
	n := s.asked.Add(1)
	pause(ctx, s.late)
	if ctx.Err() != nil {
		return Body{}, ctx.Err()
	}
	a := &answer{Body: Body{Size: int64(len(s.b)), Offset: offset, Parts: s.parts}, bytes: s.b[offset:], end: io.EOF}
	if length >= 0 {
		a.bytes = s.b[offset : offset+length]
	}
	if s.does != nil {
		if err := s.does(int(n), offset, length, a); err != nil {
			return Body{}, err
		}
	}
	s.most.Store(max(s.most.Load(), s.open.Add(1)))
	a.ReadCloser = &farBody{s: s, ctx: ctx, answer: a}
	return a.Body, nil
}

type farBody struct {
	*answer
	s    *far
	ctx  context.Context
	once sync.Once
}

func (b *farBody) Close() error {
	b.once.Do(func() { b.s.open.Add(-1) })
	return nil
}

func (b *farBody) Read(p []byte) (int, error) {
	if len(b.bytes) == 0 {
		if b.end == nil { // it says no more
			<-b.ctx.Done()
			return 0, b.ctx.Err()
		}
		return 0, b.end
	}
	n := copy(p[:min(len(p), 64<<10)], b.bytes)
	pause(b.ctx, time.Duration(n)*time.Second/time.Duration(cmp.Or(b.rate, b.s.rate)))
	if b.s.all > 0 {
		b.s.mu.Lock()
		if now := time.Now(); b.s.free.Before(now) {
			b.s.free = now
		}
		b.s.free = b.s.free.Add(time.Duration(n) * time.Second / time.Duration(b.s.all))
		wait := time.Until(b.s.free)
		b.s.mu.Unlock()
		pause(b.ctx, wait)
	}
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	b.bytes = b.bytes[n:]
	b.s.sent.Add(int64(n))
	return n, nil
}

// comes fails the test where what the sources bring is not b. It returns how long that took.
func comes(t *testing.T, s *Store, b []byte, r *Reader) time.Duration {
	t.Helper()
	begun := time.Now()
	at, buf := 0, make([]byte, chunk) // all of it in memory once more would be most of the test's work
	for {
		n, err := r.Read(buf)
		if n > len(b)-at || !bytes.Equal(buf[:n], b[at:at+n]) {
			t.Errorf("wrong bytes after %d", at)
			break
		}
		if at += n; err != nil {
			if err != io.EOF || at != len(b) {
				t.Errorf("%d bytes of %d, %v", at, len(b), err)
			}
			break
		}
	}
	return time.Since(begun)
}

// A large blob comes by several bodies where that is faster, no more of them than the source
// gives, and each byte once.
func TestALargeBlobComesInParts(t *testing.T) {
	b, d := content(128 << 20)
	const rate = 16 << 20
	for name, c := range map[string]struct {
		parts         int
		rate, all     int64
		bodies        int64
		least, atMost time.Duration
	}{
		"each body has a rate": {8, rate, 0, 8, 0, 3 * time.Second},
		"it gives two":         {2, rate, 0, 2, 4 * time.Second, 5 * time.Second},
		"it gives one":         {1, rate, 0, 1, 7 * time.Second, 9 * time.Second},
		"it does not say":      {0, rate, 0, 1, 7 * time.Second, 9 * time.Second},
		"the link has a rate":  {8, 1 << 30, rate, 4, 7 * time.Second, 9 * time.Second},
		"it is fast":           {8, 280 << 20, 0, 1, 0, time.Second},
		"all would come soon":  {8, 120 << 20, 0, 1, 0, 2 * time.Second},
	} {
		if sampledOut() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, Config{})
				defer s.Close()
				src := &far{b: b, late: 50 * time.Millisecond, rate: c.rate, all: c.all, parts: c.parts}
				took := comes(t, s, b, mustFetch(t, s, d, src.source("far")))
				settle(s, d)
				if took < c.least || took > c.atMost {
					t.Errorf("it took %v", took)
				}
				if n := src.most.Load(); n != c.bodies {
					t.Errorf("%d bodies at once", n)
				}
				if n, most := src.sent.Load(), int64(len(b))*102/100; n > most {
					t.Errorf("%d bytes were sent for %d", n, len(b))
				}
				if n := s.parts.Load(); n != 0 || src.open.Load() != 0 {
					t.Errorf("%d parts go on, %d bodies are open", n, src.open.Load())
				}
			})
		})
	}
}

// All fills together have no more parts than maxParts.
func TestPartsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		s.parts.Store(maxParts - 2)
		b, d := content(96 << 20)
		src := &far{b: b, rate: 8 << 20, parts: 8}
		comes(t, s, b, mustFetch(t, s, d, src.source("far")))
		settle(s, d)
		if n := src.most.Load(); n != 3 {
			t.Errorf("%d bodies at once", n)
		}
		s.parts.Add(2 - maxParts)
	})
}

// ofParts has only parts be answered so.
func ofParts(then func(n int, offset, length int64, a *answer) error) func(int, int64, int64, *answer) error {
	return func(n int, offset, length int64, a *answer) error {
		if length < 0 {
			return nil
		}
		return then(n, offset, length, a)
	}
}

// goOn are the cases in which parts are still asked for.
var goOn = []string{"some refused", "more than asked for", "reset", "one stands still", "all stand still", "less than asked for", "the lead breaks off", "the lead stands still"}

// Whatever becomes of parts, the blob comes, right, and soon enough.
func TestPartsThatFail(t *testing.T) {
	b, d := content(96 << 20)
	size := int64(len(b))
	reset := errors.New("reset")
	for name, does := range map[string]func(n int, offset, length int64, a *answer) error{
		"refused":             ofParts(func(int, int64, int64, *answer) error { return errors.New("429") }),
		"some refused":        ofParts(func(n int, _, _ int64, _ *answer) error { return map[bool]error{true: reset}[n > 4] }),
		"the whole instead":   ofParts(func(_ int, _, _ int64, a *answer) error { a.Offset, a.bytes = 0, b; return nil }),
		"another offset":      ofParts(func(_ int, offset, _ int64, a *answer) error { a.Offset, a.bytes = offset-1, b[offset-1:]; return nil }),
		"another size":        ofParts(func(_ int, _, _ int64, a *answer) error { a.Size = size - 1; return nil }),
		"a size of 0":         ofParts(func(_ int, _, _ int64, a *answer) error { a.Size = 0; return nil }),
		"no size":             ofParts(func(_ int, _, _ int64, a *answer) error { a.Size = -1; return nil }),
		"doubtful":            ofParts(func(_ int, _, _ int64, a *answer) error { a.Doubtful = true; return nil }),
		"not held any more":   ofParts(func(_ int, _, _ int64, a *answer) error { a.Parts = 0; return nil }),
		"less than asked for": ofParts(func(_ int, _, n int64, a *answer) error { a.bytes = a.bytes[:n/2]; return nil }),
		"more than asked for": ofParts(func(_ int, offset, _ int64, a *answer) error { a.bytes = b[offset:]; return nil }),
		"nothing":             ofParts(func(_ int, _, _ int64, a *answer) error { a.bytes = nil; return nil }),
		"reset":               ofParts(func(_ int, _, n int64, a *answer) error { a.bytes, a.end = a.bytes[:n/2], reset; return nil }),
		"reset at once":       ofParts(func(_ int, _, _ int64, a *answer) error { a.bytes, a.end = nil, reset; return nil }),
		"one stands still": ofParts(func(n int, _, l int64, a *answer) error {
			if n == 3 {
				a.bytes, a.end = a.bytes[:l/2], nil
			}
			return nil
		}),
		"all stand still": ofParts(func(_ int, _, l int64, a *answer) error { a.bytes, a.end = a.bytes[:l/2], nil; return nil }),
		"the lead breaks off": func(n int, _, _ int64, a *answer) error {
			if n == 1 {
				a.bytes, a.end = a.bytes[:12<<20], reset
			}
			return nil
		},
		"the lead stands still": func(n int, _, _ int64, a *answer) error {
			if n == 1 {
				a.bytes, a.end = a.bytes[:12<<20], nil
			}
			return nil
		},
	} {
		if sampledOut() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, Config{})
				defer s.Close()
				src := &far{b: b, late: 20 * time.Millisecond, rate: 16 << 20, parts: 8, does: does}
				if took := comes(t, s, b, mustFetch(t, s, d, src.source("far"))); took > 90*time.Second {
					t.Errorf("it took %v", took)
				}
				settle(s, d)
				if n := src.sent.Load(); n > size*102/100 {
					t.Errorf("%d bytes were sent for %d", n, size)
				}
				most := int64(4) // who gives no parts is asked for three at once, and then for no more
				if slices.Contains(goOn, name) {
					most = 30
				}
				if n := src.asked.Load(); n > most {
					t.Errorf("it was asked %d times", n)
				}
				if src.open.Load() != 0 || s.parts.Load() != 0 {
					t.Errorf("%d bodies are open, %d parts", src.open.Load(), s.parts.Load())
				}
			})
		})
	}
}

// FuzzParts has answers of a source be wrong in some way, at random, and the disk take the blob
// or not; readers read ranges meanwhile. What they get is the blob's.
func FuzzParts(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, seed%2 == 0)
	}
	b, d := content(80 << 20)
	f.Fuzz(func(t *testing.T, seed uint64, two bool) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{})
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 7))
			does := func(n int, offset, length int64, a *answer) error {
				mu.Lock()
				defer mu.Unlock()
				switch random.IntN(12) {
				case 0:
					return errors.New("refused")
				case 1:
					a.Offset, a.bytes = 0, b
				case 2:
					a.Parts = random.IntN(3)
				case 3, 4, 5:
					a.bytes, a.end = a.bytes[:random.IntN(len(a.bytes)+1)], errors.New("reset")
				case 6:
					a.bytes = a.bytes[:random.IntN(len(a.bytes)+1)]
				case 7:
					a.bytes, a.end = a.bytes[:random.IntN(len(a.bytes)+1)], nil
				case 8:
					if length >= 0 {
						a.Size = int64(random.IntN(len(b)))
					}
				}
				return nil
			}
			sources := []Source{(&far{b: b, late: 30 * time.Millisecond, rate: 8 << 20, parts: 8, does: does}).source("a")}
			if two {
				sources = append(sources, (&far{b: b, rate: 12 << 20, parts: 3, does: does}).source("b"))
			}
			var all sync.WaitGroup
			for worker := range 3 {
				all.Go(func() {
					random := rand.New(rand.NewPCG(seed, uint64(worker)))
					r, err := s.Fetch(t.Context(), d, sources...)
					if err != nil { // all may refuse
						return
					}
					defer r.Close()
					for range 3 {
						at := random.IntN(len(b))
						got := make([]byte, random.IntN(len(b)-at+1))
						if _, err := r.Seek(int64(at), io.SeekStart); err != nil {
							return
						}
						if n, _ := io.ReadFull(r, got); !bytes.Equal(got[:n], b[at:at+n]) {
							t.Errorf("range %d+%d: %d bytes, other ones", at, len(got), n)
						}
					}
				})
			}
			all.Wait()
			settle(s, d)
			if r, err := s.Get(t.Context(), d); err == nil {
				comes(t, s, b, r)
				r.Close()
			}
			s.Close()
		})
	})
}
