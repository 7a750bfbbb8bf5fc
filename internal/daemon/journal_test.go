package daemon_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/trial"
)

// Lines come out as the handler made them, each once, those of one who logs in their order, within
// a moment and without a Close.
func TestAJournalHasEveryLine(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	j := daemon.NewJournal(w)
	log := daemon.NewLog(j, slog.LevelInfo)
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(r) //nolint:errcheck // until the pipe is closed
		read <- string(text)
	}()
	const who, each = 8, 500
	var all sync.WaitGroup
	for i := range who {
		all.Go(func() {
			for n := range each {
				log.Info("line", "who", i, "n", n)
			}
		})
	}
	all.Wait()
	j.Close()
	log.Info("last words")
	w.Close()
	text := <-read
	next := [who]int{}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines[:len(lines)-1] {
		var i, n int
		if _, err := fmt.Sscanf(line[strings.Index(line, `"msg"`):], `"msg":"line","who":%d,"n":%d}`, &i, &n); err != nil || n != next[i] {
			t.Fatalf("%v, want line %d of %d: %s", err, next[i], i, line)
		}
		next[i]++
	}
	if len(lines) != who*each+1 || !strings.Contains(lines[who*each], "last words") {
		t.Errorf("%d lines; the last: %s", len(lines), lines[len(lines)-1])
	}
	if got := testutil.ToFloat64(j.Dropped()); got != 0 {
		t.Errorf("%v dropped", got)
	}
}

// gate is a reader that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

// Who logs does not wait for who reads. What does not fit is counted, and said where it is missing.
func TestAJournalThatNobodyReadsHoldsNobody(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	j := daemon.NewJournal(g)
	log := daemon.NewLog(j, slog.LevelInfo)
	const lines = 20_000
	long := strings.Repeat("x", 1000)
	for range lines {
		log.Info(long)
	}
	dropped := int(testutil.ToFloat64(j.Dropped()))
	if dropped < lines/2 || dropped >= lines {
		t.Fatalf("%d of %d are dropped", dropped, lines)
	}
	begun := time.Now()
	j.Close()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the end takes %v", took)
	}
	close(g.open)
	trial.Until(t, func() error {
		text := g.String()
		if !strings.Contains(text, fmt.Sprintf(`"lines":%d}`, dropped)) {
			return fmt.Errorf("the log does not say that %d lines are missing: it ends %q", dropped, text[max(0, len(text)-300):])
		}
		if n := strings.Count(text, long); n != lines-dropped {
			return fmt.Errorf("%d lines, want %d", n, lines-dropped)
		}
		return nil
	})
}

// A line is there soon, though no other one comes.
func TestAJournalKeepsNoLine(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	j := daemon.NewJournal(g)
	defer j.Close()
	for n := range 3 {
		fmt.Fprintf(j, "line %d\n", n)
		trial.Until(t, func() error {
			if text := g.String(); !strings.Contains(text, fmt.Sprintf("line %d\n", n)) {
				return fmt.Errorf("not there: %q", text)
			}
			return nil
		})
	}
}

func BenchmarkALine(b *testing.B) {
	null, err := os.OpenFile(b.TempDir()+"/log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	j := daemon.NewJournal(null)
	defer j.Close()
	for name, log := range map[string]*slog.Logger{"slog": slog.New(slog.NewJSONHandler(null, nil)), "slog, journal": slog.New(slog.NewJSONHandler(j, nil)), "journal": daemon.NewLog(j, slog.LevelInfo)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				log.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("method", "GET"), slog.String("endpoint", "manifest"), slog.String("repo", "cache-dockerhub/library/nginx"),
					slog.String("reference", "latest"), slog.Int("status", 200), slog.String("outcome", "hit"), slog.Int64("bytes", 1234), slog.Float64("seconds", 0.000123), slog.String("client", "192.0.2.1"))
			}
		})
	}
}
