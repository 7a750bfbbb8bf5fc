package daemon

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchSeesFilesThatAreWrittenAndReplaced(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	write(a, "one")
	write(b, "one")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int32
		go Watch(ctx, func() { calls.Add(1) }, a, b)
		synctest.Wait()
		for _, step := range []struct {
			name string
			do   func()
			want int32
		}{
			{"nothing", func() {}, 0},
			{"written", func() { write(a, "longer") }, 1},
			{"gone", func() { must(os.Remove(b)) }, 1},
			{"back", func() { write(b, "two, and longer") }, 2},
			{"replaced by one that looks the same", func() {
				info, err := os.Stat(b)
				must(err)
				write(b+".new", "two, and LONGER")
				must(os.Chtimes(b+".new", info.ModTime(), info.ModTime()))
				must(os.Rename(b+".new", b))
			}, 3},
			{"nothing more", func() {}, 3},
		} {
			step.do()
			time.Sleep(lookAgain)
			synctest.Wait()
			if calls := calls.Load(); calls != step.want {
				t.Fatalf("%s: %d calls, want %d", step.name, calls, step.want)
			}
		}
		cancel()
	})
}
