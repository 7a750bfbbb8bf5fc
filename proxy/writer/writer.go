// Package writer writes answers: what was answered is noted, and a client that takes nothing
// of it is cut off.
package writer

import (
	"io"
	"math"
	"net/http"
	"time"
)

// Writer notes what was answered. It does not hide io.ReaderFrom, so
// that a complete blob leaves by the kernel, nor the controls of the writer below.
type Writer struct {
	http.ResponseWriter
	Status int
	Bytes  int64
	Headed time.Time // when the header left
	now    func() time.Time

	stalled time.Duration // how long the client may take nothing
	hurried time.Time     // when that began
	streams bool          // HTTP/2
}

const (
	// Stalled is how long a client may take nothing, where nobody says otherwise.
	Stalled = 5 * time.Minute
	// stalledPart must leave within the deadline, and with it about a third of what
	// the kernel holds for the connection: a client of 10 kB/s is slow, but alive.
	stalledPart = 512 << 10
)

// New returns a Writer of the answer to a request. stalled is how long the client may take
// nothing.
func New(w http.ResponseWriter, r *http.Request, now func() time.Time, stalled time.Duration) Writer {
	return Writer{ResponseWriter: w, now: now, stalled: stalled, streams: r.ProtoMajor >= 2}
}

// Unwrap is for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) {
	if w.Status == 0 && status >= 200 || status == http.StatusSwitchingProtocols {
		w.Status, w.Headed = status, w.now()
		if header := w.Header(); header["Cache-Status"] == nil { // every response has one
			header["Cache-Status"] = []string{"breakwater; fwd=bypass; detail=edge"}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *Writer) Write(b []byte) (n int, err error) {
	w.implicitOK()
	defer w.rest()
	for {
		w.Hurry()
		m, err := w.ResponseWriter.Write(b[n:min(n+stalledPart, len(b))])
		n += m
		w.Bytes += int64(m)
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// ReadFrom implements io.ReaderFrom. Its parts are as the kernel wants them: a
// limited reader of the file itself.
func (w *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	w.implicitOK()
	defer w.rest()
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	for whole.N > 0 {
		part := &io.LimitedReader{R: whole.R, N: min(whole.N, stalledPart)}
		w.Hurry()
		m, err := io.Copy(w.ResponseWriter, part)
		n += m
		w.Bytes += m
		whole.N -= m
		if err != nil || part.N > 0 {
			return n, err
		}
	}
	return n, nil
}

// FlushError is for http.ResponseController.
func (w *Writer) FlushError() error {
	w.Hurry()
	defer w.rest()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hurry starts the time in which the client has to take something, unless it was
// started just now.
func (w *Writer) Hurry() {
	if now := time.Now(); now.Sub(w.hurried) > w.stalled/16 {
		w.hurried = now
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.stalled)) //nolint:errcheck // a writer of a test has none
	}
}

// rest ends that time: what the edge itself waits for is not the client's fault.
// HTTP/2 would end the stream though nothing is being written; HTTP/1 would not.
func (w *Writer) rest() {
	if w.streams {
		w.hurried = time.Time{}
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.hurried) //nolint:errcheck // as above
	}
}

func (w *Writer) implicitOK() {
	if w.Status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}
