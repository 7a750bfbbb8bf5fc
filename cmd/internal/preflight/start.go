package preflight

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
)

// How soon a daemon looks again: while something is wrong, and while nothing is.
const (
	againWhenWrong = time.Minute
	again          = 10 * time.Minute
)

// storeRoom is the finding that a running daemon does not look for again.
const storeRoom = "store.room"

// Watched is what a daemon looks at from its start on.
type Watched struct {
	looked chan struct{} // closed when it has looked once

	mu    sync.Mutex
	found []Finding
}

// Watch makes the checks of a start without holding it up, and again for as long as the daemon
// runs, by the fleet file of then. What is found is logged, a line a finding, and so is what is
// no longer wrong.
func Watch(ctx context.Context, cfg Config, read func() (*fleet.Fleet, error), log *slog.Logger) *Watched {
	cfg.Depth = Start
	w := &Watched{looked: make(chan struct{})}
	go func() {
		for ; ; cfg.running = true {
			found, err := Run(ctx, cfg)
			if ctx.Err() != nil {
				return // the start itself says why
			}
			if err == nil {
				w.take(ctx, log, found)
			}
			if !cfg.running {
				close(w.looked)
				log.Info("preflight ended", "findings", len(w.Findings()))
			}
			pause := cmp.Or(cfg.again, again)
			if Worst(found) != OK {
				pause = cmp.Or(cfg.again, againWhenWrong)
			}
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			if f, err := read(); err == nil {
				cfg.Fleet = f
			}
		}
	}()
	return w
}

// take logs what is other than before.
func (w *Watched) take(ctx context.Context, log *slog.Logger, found []Finding) {
	now := slices.DeleteFunc(found, func(f Finding) bool { return f.Result != Bad && f.Result != Warning })
	w.mu.Lock()
	before := w.found
	for _, f := range before {
		if f.ID == storeRoom { // that is looked at once
			now = append(now, f)
		}
	}
	w.found = now
	w.mu.Unlock()
	for _, f := range now {
		if !slices.ContainsFunc(before, f.same) {
			level := slog.LevelWarn
			if f.Result == Bad {
				level = slog.LevelError
			}
			log.Log(ctx, level, "preflight: "+f.Check+": "+f.What, "id", f.ID, "subject", f.Subject, "do", f.Do)
		}
	}
	for _, f := range before {
		if !slices.ContainsFunc(now, f.same) {
			log.Info("preflight: "+f.Check+": it is mended", "id", f.ID, "subject", f.Subject)
		}
	}
}

func (f Finding) same(g Finding) bool {
	return f.ID == g.ID && f.Subject == g.Subject && f.Result == g.Result
}

// Findings are the faults and warnings of the last look.
func (w *Watched) Findings() []Finding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.found)
}

// Lacks are the findings as reports have them.
func (w *Watched) Lacks() (all []daemon.Lack) {
	for _, f := range w.Findings() {
		all = append(all, daemon.Lack{ID: f.ID, Fault: f.Result == Bad, What: f.What, Do: f.Do})
	}
	return all
}

// Wait waits until it has looked once, or ctx ends.
func (w *Watched) Wait(ctx context.Context) []Finding {
	select {
	case <-w.looked:
	case <-ctx.Done():
	}
	return w.Findings()
}

// Refuse is why a daemon does not start with what was found; nil where it may.
func Refuse(found []Finding) error {
	faults := 0
	for _, f := range found {
		if f.Result == Bad {
			faults++
		}
	}
	if faults == 0 {
		return nil
	}
	return fmt.Errorf("%d faults are in the way, and --strict lets none by: see the lines above, or breakwater doctor", faults)
}
