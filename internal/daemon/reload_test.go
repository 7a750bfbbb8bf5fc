package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Files are read again when they change, those too that a file refers to since; what could
// not be taken is tried again, and said once.
func TestFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("fleet", "x")
	write("secret", "x")
	outside := make(chan os.Signal, 1)
	signal.Notify(outside, syscall.SIGHUP) // what hears of signals is begun, and is not the bubble's
	defer signal.Stop(outside)
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		ctx, cancel := context.WithCancel(t.Context())
		metrics := prometheus.NewRegistry()
		r := NewReloads("edge", slog.New(slog.NewTextHandler(&log, nil)), metrics, filepath.Join(dir, "fleet"))
		write("fleet", "between the first reading and Run")
		var reads atomic.Int32
		var broken atomic.Bool
		go r.Run(ctx, func(context.Context) error {
			r.Watch(filepath.Join(dir, "fleet"), filepath.Join(dir, "secret"))
			reads.Add(1)
			if broken.Load() {
				return errors.New("fleet.yaml:7: a fault")
			}
			return nil
		})
		for _, step := range []struct {
			name       string
			do         func()
			reads      int32
			successful string
		}{
			{"what was changed meanwhile", func() {}, 1, "1"},
			{"nothing", func() {}, 1, "1"},
			{"a file that it refers to", func() { write("secret", "another") }, 2, "1"},
			{"broken", func() { broken.Store(true); write("fleet", "broken") }, 3, "0"},
			{"still broken", func() { time.Sleep(tryAgain) }, 4, "0"},
			{"what it needs is back", func() { broken.Store(false); time.Sleep(tryAgain) }, 5, "1"},
			{"nothing more", func() { time.Sleep(10 * tryAgain) }, 5, "1"},
		} {
			step.do()
			time.Sleep(lookAgain + time.Second)
			synctest.Wait()
			if n := reads.Load(); n != step.reads {
				t.Errorf("%s: read %d times, want %d", step.name, n, step.reads)
			}
			want := "# HELP breakwater_edge_config_last_reload_successful 1 while what the fleet file and its secrets say is in force; 0 where it could not be taken.\n# TYPE breakwater_edge_config_last_reload_successful gauge\nbreakwater_edge_config_last_reload_successful " + step.successful + "\n"
			if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "breakwater_edge_config_last_reload_successful"); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
		}
		cancel()
		synctest.Wait()
		if n := strings.Count(log.String(), "fleet.yaml:7: a fault"); n != 1 {
			t.Errorf("the fault is said %d times:\n%s", n, &log)
		}
	})
}

// SIGHUP has files read again that have not changed.
func TestFilesAreReadAgainAtSIGHUP(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := NewReloads("edge", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	read, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		r.Run(ctx, func(context.Context) error { read <- true; return nil })
	}()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-read
	cancel()
	<-ended
}
