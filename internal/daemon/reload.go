package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reloads have a daemon read its files again: when one of them is another than before, and
// at SIGHUP. What could not be taken is tried again after a minute, for what it needs may
// be back, as a Vault. All but Last and NeedRestart is for one goroutine.
type Reloads struct {
	log        *slog.Logger
	files      files
	hangup     chan os.Signal
	successful prometheus.Gauge
	at         prometheus.Gauge

	mu      sync.Mutex
	since   time.Time // when what is in force was taken
	failed  string    // why the last try failed; "": it did not
	tried   time.Time // when that was
	restart []string  // fields that were taken, and are in force after a restart only
}

const tryAgain = time.Minute

// NewReloads begins to watch the files, before they are read for the first time. The
// metrics are of breakwater_<daemon>.
func NewReloads(daemon string, log *slog.Logger, metrics prometheus.Registerer, names ...string) *Reloads {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_" + daemon + "_config_last_reload_" + name, Help: help})
		metrics.MustRegister(g)
		return g
	}
	r := &Reloads{log: log, hangup: make(chan os.Signal, 1),
		successful: gauge("successful", "1 while what the fleet file and its secrets say is in force; 0 where it could not be taken."),
		at:         gauge("success_timestamp_seconds", "When the fleet file and its secrets were taken last.")}
	r.Watch(names...)
	r.taken()
	signal.Notify(r.hangup, syscall.SIGHUP)
	return r
}

// Watch has these files watched from now on. It is to be called before they are read.
func (r *Reloads) Watch(names ...string) { r.files.watch(names...) }

func (r *Reloads) taken() {
	r.mu.Lock()
	r.since, r.failed = time.Now(), ""
	r.mu.Unlock()
	r.successful.Set(1)
	r.at.SetToCurrentTime()
}

// Last returns when what is in force was taken, and why the files were not taken since; "":
// they were. Safe for concurrent use.
func (r *Reloads) Last() (taken time.Time, fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, r.failed
}

// Restart notes the fields that are in force after a restart only, and says so.
func (r *Reloads) Restart(fields ...string) {
	r.mu.Lock()
	r.restart = fields
	r.mu.Unlock()
	if len(fields) > 0 {
		r.log.Warn("changed in the fleet file, and needs a restart; all else is in force", "fields", fields)
	}
}

// NeedRestart returns the fields that were noted last. Safe for concurrent use.
func (r *Reloads) NeedRestart() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.restart
}

// Stop ends what NewReloads began where there was no Run.
func (r *Reloads) Stop() { signal.Stop(r.hangup) }

// Run calls load at each of these times until ctx ends. load takes all that the files say
// or, with an error, nothing of it.
func (r *Reloads) Run(ctx context.Context, load func(context.Context) error) {
	defer r.Stop()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
			asked = true
		case <-ticker.C:
		}
		_, fault := r.Last()
		if r.files.changed() || asked || fault != "" && time.Since(r.tried) >= tryAgain {
			r.Try(ctx, load, asked)
		}
	}
}

// Try calls load once, and says what became of it. A failure that is the last one's too is
// said once, unless somebody asked.
func (r *Reloads) Try(ctx context.Context, load func(context.Context) error, asked bool) {
	err := load(ctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		r.taken()
		r.log.Info("files read again")
		return
	}
	if asked || err.Error() != r.failed {
		r.log.Warn("files not taken, what they said before stays", "err", err.Error())
	}
	r.mu.Lock()
	r.failed, r.tried = err.Error(), time.Now()
	r.mu.Unlock()
	r.successful.Set(0)
}
