package preflight

import (
	"context"
	"fmt"
	"log/slog"
)

// Watched is what a daemon looks at beside its start.
type Watched struct{ done chan []Finding }

// Beside makes the checks of a start without holding it up. What is found is logged, a line
// a finding.
func Beside(ctx context.Context, cfg Config, log *slog.Logger) *Watched {
	cfg.Depth = Start
	w := &Watched{make(chan []Finding, 1)}
	go func() {
		found, err := Run(ctx, cfg)
		if err != nil || ctx.Err() != nil {
			found = nil // the start itself says why
		}
		for _, f := range found {
			report(ctx, log, f)
		}
		w.done <- found
	}()
	return w
}

func report(ctx context.Context, log *slog.Logger, f Finding) {
	level := slog.LevelWarn
	switch f.Result {
	case Bad:
		level = slog.LevelError
	case Warning:
	default:
		return
	}
	log.Log(ctx, level, "preflight: "+f.Check+": "+f.What, "id", f.ID, "subject", f.Subject, "do", f.Do)
}

// Wait waits for what was found until ctx ends.
func (w *Watched) Wait(ctx context.Context) []Finding {
	select {
	case found := <-w.done:
		w.done <- found
		return found
	case <-ctx.Done():
		return nil
	}
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
