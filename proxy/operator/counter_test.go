package operator_test

import (
	"testing"
	"time"

	"example.org/breakwater/proxy/operator"
)

// What is older than ten minutes counts for all of the time alone.
func TestTheRatioOfTheLastTenMinutes(t *testing.T) {
	var c operator.Counter
	begun := time.Unix(1_800_000_000, 0)
	at := func(minutes int) time.Time { return begun.Add(time.Duration(minutes) * time.Minute) }
	c.Add(at(0), true)
	c.Add(at(5), true)
	c.Add(at(5), false)
	for _, want := range []struct {
		minutes int
		recent  operator.Ratio
	}{{5, operator.Ratio{Hits: 2, Of: 3}}, {9, operator.Ratio{Hits: 2, Of: 3}}, {10, operator.Ratio{Hits: 1, Of: 2}}, {14, operator.Ratio{Hits: 1, Of: 2}}, {15, operator.Ratio{}}, {1000, operator.Ratio{}}} {
		if got := c.Hits(at(want.minutes)); got.Recent != want.recent || got.Start != (operator.Ratio{Hits: 2, Of: 3}) {
			t.Errorf("after %d minutes: %+v; want %+v", want.minutes, got, want.recent)
		}
	}
	c.Add(at(1000), false)
	c.Add(at(990), true) // the clock was put back
	if got := c.Hits(at(1000)); got.Recent != (operator.Ratio{Hits: 1, Of: 2}) {
		t.Errorf("with a clock that was put back: %+v", got)
	}
}
