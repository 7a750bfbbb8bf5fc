package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// A source that is far away is asked for the next part before the last one ends, and never for
// more at once than it gives.
func TestNoTripPassesBetweenParts(t *testing.T) {
	const size, rate, late = 192 << 20, 16 << 20, 90 * time.Millisecond
	b, d := content(size)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		src := &far{b: b, late: late, rate: rate, parts: 4}
		took := comes(t, s, b, mustFetch(t, s, d, src.source("far")))
		settle(s, d)
		if n := src.most.Load(); n != 4 {
			t.Errorf("%d bodies at once", n)
		}
		// The first body is measured alone for a while. With a trip before each part it takes 3.87 s.
		if ideal := time.Duration(size) * time.Second / (4 * rate); took > ideal+700*time.Millisecond {
			t.Errorf("it took %v, all bodies together need %v", took, ideal)
		}
	})
}

// A large blob that is very far away comes by all bodies at once from the start.
func TestALargeBlobFromVeryFar(t *testing.T) {
	const size, rate = 304 << 20, 64 << 20
	b, d := content(size)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		src := &far{b: b, late: 300 * time.Millisecond, rate: rate, parts: 8}
		took := comes(t, s, b, mustFetch(t, s, d, src.source("far")))
		settle(s, d)
		if n := src.most.Load(); n > 8 {
			t.Errorf("%d bodies at once", n)
		}
		if took > 1850*time.Millisecond { // 2 s where the first body is measured alone
			t.Errorf("it took %v", took)
		}
		if sent := src.sent.Load(); sent > size*102/100 {
			t.Errorf("%d bytes were sent for %d", sent, size)
		}
	})
}
