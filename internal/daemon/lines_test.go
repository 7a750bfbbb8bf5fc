package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"
)

// handled is what the log writes of a record, and what slog's own handler does.
func handled(t *testing.T, r slog.Record, with ...slog.Attr) (got, want string) {
	t.Helper()
	var ours, theirs bytes.Buffer
	if err := newLines(&ours, slog.LevelDebug).WithAttrs(with).Handle(t.Context(), r.Clone()); err != nil {
		t.Fatal(err)
	}
	if err := slog.NewJSONHandler(&theirs, &slog.HandlerOptions{Level: slog.LevelDebug}).WithAttrs(with).Handle(t.Context(), r.Clone()); err != nil {
		t.Fatal(err)
	}
	return ours.String(), theirs.String()
}

var someTime = time.Date(2026, 11, 28, 17, 20, 1, 120_000_000, time.FixedZone("", 3600))

func TestLinesAreAsSlogWritesThem(t *testing.T) {
	for name, attrs := range map[string][]slog.Attr{
		"a request": {slog.String("method", "GET"), slog.Int("status", 200), slog.Int64("bytes", -1), slog.Uint64("n", math.MaxUint64), slog.Float64("seconds", 0.000016244), slog.Bool("tls", true)},
		"numbers":   {slog.Float64("a", 0), slog.Float64("b", 1e-7), slog.Float64("c", 1e21), slog.Float64("d", -1e-6), slog.Float64("e", 123456789.5), slog.Float64("f", math.Copysign(0, -1))},
		"no number": {slog.Float64("a", math.NaN()), slog.Float64("b", math.Inf(1))},
		"escapes":   {slog.String("a", "x\"\\\n\x00\x7f<&>é\u2028\xff"), slog.String("b", "")},
		"keys":      {slog.String("a\"b", "x"), slog.String("", "y"), {}},
		"the rest":  {slog.Duration("d", time.Second), slog.Time("t", someTime), slog.Any("err", errors.New("no")), slog.Any("nil", nil), slog.Any("list", []string{"a"}), slog.Group("g", slog.Int("a", 1))},
		"nothing":   nil,
	} {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, slog.LevelInfo + 2} {
			for _, at := range []time.Time{someTime, {}, time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)} {
				r := slog.NewRecord(at, level, "request "+name, 0)
				r.AddAttrs(attrs...)
				if got, want := handled(t, r); got != want {
					t.Errorf("%s: %s\nwant %s", name, got, want)
				}
				if got, want := handled(t, r, slog.String("who", "a")); got != want {
					t.Errorf("%s, with more: %s\nwant %s", name, got, want)
				}
			}
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add("msg", "key", "value", int64(1), 0.5)
	f.Fuzz(func(t *testing.T, msg, key, value string, n int64, x float64) {
		r := slog.NewRecord(time.Unix(0, n), slog.LevelInfo, msg, 0)
		r.AddAttrs(slog.String(key, value), slog.Int64("n", n), slog.Float64(key, x))
		if got, want := handled(t, r); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}
