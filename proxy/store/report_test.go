package store

import (
	"io"
	"sync/atomic"
	"testing"
)

// A fill says how far it is while it is under way, and nothing of it is left behind.
func TestFillsSayHowFarTheyAre(t *testing.T) {
	s := open(t, Config{})
	b, d := content(1 << 20)
	gate, calls := make(chan struct{}), atomic.Int64{}
	src := gated(b, 512<<10, gate, &calls)
	src.Name, src.Owner = "harbor", "multi-dc-demo 7"
	first, second := mustFetch(t, s, d, src), mustFetch(t, s, d, src)
	if _, err := io.ReadFull(first, make([]byte, 512<<10)); err != nil {
		t.Fatal(err)
	}
	all := s.Fills()
	if len(all) != 1 {
		t.Fatalf("%d fills: %+v", len(all), all)
	}
	r := all[0]
	if r.Digest != d || r.Owner != src.Owner || r.Size != 1<<20 || r.Bytes != 512<<10 || r.Bodies != 1 || r.Readers != 2 || r.Spare || r.Begun.IsZero() || len(r.Sources) != 1 || r.Sources[0] != "harbor" {
		t.Errorf("%+v", r)
	}
	second.Close()
	if r := s.Fills()[0]; r.Readers != 1 {
		t.Errorf("one reader has left: %+v", r)
	}
	close(gate)
	if _, err := io.Copy(io.Discard, first); err != nil {
		t.Fatal(err)
	}
	settle(s, d)
	if all := s.Fills(); len(all) != 0 {
		t.Errorf("the fill has ended: %+v", all)
	}
}
