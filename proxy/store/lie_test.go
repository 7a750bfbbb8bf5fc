package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// named returns the source with this name.
func named(name string, src Source) Source {
	src.Name = name
	return src
}

// A source that sends no byte, or too many at once, sent wrong content too.
func TestALieWithoutAByteIsALie(t *testing.T) {
	b, d := content(1 << 20)
	for name, lie := range map[string]Source{
		"nothing": whole(nil, new(atomic.Int64), 0), "nothing, of no length": whole(nil, new(atomic.Int64), -1),
		"more than it named": whole(b, new(atomic.Int64), 10),
	} {
		s := open(t, Config{})
		liar, honest := named("liar", lie), named("honest", whole(b, new(atomic.Int64), int64(len(b))))
		r, err := s.Fetch(t.Context(), d, liar, honest)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		r.Close()
		if order := s.inOrder(d, []Source{liar, honest}); order[0].Name != "honest" {
			t.Errorf("%s: the liar is asked first again", name)
		}
	}
}

// One source sends the first part of a body, and another ends it in the wrong place. The
// first source is not blamed alone.
func TestAnEndInTheWrongPlaceIsNotTheFirstSourcesLie(t *testing.T) {
	b, d := content(1 << 20)
	for name, end := range map[string]Source{
		"too soon": whole(b[:32<<10], new(atomic.Int64), -1), "too late": from(func(_ context.Context, offset, _ int64) (Body, error) {
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(make([]byte, 1<<20))), Size: offset + 1, Offset: offset}, nil
		}),
	} {
		s := open(t, Config{})
		asked := 0
		honest := from(func(_ context.Context, offset, _ int64) (Body, error) {
			if asked++; asked == 1 {
				return Body{ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(b[:32<<10]), iotest.ErrReader(errors.New("broke off")))), Size: -1, Offset: 0}, nil
			}
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset:])), Size: -1, Offset: offset}, nil
		})
		r, err := s.Fetch(t.Context(), d, named("honest", honest), named("liar", end))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		r.Close()
	}
}

// No source has said the blob's length, and the reader has a part of it. A source that is
// asked for the rest says a length that is below that part. The stream does not end
// there.
func TestALengthThatIsPassedAlreadyEndsNoStream(t *testing.T) {
	b, d := content(12 << 20)
	short := from(func(context.Context, int64, int64) (Body, error) {
		return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[:100<<10])), Size: 100 << 10, Offset: 0}, nil
	})
	for name, cfg := range map[string]Config{"kept": {}, "past a store that is full after 8 MiB": {Size: 8 << 20}} {
		s := open(t, cfg)
		gate := make(chan struct{})
		var asked atomic.Int64
		long := from(func(_ context.Context, offset, _ int64) (Body, error) {
			switch n := asked.Add(1); {
			case n == 1:
				rest := readerFunc(func([]byte) (int, error) { <-gate; return 0, errors.New("broke off") })
				return Body{ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(b[:1<<20]), rest)), Size: -1, Offset: 0}, nil
			case n%2 == 0:
				return Body{}, errors.New("not now")
			}
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset:])), Size: -1, Offset: offset}, nil
		})
		r := mustFetch(t, s, d, named("long", long), named("short", short))
		got := make([]byte, 512<<10)
		if _, err := io.ReadFull(r, got); err != nil {
			t.Fatal(err)
		}
		close(gate)
		rest, err := io.ReadAll(r)
		if got = append(got, rest...); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// A length that a source says counts only if the source sends a byte.
func TestALengthWithoutAByteBindsNobody(t *testing.T) {
	b, d := content(1 << 20)
	for _, said := range []int64{int64(len(b)), -1} {
		s := open(t, Config{})
		nothing := from(func(context.Context, int64, int64) (Body, error) {
			return Body{ReadCloser: io.NopCloser(iotest.ErrReader(errors.New("broke off"))), Size: 10, Offset: 0}, nil
		})
		r, err := s.Fetch(t.Context(), d, named("nothing", nothing), named("honest", whole(b, new(atomic.Int64), said)))
		if err != nil {
			t.Errorf("%d: %v", said, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d: %d bytes, %v", said, len(got), err)
		}
		r.Close()
	}
}
