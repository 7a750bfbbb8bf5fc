package daemon

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	journalEvery = 100 * time.Millisecond // how long a line waits for others
	journalBatch = 64 << 10               // bytes that are written without waiting
	journalMost  = 4 << 20                // bytes that wait for a slow reader; lines beyond are dropped
	journalEnd   = 2 * time.Second        // how long Close waits for a reader that takes nothing
)

// Journal is where a log's lines go that are written for each request: into memory, from where one
// goroutine writes them to their end, many at a time. Who logs waits for nobody. Where the reader
// is too slow lines are dropped, counted, and the log says so as soon as it goes on. A process that
// is killed, or ends by a panic, loses the lines of the last tenth of a second.
type Journal struct {
	out     io.Writer
	dropped prometheus.Counter

	mu     sync.Mutex
	buf    []byte
	lost   int // lines since the last that was written
	closed bool
	wake   chan struct{} // holds a token once there is something to write
	full   chan struct{} // holds a token once that is a batch, or all
	ended  chan struct{} // closed when everything is written
}

// NewJournal returns a journal of lines for out. Close ends it.
func NewJournal(out io.Writer) *Journal {
	j := &Journal{out: out, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), ended: make(chan struct{}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_log_dropped_lines_total", Help: "Lines of the log that nobody took in time."})}
	go j.run()
	return j
}

// Dropped is the metric of lines that were dropped.
func (j *Journal) Dropped() prometheus.Collector { return j.dropped }

// Write takes one line. It never waits, and has no error.
func (j *Journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return j.out.Write(line) // the last words
	case len(j.buf)+len(line) > journalMost:
		j.lost++
		j.dropped.Inc()
		return len(line), nil
	}
	j.buf = append(j.buf, line...)
	token(j.wake)
	if len(j.buf) >= journalBatch {
		token(j.full)
	}
	return len(line), nil
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has one
	}
}

// run writes what there is, a batch at a time, until the journal is closed and empty.
func (j *Journal) run() {
	defer close(j.ended)
	var batch []byte
	timer := time.NewTimer(0)
	<-timer.C
	for {
		<-j.wake
		timer.Reset(journalEvery)
		select {
		case <-j.full:
		case <-timer.C:
		}
		timer.Stop()
		j.mu.Lock()
		batch, j.buf = j.buf, batch[:0]
		lost, closed := j.lost, j.closed
		j.lost = 0
		j.mu.Unlock()
		if lost > 0 {
			batch = fmt.Appendf(batch, `{"time":%q,"level":"WARN","msg":"lines of the log were dropped: nobody took them in time","lines":%d}`+"\n", time.Now().Format(time.RFC3339Nano), lost)
		}
		j.out.Write(batch) //nolint:errcheck // there is nowhere to say it
		if closed {
			return
		}
		if cap(batch) > 16*journalBatch { // a slow reader's
			batch = bytes.Clone(batch[:0])
		}
	}
}

// Close writes all lines that have come. Later ones are written at once, each by who logs it. It
// waits for a reader that takes nothing for two seconds.
func (j *Journal) Close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	token(j.wake)
	token(j.full)
	timer := time.NewTimer(journalEnd)
	defer timer.Stop()
	select {
	case <-j.ended:
	case <-timer.C:
	}
}
