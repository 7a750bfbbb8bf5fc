package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// lineHandler writes an edge's log for people: one line a request.
type lineHandler struct {
	w     io.Writer
	mu    *sync.Mutex
	name  string
	level slog.Leveler
}

// held keeps what is written until it is released; what comes then is passed on.
type held struct {
	w        io.Writer
	mu       sync.Mutex
	before   bytes.Buffer
	released bool
}

func (h *held) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return h.w.Write(b)
	}
	return h.before.Write(b)
}

// release may be called again.
func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	h.before.WriteTo(h.w) //nolint:errcheck // the terminal is gone
}

func newLog(w io.Writer, name string, level slog.Leveler) *slog.Logger {
	return slog.New(&lineHandler{w: w, mu: new(sync.Mutex), name: name, level: level})
}

// Enabled implements slog.Handler.
func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs implements slog.Handler; the edges use no such loggers.
func (h *lineHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler; the edges use no such loggers.
func (h *lineHandler) WithGroup(string) slog.Handler { return h }

// Handle implements slog.Handler.
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]slog.Value{}
	var rest []string
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value
		rest = append(rest, a.Key+"="+a.Value.String())
		return true
	})
	line := r.Message + " " + strings.Join(rest, " ")
	if r.Message == "request" {
		line = requestLine(attrs)
	}
	if r.Level > slog.LevelInfo {
		line = r.Level.String() + " " + line
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintf(h.w, "%s %s  %s\n", r.Time.Format(time.TimeOnly), h.name, line)
	return err
}

func requestLine(a map[string]slog.Value) string {
	what := a["path"].String()
	if repo := a["repo"].String(); repo != "" {
		reference := a["reference"].String()
		if algorithm, hex, ok := strings.Cut(reference, ":"); ok {
			reference = algorithm + ":" + hex[:min(12, len(hex))]
		}
		what = a["endpoint"].String() + " " + strings.Trim(repo+" "+reference, " ")
	}
	line := fmt.Sprintf("%-4s %-70s %d %-11s %8s %6.0f ms", a["method"], what, a["status"].Int64(), a["outcome"], size(a["bytes"].Int64()), 1000*a["seconds"].Float64())
	if err, ok := a["err"]; ok {
		line += "  " + err.String()
	}
	return line
}

func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.4g %s", f, units[i])
}
