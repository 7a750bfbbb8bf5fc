package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy/store"
)

// linked are registries behind links on which each connection has a rate.
type linked struct {
	*registries
	links []*lab.Relay
}

func newLinked(t *testing.T, n, size int, link lab.Link) *linked {
	t.Helper()
	l := &linked{registries: newRegistries(t, n, size)}
	for i, u := range l.all {
		relay, err := lab.StartRelay(nil, strings.TrimPrefix(u.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { relay.Close() })
		relay.Set(link)
		l.links = append(l.links, relay)
		l.sources[i] = inParts(source(t, fmt.Sprint("source ", i), "http://"+relay.Address(), l.digest))
	}
	return l
}

// inParts is a source that says that it gives eight bodies at once.
func inParts(s store.Source) store.Source {
	open := s.Open
	s.Open = func(ctx context.Context, offset, length int64) (store.Body, error) {
		body, err := open(ctx, offset, length)
		body.Parts, body.Trip = 8, 50*time.Millisecond
		return body, err
	}
	return s
}

func (l *linked) carried() (n int64) {
	for _, link := range l.links {
		_, back := link.Carried()
		n += back
	}
	return n
}

// Over a link on which each connection has a rate, a blob comes several times as fast as by one
// connection, and what the source sends is the blob once.
func TestPartsOverALink(t *testing.T) {
	const size, rate = 50 << 20, 4 << 20
	l := newLinked(t, 1, size, lab.Link{Delay: 20 * time.Millisecond, Rate: rate})
	s, dir := openStore(t, store.Config{})
	begun := time.Now()
	got, err := pull(t, s, l.registries)
	took := time.Since(begun)
	if err != nil || !bytes.Equal(got, l.content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if alone := time.Second * size / rate; took > alone*2/3 {
		t.Errorf("it took %v, by one connection it would have been %v", took, alone)
	}
	if sent := l.carried(); sent > size*102/100 {
		t.Errorf("%d bytes came over the link for %d", sent, size)
	}
	if left := files(t, dir); len(left) != 1 {
		t.Errorf("in the store: %v", left)
	}
	t.Logf("%v, %.3f of the blob, %d questions", took, float64(l.carried())/size, l.asked(0))
}

// What a registry does with parts is no harm: the blob comes, or its reader is told that it does
// not, and the next one gets it.
func TestRegistriesThatFailWithParts(t *testing.T) {
	const size, rate = 64 << 20, 16 << 20
	for name, c := range map[string]struct {
		faults []lab.Fault
		wrong  bool // the first reader may be cut off
	}{
		"429":                   {faults: []lab.Fault{{Name: "429", After: 1, Times: 3}}},
		"503":                   {faults: []lab.Fault{{Name: "503", After: 2, Times: 3}}},
		"resets":                {faults: []lab.Fault{{Name: "down", After: 1, Times: 2}}},
		"it ignores ranges":     {faults: []lab.Fault{{Name: "ignore-range"}}},
		"it cuts off":           {faults: []lab.Fault{{Name: "cut", Bytes: 1 << 20, After: 1, Times: 3}}},
		"it cuts off the first": {faults: []lab.Fault{{Name: "cut", Bytes: 12 << 20, Times: 1}}},
		"it sends less":         {faults: []lab.Fault{{Name: "truncate", Bytes: 1 << 20, After: 1, Times: 2}}},
		"it sends more":         {faults: []lab.Fault{{Name: "extra", Bytes: 1 << 10, After: 1, Times: 3}}},
		"it says no length":     {faults: []lab.Fault{{Name: "no-length", After: 1, Times: 3}}},
		"it is slow":            {faults: []lab.Fault{{Name: "slow", Bytes: 8 << 20, After: 2, Times: 1}}},
		"it hangs":              {faults: []lab.Fault{{Name: "hang", After: 2, Times: 1}}},
		"a login page":          {faults: []lab.Fault{{Name: "html", After: 1, Times: 3}}},
		"a wrong part":          {faults: []lab.Fault{{Name: "wrong-digest", After: 2, Times: 1}}, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLinked(t, 1, size, lab.Link{Delay: 5 * time.Millisecond, Rate: rate})
			s, dir := openStore(t, store.Config{Idle: 3 * time.Second})
			l.faults(t, 0, c.faults...)
			got, err := pull(t, s, l.registries)
			if err == nil && !bytes.Equal(got, l.content) || err != nil && !c.wrong || c.wrong && !errors.Is(err, store.ErrWrongContent) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if c.wrong {
				l.all[0].ClearFaults()
				if got, err = pull(t, s, l.registries); err != nil || !bytes.Equal(got, l.content) {
					t.Fatalf("again: %d bytes, %v", len(got), err)
				}
			}
			if n := l.asked(0); n < 2 || n > 60 {
				t.Errorf("it was asked %d times", n)
			}
			if left := files(t, dir); len(left) != 1 {
				t.Errorf("in the store: %v", left)
			}
		})
	}
}

// A link that breaks amid parts is no harm where there is another source.
func TestALinkThatBreaksAmidParts(t *testing.T) {
	const size, rate = 96 << 20, 16 << 20
	l := newLinked(t, 2, size, lab.Link{Rate: rate})
	s, _ := openStore(t, store.Config{})
	r, err := s.Fetch(t.Context(), l.digest, l.sources...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := make([]byte, 16<<20)
	if _, err := io.ReadFull(r, first); err != nil {
		t.Fatal(err)
	}
	if n := l.asked(0); n < 2 {
		t.Errorf("it was asked %d times", n)
	}
	l.links[0].Set(lab.Link{Refused: true})
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(first, rest...), l.content) {
		t.Fatalf("%d bytes, %v", len(first)+len(rest), err)
	}
	if sent := l.carried(); sent > size*102/100 {
		t.Errorf("%d bytes came over the links for %d", sent, size)
	}
}
