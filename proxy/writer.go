package proxy

import (
	"io"
	"math"
	"net/http"
	"time"
)

// responseWriter notes what was answered. It does not hide io.ReaderFrom, so
// that a complete blob leaves by the kernel, nor the controls of the writer below.
type responseWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	headed time.Time // when the header left
	now    func() time.Time

	stalled time.Duration // how long the client may take nothing
	hurried time.Time     // when that began
	streams bool          // HTTP/2
}

const (
	stalledDeadline = 5 * time.Minute
	// stalledPart must leave within the deadline, and with it about a third of what
	// the kernel holds for the connection: a client of 10 kB/s is slow, but alive.
	stalledPart = 512 << 10
)

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 || status == http.StatusSwitchingProtocols {
		w.status, w.headed = status, w.now()
		if header := w.Header(); header["Cache-Status"] == nil { // every response has one
			header["Cache-Status"] = []string{"breakwater; fwd=bypass; detail=edge"}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *responseWriter) Write(b []byte) (n int, err error) {
	w.implicitOK()
	defer w.rest()
	for {
		w.hurry()
		m, err := w.ResponseWriter.Write(b[n:min(n+stalledPart, len(b))])
		n += m
		w.bytes += int64(m)
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// ReadFrom implements io.ReaderFrom. Its parts are as the kernel wants them: a
// limited reader of the file itself.
func (w *responseWriter) ReadFrom(r io.Reader) (n int64, err error) {
	w.implicitOK()
	defer w.rest()
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	for whole.N > 0 {
		part := &io.LimitedReader{R: whole.R, N: min(whole.N, stalledPart)}
		w.hurry()
		m, err := io.Copy(w.ResponseWriter, part)
		n += m
		w.bytes += m
		whole.N -= m
		if err != nil || part.N > 0 {
			return n, err
		}
	}
	return n, nil
}

// FlushError is for http.ResponseController.
func (w *responseWriter) FlushError() error {
	w.hurry()
	defer w.rest()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// hurry starts the time in which the client has to take something, unless it was
// started just now.
func (w *responseWriter) hurry() {
	if now := time.Now(); now.Sub(w.hurried) > w.stalled/16 {
		w.hurried = now
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.stalled)) //nolint:errcheck // a writer of a test has none
	}
}

// rest ends that time: what the edge itself waits for is not the client's fault.
// HTTP/2 would end the stream though nothing is being written; HTTP/1 would not.
func (w *responseWriter) rest() {
	if w.streams {
		w.hurried = time.Time{}
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.hurried) //nolint:errcheck // as above
	}
}

func (w *responseWriter) implicitOK() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}
