package store

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A fill that nobody reads goes on; but who begins fills and leaves, however often, keeps no
// more than so many of them busy.
func TestFillsThatNobodyReadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Idle: time.Hour, Scrub: -1})
		var busy atomic.Int64
		slow := from(func(ctx context.Context, _, _ int64) (Body, error) {
			busy.Add(1)
			context.AfterFunc(ctx, func() { busy.Add(-1) })
			first := true
			return Body{ReadCloser: io.NopCloser(readerFunc(func(p []byte) (int, error) {
				if first {
					first = false
					return len(p), nil
				}
				<-ctx.Done()
				return 0, ctx.Err()
			})), Size: 1 << 20, Offset: 0}, nil
		})
		_, d := content(999)
		stays := mustFetch(t, s, d, slow)
		for i := range 400 {
			_, d := content(1000 + i)
			mustFetch(t, s, d, slow).Close()
		}
		synctest.Wait()
		if n := busy.Load(); n != 256+1 {
			t.Errorf("%d are busy", n)
		}
		_, d = content(1000)
		if r := mustFetch(t, s, d, slow); !r.Filling() {
			t.Error("one that was left does not go on")
		} else {
			r.Close()
		}
		stays.Close()
		synctest.Wait()
		if n := busy.Load(); n != 256 {
			t.Errorf("%d are busy, when the last reader has left", n)
		}
		s.Close()
	})
}
