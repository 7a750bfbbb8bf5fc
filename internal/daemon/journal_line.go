package daemon

import (
	"context"
	"log/slog"
	"strconv"
	"time"
)

// lines encodes what it is given to log as slog's JSON handler does, to the byte. What most lines are,
// plain text and numbers beside each other, it encodes itself, which is faster; slog's handler does the rest.
type lines struct {
	slog.Handler
	journal *Journal
	plain   bool // no attributes and no group come before the line's own
}

// Handle implements slog.Handler.
func (h lines) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		defer notify(h.journal.soon)
	}
	if h.plain {
		var room [1 << 10]byte
		if line, ok := appendLine(room[:0], r); ok {
			_, err := h.journal.Write(line)
			return err
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lines{h.Handler.WithAttrs(attrs), h.journal, false}
}

// WithGroup implements slog.Handler.
func (h lines) WithGroup(name string) slog.Handler {
	return lines{h.Handler.WithGroup(name), h.journal, false}
}

// appendLine appends a record's line. ok is false where it has what only slog can encode.
func appendLine(b []byte, r slog.Record) (line []byte, ok bool) {
	if y := r.Time.Year(); r.Time.IsZero() || y < 1 || y > 9999 {
		return nil, false
	}
	b = r.Time.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
	b = append(append(append(b, `","level":"`...), r.Level.String()...), `","msg":`...)
	b, ok = appendPlain(b, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		b, ok = appendAttr(b, a, ok)
		return ok
	})
	return append(b, "}\n"...), ok
}

// appendAttr appends an attribute, where it is plain and all before were.
func appendAttr(b []byte, a slog.Attr, ok bool) ([]byte, bool) {
	if !ok || a.Key == "" {
		return b, false
	}
	if b, ok = appendPlain(append(b, ','), a.Key); !ok {
		return b, false
	}
	b = append(b, ':')
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		return appendPlain(b, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool()), true
	case slog.KindFloat64:
		f := v.Float64()
		return strconv.AppendFloat(b, f, 'f', -1, 64), f == 0 || f >= 1e-6 && f < 1e21 // others have an exponent, or a sign
	}
	return b, false
}

// appendPlain appends a string in quotes. ok is false where something of it has to be escaped.
func appendPlain(b []byte, s string) (_ []byte, ok bool) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return b, false
		}
	}
	return append(append(append(b, '"'), s...), '"'), true
}
