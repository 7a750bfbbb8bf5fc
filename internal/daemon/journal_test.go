package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// sink is where a log goes. It takes nothing while it is shut.
type sink struct {
	shut chan struct{} // one fits

	mu   sync.Mutex
	text bytes.Buffer
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.shut != nil {
		s.shut <- struct{}{}
		defer func() { <-s.shut }()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	return s.text.Write(p)
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) read() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func request(log *slog.Logger, n int64) {
	log.LogAttrs(context.Background(), slog.LevelInfo, "request",
		slog.String("method", "GET"), slog.String("endpoint", "manifests"), slog.String("repo", "cache-dockerhub/library/nginx"),
		slog.String("reference", "1.29"), slog.Int("status", 200), slog.String("outcome", "hit"), slog.Int64("bytes", n),
		slog.Float64("seconds", 0.000123456), slog.String("client", "192.0.2.1"), slog.String("who", "robot$ci"))
}

// TestTheLogIsWrittenSoon: lines are what slog's own would be, in order, within 100 ms; a warning
// at once, with what came before it; the rest at the end.
func TestTheLogIsWrittenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		var plain bytes.Buffer
		level := new(slog.LevelVar)
		j := NewJournal(&out)
		log, like := j.Logger(level), slog.New(slog.NewJSONHandler(&plain, &slog.HandlerOptions{Level: level}))
		both := func(say func(*slog.Logger)) { say(log); say(like) }
		is := func(when string) {
			t.Helper()
			synctest.Wait()
			if got := out.read(); got != plain.String() {
				t.Errorf("%s the log is\n%swant\n%s", when, got, plain.String())
			}
		}
		both(func(l *slog.Logger) { request(l, 1); l.Debug("not said"); l.Info(`"<é` + "\n\xff") })
		synctest.Wait()
		if got := out.read(); got != "" {
			t.Errorf("a line was written by itself: %s", got)
		}
		time.Sleep(journalDelay) // of the bubble's clock
		is("after a while")
		both(func(l *slog.Logger) { request(l, 2); l.With("part", "x").WithGroup("g").Warn("at once", "n", 1) })
		is("with a warning")
		level.Set(slog.LevelDebug)
		both(func(l *slog.Logger) { l.Debug("said"); request(l, 3) })
		j.Close()
		is("at the end")
	})
}

// TestALogThatIsNotTakenHoldsNobodyUp fills a log that nobody reads: who logs goes on, memory is
// bounded, and what is lost is counted and said when the log is read again. So is what could not be written.
func TestALogThatIsNotTakenHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := sink{shut: make(chan struct{}, 1)}
		j := NewJournal(&out)
		log := j.Logger(slog.LevelInfo)
		out.shut <- struct{}{}
		log.Warn("first")
		const lines = 3 * journalMost / 200
		for i := range int64(lines) {
			request(log, i)
		}
		log.Error("last")
		if got := len(j.lines) + j.writing; got > journalMost || got < journalMost-1<<10 {
			t.Errorf("%d bytes wait, want %d", got, journalMost)
		}
		<-out.shut
		synctest.Wait()

		written, dropped := 0, 0
		for line := range strings.Lines(out.read()) {
			var is struct {
				Msg   string
				Lines int
			}
			if err := json.Unmarshal([]byte(line), &is); err != nil {
				t.Fatal(err, line)
			}
			if is.Msg == "lines dropped from the log" {
				dropped += is.Lines
			} else {
				written++
			}
		}
		if dropped == 0 || written+dropped != lines+2 || testutil.ToFloat64(j.dropped) != float64(dropped) {
			t.Errorf("of %d lines %d are written and %d said to be dropped, %v counted", lines+2, written, dropped, testutil.ToFloat64(j.dropped))
		}

		out.fail(errors.New("no space left"))
		log.Warn("lost")
		synctest.Wait()
		out.fail(nil)
		log.Warn("found")
		synctest.Wait()
		if got := out.read(); strings.Contains(got, `"lost"`) || !strings.HasSuffix(got, `"level":"WARN","msg":"lines dropped from the log","lines":1}`+"\n") {
			t.Errorf("after a fault the log ends with %s", got[max(0, len(got)-300):])
		}

		out.shut <- struct{}{}
		log.Warn("never taken")
		begun := time.Now()
		j.Close()
		if took := time.Since(begun); took > journalLast {
			t.Errorf("the end waited for %v", took)
		}
		<-out.shut
	})
}

// FuzzALineIsAsSlogs has a journal and slog encode the same.
func FuzzALineIsAsSlogs(f *testing.F) {
	for _, text := range []string{"", "plain", `"`, "\\", "<&>", "\x00\x1f\x7f", "é\u2028", "\xff", "~ "} {
		for _, n := range []float64{0, math.Copysign(0, -1), 1, -1, 1e-6, 9.9e-7, 1e21, 9.99e20, 0.1, 123456.789, math.Inf(1), math.NaN()} {
			f.Add("key", text, n, int64(n), int64(1_700_000_000_123_456_789))
			f.Add(text, "text", n, int64(-1), int64(0))
		}
	}
	f.Fuzz(func(t *testing.T, key, text string, n float64, i, at int64) {
		if math.IsInf(n, 0) || math.IsNaN(n) {
			n = 1.5
		}
		var got, want bytes.Buffer
		j := NewJournal(&got)
		log, like := j.Logger(nil).Handler(), slog.NewJSONHandler(&want, nil)
		for _, attrs := range [][]slog.Attr{
			{slog.String(key, text), slog.Float64("seconds", n), slog.Int64("n", i), slog.Bool("is", n > 0)},
			{slog.Any("any", []string{text}), slog.Group("group", slog.String(key, text)), slog.Duration("took", time.Duration(i)), slog.Uint64("u", uint64(i)), slog.Time("at", time.Unix(0, at)), {}},
			{},
		} {
			r := slog.NewRecord(time.Unix(0, at), slog.Level(i%10), text, 0)
			r.AddAttrs(attrs...)
			for _, h := range []slog.Handler{log, like} {
				h.Handle(t.Context(), r)
				h.WithAttrs(attrs).WithGroup("g").Handle(t.Context(), r)
			}
		}
		j.Close()
		if got.String() != want.String() {
			t.Errorf("the line is\n%swant\n%s", got.String(), want.String())
		}
	})
}

// BenchmarkLog is what a request's line costs, to a file as it comes and by way of a journal.
func BenchmarkLog(b *testing.B) {
	for name, to := range map[string]func(io.Writer) (*slog.Logger, func() error){
		"direct": func(w io.Writer) (*slog.Logger, func() error) {
			return slog.New(slog.NewJSONHandler(w, nil)), func() error { return nil }
		},
		"journal": func(w io.Writer) (*slog.Logger, func() error) {
			j := NewJournal(w)
			return j.Logger(slog.LevelInfo), j.Close
		},
	} {
		b.Run(name, func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), fmt.Sprint(name, ".log")))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			log, end := to(f)
			b.ReportAllocs()
			for b.Loop() {
				request(log, 5000)
			}
			end() //nolint:errcheck // nothing is left to do
		})
	}
}
