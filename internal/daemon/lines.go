package daemon

import (
	"context"
	"io"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"
)

// lines is slog's JSON handler, and quicker with what a line a request consists of: text without
// escapes, and numbers. It writes the same bytes; whatever is more is left to that handler.
type lines struct {
	slog.Handler
	out     io.Writer
	buffers *sync.Pool
}

// newLines logs JSON, a line a record, to who takes a whole line at a time and from several at once.
func newLines(out io.Writer, level slog.Leveler) slog.Handler {
	return &lines{slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}), out, &sync.Pool{New: func() any { return new([512]byte) }}}
}

// Handle implements slog.Handler.
func (l *lines) Handle(ctx context.Context, r slog.Record) error {
	space := l.buffers.Get().(*[512]byte)
	defer l.buffers.Put(space)
	b, simple := append(space[:0], '{'), true
	if year := r.Time.Year(); !r.Time.IsZero() && year >= 0 && year < 10000 {
		b = r.Time.Round(0).AppendFormat(append(b, `"time":"`...), time.RFC3339Nano)
		b = append(b, `",`...)
	} else {
		simple = false
	}
	b = append(append(append(b, `"level":"`...), r.Level.String()...), `","msg":`...)
	b, simple = appendText(b, r.Message, simple)
	r.Attrs(func(a slog.Attr) bool {
		b, simple = appendText(append(b, ','), a.Key, simple && a.Key != "")
		b = append(b, ':')
		switch v := a.Value; v.Kind() {
		case slog.KindString:
			b, simple = appendText(b, v.String(), simple)
		case slog.KindInt64:
			b = strconv.AppendInt(b, v.Int64(), 10)
		case slog.KindUint64:
			b = strconv.AppendUint(b, v.Uint64(), 10)
		case slog.KindBool:
			b = strconv.AppendBool(b, v.Bool())
		case slog.KindFloat64:
			b, simple = appendFloat(b, v.Float64(), simple)
		default:
			simple = false
		}
		return simple
	})
	if !simple {
		return l.Handler.Handle(ctx, r)
	}
	_, err := l.out.Write(append(b, "}\n"...))
	return err
}

// appendText appends a string in quotes; where it has what is escaped it is not simple.
func appendText(b []byte, s string, simple bool) ([]byte, bool) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return b, false
		}
	}
	return append(append(append(b, '"'), s...), '"'), simple
}

// appendFloat appends a number that encoding/json writes without an exponent.
func appendFloat(b []byte, f float64, simple bool) ([]byte, bool) {
	if abs := math.Abs(f); abs != 0 && !(abs >= 1e-6 && abs < 1e21) {
		return b, false
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64), simple
}
