package disk_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/disk"
)

// A call that returns in time is as if it had been made directly.
func TestACallThatReturns(t *testing.T) {
	d := disk.New()
	if n, err := disk.Do(d, time.Second, func() (int, error) { return 7, nil }, nil); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	broken := errors.New("broken")
	if err := d.Call(time.Second, func() error { return broken }); !errors.Is(err, broken) || disk.Silent(err) {
		t.Error(err)
	}
	defer func() {
		if recover() != "fault" {
			t.Error("a panic was lost")
		}
	}()
	d.Call(time.Second, func() error { panic("fault") }) //nolint:errcheck // it does not return
}

// Nobody waits for longer than the patience. After five seconds the disk counts as hanging
// and is not called, until the call returns; what it brings is given to late.
func TestACallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, answer, late := disk.New(), make(chan struct{}), make(chan int, 1)
		begun := time.Now()
		_, err := disk.Do(d, time.Second, func() (int, error) {
			<-answer
			return 7, nil
		}, func(n int, err error) { late <- n })
		if took := time.Since(begun); !errors.Is(err, disk.ErrLate) || !disk.Silent(err) || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if d.Hangs() {
			t.Error("a slow disk counts as hanging")
		}
		if err := d.Call(time.Second, func() error { return nil }); err != nil {
			t.Errorf("another call, meanwhile: %v", err)
		}
		time.Sleep(4 * time.Second)
		if !d.Hangs() {
			t.Error("it does not count as hanging")
		}
		begun = time.Now()
		called := false
		err = d.Call(time.Second, func() error { called = true; return nil })
		if !errors.Is(err, disk.ErrHangs) || !disk.Silent(err) || called || time.Since(begun) != 0 {
			t.Errorf("%v after %v, called: %v", err, time.Since(begun), called)
		}
		close(answer)
		if n := <-late; n != 7 {
			t.Errorf("late was given %d", n)
		}
		if d.Hangs() {
			t.Error("it still counts as hanging")
		}
		if err := d.Call(time.Second, func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

// Calls that hang are bounded: each keeps a thread of the operating system.
func TestCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, answer := disk.New(), make(chan struct{})
		var running, refused atomic.Int64
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				err := d.Call(time.Second, func() error {
					running.Add(1)
					<-answer
					return nil
				})
				if errors.Is(err, disk.ErrHangs) {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if running.Load() != 256 || refused.Load() != 1000-256 {
			t.Errorf("%d calls are under way, %d were refused", running.Load(), refused.Load())
		}
		close(answer)
	})
}
