package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	journalDelay = 100 * time.Millisecond // a line is held back for no longer, while the writer takes them
	journalBatch = 64 << 10               // bytes that are written at once
	journalMost  = 4 << 20                // bytes that wait, those that are being written too
	journalLast  = 2 * time.Second        // how long Close waits for a writer that takes nothing
)

// Journal is a log of JSON lines that nobody waits for: lines go to memory, and one goroutine
// writes them in the order in which they came, within 100 ms, warnings and errors at once. A
// writer that takes nothing, such as a pipe that nobody reads, costs lines, and no requests: what
// is beyond 4 MiB is dropped and counted, and a line of the log says so. A program that is killed,
// or ends by a panic, loses the lines of its last 100 ms.
type Journal struct {
	w       io.Writer
	note    slog.Handler // of what is said to w itself
	noted   bytes.Buffer
	torn    bool // the last line that was written lacks its end; run's alone
	dropped prometheus.Counter
	work    chan struct{} // there is something to write
	soon    chan struct{} // it is not to wait for more
	ended   chan struct{} // all is written after Close

	mu      sync.Mutex
	lines   []byte
	writing int // bytes
	untold  int // lines that were dropped, and the log does not say so
	closed  bool
}

// NewJournal begins a log to w. Close ends it.
func NewJournal(w io.Writer) *Journal {
	j := &Journal{w: w, work: make(chan struct{}, 1), soon: make(chan struct{}, 1), ended: make(chan struct{}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_log_dropped_total",
			Help: "Lines that are not in the log, because it was not written as fast as they came, or could not be written."})}
	j.note = slog.NewJSONHandler(&j.noted, nil)
	go j.run()
	return j
}

// Logger logs what level lets through.
func (j *Journal) Logger(level slog.Leveler) *slog.Logger {
	return slog.New(lines{slog.NewJSONHandler(j, &slog.HandlerOptions{Level: level}), j, true})
}

// Count shows the lines that are not in the log. A nil journal has no such metric.
func (j *Journal) Count(metrics prometheus.Registerer) {
	if j != nil {
		metrics.MustRegister(j.dropped)
	}
}

// Write implements io.Writer: p is one line. It does not wait.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || len(j.lines)+j.writing+len(p) > journalMost {
		j.drop(1)
		return len(p), nil
	}
	if len(j.lines) == 0 {
		notify(j.work)
	}
	if j.lines = append(j.lines, p...); len(j.lines) >= journalBatch {
		notify(j.soon)
	}
	return len(p), nil
}

// drop counts lines that are lost. j.mu is locked.
func (j *Journal) drop(lines int) {
	j.untold += lines
	j.dropped.Add(float64(lines))
}

// Close writes what is there, and waits for that as long as the writer may take two seconds for it.
// Lines that come later are dropped.
func (j *Journal) Close() error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.work)
	}
	j.mu.Unlock()
	notify(j.soon)
	last := time.NewTimer(journalLast)
	defer last.Stop()
	select {
	case <-j.ended:
	case <-last.C:
	}
	return nil
}

// run writes what there is, until Close.
func (j *Journal) run() {
	defer close(j.ended)
	wait := time.NewTimer(journalDelay)
	defer wait.Stop()
	var spare []byte
	for range j.work {
		wait.Reset(journalDelay)
		select {
		case <-wait.C:
		case <-j.soon:
		}
		spare = j.flush(spare)
	}
	j.flush(spare)
}

// flush writes what there is, and a line for what was dropped after it, and goes on while as much
// as a batch has come meanwhile. Lines that come while it writes are gathered in spare.
func (j *Journal) flush(spare []byte) []byte {
	for {
		j.mu.Lock()
		lines, untold := j.lines, j.untold
		j.lines, j.untold, j.writing = spare[:0], 0, len(lines)
		j.mu.Unlock()
		n, err := j.put(lines)
		if err != nil {
			j.failed(bytes.Count(lines[n:], []byte("\n")), untold)
		} else if untold > 0 {
			err = j.tell(untold)
		}
		if spare = lines; cap(spare) > 4*journalBatch {
			spare = nil // a burst's memory is not kept
		}
		j.mu.Lock()
		j.writing = 0
		more := len(j.lines) >= journalBatch || j.untold > 0 && err == nil
		j.mu.Unlock()
		if !more {
			return spare
		}
	}
}

// put writes lines, on a line of their own where the last one was cut off.
func (j *Journal) put(lines []byte) (n int, err error) {
	if j.torn && len(lines) > 0 {
		if _, err = j.w.Write([]byte("\n")); err != nil {
			return 0, err
		}
		j.torn = false
	}
	if n, err = j.w.Write(lines); n > 0 {
		j.torn = lines[n-1] != '\n'
	}
	return n, err
}

// failed notes that lines could not be written. untold were dropped before.
func (j *Journal) failed(lines, untold int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.untold += untold
	j.drop(lines)
}

// tell writes that lines were dropped.
func (j *Journal) tell(lines int) error {
	j.noted.Reset()
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "lines dropped from the log", 0)
	r.AddAttrs(slog.Int("lines", lines))
	j.note.Handle(context.Background(), r) //nolint:errcheck // to memory
	_, err := j.put(j.noted.Bytes())
	if err != nil {
		j.failed(0, lines)
	}
	return err
}

// notify leaves word in a channel of one.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
