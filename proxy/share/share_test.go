package share_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"example.org/breakwater/proxy/share"
)

// Nobody gets more than its share, all together get no more than there is, and what is
// given back is there again.
func TestNobodyGetsMoreThanItsShare(t *testing.T) {
	s := share.New(10, 6)
	for _, c := range []struct {
		who  string
		n    int64
		want bool
	}{{"a", 6, true}, {"a", 1, false}, {"b", 5, false}, {"b", 4, true}, {"c", 1, false}, {"c", 0, true}} {
		if got := s.Take(c.who, c.n); got != c.want {
			t.Errorf("%d for %s: %v", c.n, c.who, got)
		}
	}
	s.Give("a", 6)
	if !s.Take("c", 6) || s.Take("c", 1) {
		t.Error("what was given back is not there, or there is more")
	}
}

// A reader takes what it reads, and gives all of it back.
func TestAReaderTakesWhatItReads(t *testing.T) {
	s := share.New(1<<20, 128<<10)
	text := strings.Repeat("a", 128<<10)
	r := s.Reader("a", strings.NewReader(text+"b"))
	got, err := io.ReadAll(r)
	if string(got) != text || !errors.Is(err, share.ErrNone) {
		t.Errorf("%d bytes, %v: more than its share", len(got), err)
	}
	r.Close()
	r = s.Reader("a", strings.NewReader(text))
	defer r.Close()
	if got, err := io.ReadAll(io.LimitReader(r, int64(len(text)))); string(got) != text || err != nil {
		t.Errorf("%d bytes, %v: it has not given all back", len(got), err)
	}
}
