package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

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
					opened.Do(func() { close(gate) }) // readers have bytes before the fill can end
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
						return Body{ReadCloser: io.NopCloser(cut), Size: int64(len(b)), Offset: 0}, nil
					}
					if ignoresRange {
						offset = 0
					}
					return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset:])), Size: int64(len(b)), Offset: offset}, nil
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

// A client asks one repo for a digest that only another repo holds. A client of the
// other repo must not get that refusal.
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
	if _, err := r.Seek(1000, io.SeekStart); err != nil { // no byte has arrived there
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
