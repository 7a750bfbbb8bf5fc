package lab

import (
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Fault is one named misbehaviour of a stand-in. README.md lists the names.
type Fault struct {
	Name       string `json:"name"`
	Path       string `json:"path,omitempty"`        // regular expression on "METHOD path"; "" is every request
	Times      int    `json:"times,omitempty"`       // how many requests it strikes; 0: all
	After      int    `json:"after,omitempty"`       // how many that match go by before it strikes
	Late       bool   `json:"late,omitempty"`        // down, hang, html and statuses: the request takes effect first
	Bytes      int64  `json:"bytes,omitempty"`       // cut, truncate, extra: how many; slow: per second
	RetryAfter int    `json:"retry_after,omitempty"` // 429, 503: seconds; 0: no header

	path  *regexp.Regexp
	left  int
	pass  int
	since time.Time
}

// Faults of Harbor's components strike inside the stand-in, the others at its door.
var componentFaults = []string{"core-down", "registry-down", "db-down", "redis-down"}

var doorFaults = []string{"down", "hang", "slow", "cut", "wrong-digest", "truncate", "extra", "html", "no-length", "ignore-range", "gzip"}

type faultSet struct {
	mu     sync.Mutex
	active []*Fault
	ended  chan struct{} // closed when the active ones are others; nil: nobody has waited for it
}

func (s *faultSet) set(faults []Fault) error {
	var active []*Fault
	for _, f := range faults {
		_, status := f.status()
		if !status && !slices.Contains(componentFaults, f.Name) && !slices.Contains(doorFaults, f.Name) {
			return fmt.Errorf("there is no fault %q", f.Name)
		}
		var err error
		if f.path, err = regexp.Compile(f.Path); err != nil {
			return fmt.Errorf("fault %s: path: %w", f.Name, err)
		}
		f.left, f.pass, f.since = f.Times, f.After, time.Now()
		active = append(active, &f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = active
	if s.ended != nil {
		close(s.ended)
		s.ended = nil
	}
	return nil
}

func (s *faultSet) list() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Fault{}
	for _, f := range s.active {
		all = append(all, *f)
	}
	return all
}

// component reports whether a fault of this name is on for the request.
func (s *faultSet) component(r *http.Request, name string) bool {
	return s.lasting(r, name, 0)
}

// lasting is component for a fault that has been on for some time.
func (s *faultSet) lasting(r *http.Request, name string, age time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.active {
		if f.Name == name && time.Since(f.since) >= age && f.strikes(r) {
			return true
		}
	}
	return false
}

func (f *Fault) strikes(r *http.Request) bool {
	if !f.path.MatchString(r.Method+" "+r.URL.Path) || f.Times > 0 && f.left == 0 {
		return false
	}
	if f.pass > 0 {
		f.pass--
		return false
	}
	f.left--
	return true
}

// status is the HTTP status that a fault named by a number answers with.
func (f *Fault) status() (int, bool) {
	n, err := strconv.Atoi(f.Name)
	return n, err == nil && n >= 400 && n <= 599
}

// serve lets the request through to handler, past whatever faults strike it.
func (s *faultSet) serve(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	s.mu.Lock()
	var struck []Fault
	if s.ended == nil {
		s.ended = make(chan struct{})
	}
	ended := s.ended
	for _, f := range s.active {
		if !slices.Contains(componentFaults, f.Name) && f.strikes(r) {
			struck = append(struck, *f)
		}
	}
	s.mu.Unlock()
	for _, f := range struck {
		if f.Late {
			handler.ServeHTTP(&unheardWriter{header: http.Header{}}, r)
		}
		if status, ok := f.status(); ok {
			refuse(w, status, f.RetryAfter)
			return
		}
		switch f.Name {
		case "down":
			reset(w)
			return
		case "hang":
			select {
			case <-r.Context().Done():
			case <-ended:
				reset(w)
			}
			return
		case "html":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html><body>Please log in to the hotel's network.</body></html>")
			return
		case "ignore-range":
			r.Header.Del("Range")
		default:
			w = &faultyWriter{ResponseWriter: w, fault: f, method: r.Method}
		}
	}
	handler.ServeHTTP(w, r)
	if f, ok := w.(*faultyWriter); ok {
		f.end()
	}
}

// unheardWriter is an answer that nobody gets.
type unheardWriter struct{ header http.Header }

// Header implements http.ResponseWriter.
func (w *unheardWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *unheardWriter) WriteHeader(int) {}

// Write implements io.Writer.
func (w *unheardWriter) Write(b []byte) (int, error) { return len(b), nil }

func refuse(w http.ResponseWriter, status, retryAfter int) {
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":"X","message":"fake upstream says %d"}]}`, status)
}

// reset breaks the connection off as a host without that port does.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // it is closed in any case
	}
	conn.Close()
}

// faultyWriter does to a successful body what its fault says.
type faultyWriter struct {
	http.ResponseWriter
	fault   Fault
	method  string
	status  int
	written int64
	length  int64 // of the body, -1 unknown
	zipped  *gzip.Writer
}

// Unwrap is for http.ResponseController.
func (w *faultyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *faultyWriter) WriteHeader(status int) {
	w.status, w.length = status, -1
	if n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64); err == nil {
		w.length = n
	}
	if status < 300 && w.length >= 0 {
		switch w.fault.Name {
		case "gzip":
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Del("Content-Length")
			w.zipped = gzip.NewWriter(w.ResponseWriter)
		case "no-length":
			w.Header().Del("Content-Length")
		case "truncate":
			w.Header().Set("Content-Length", strconv.FormatInt(max(0, w.length-w.fault.Bytes), 10))
		case "extra":
			w.Header().Set("Content-Length", strconv.FormatInt(w.length+w.fault.Bytes, 10))
		}
	}
	w.ResponseWriter.WriteHeader(status)
	if w.fault.Name == "no-length" {
		w.flush()
	}
}

func (w *faultyWriter) flush() {
	http.NewResponseController(w.ResponseWriter).Flush() //nolint:errcheck // the client is gone
}

// Write implements io.Writer.
func (w *faultyWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.status >= 300 {
		return w.ResponseWriter.Write(b)
	}
	at := w.written
	w.written += int64(len(b))
	switch w.fault.Name {
	case "cut":
		if w.written >= w.fault.Bytes {
			w.ResponseWriter.Write(b[:w.fault.Bytes-at]) //nolint:errcheck // cut off in any case
			w.flush()
			panic(http.ErrAbortHandler)
		}
	case "wrong-digest":
		if at == 0 && len(b) > 0 {
			b = append([]byte{b[0] ^ 1}, b[1:]...)
		}
	case "truncate":
		keep := max(0, min(int64(len(b)), w.length-w.fault.Bytes-at))
		if _, err := w.ResponseWriter.Write(b[:keep]); err != nil {
			return 0, err
		}
		return len(b), nil
	case "gzip":
		if w.zipped != nil {
			return w.zipped.Write(b)
		}
	case "slow":
		return w.drip(b)
	}
	return w.ResponseWriter.Write(b)
}

// drip sends no more than a tenth of a second's worth at once, and waits as long
// as it would have taken.
func (w *faultyWriter) drip(b []byte) (n int, err error) {
	rate := max(1, w.fault.Bytes)
	for len(b) > 0 {
		part := b[:min(int(max(1, rate/10)), len(b))]
		m, err := w.ResponseWriter.Write(part)
		n += m
		if err != nil {
			return n, err
		}
		w.flush()
		b = b[len(part):]
		time.Sleep(time.Duration(len(part)) * time.Second / time.Duration(rate)) // this is the fault itself
	}
	return n, nil
}

func (w *faultyWriter) end() {
	if w.zipped != nil && w.method != http.MethodHead {
		w.zipped.Close() //nolint:errcheck // the client is gone
	}
	if w.fault.Name == "extra" && w.status < 300 && w.method != http.MethodHead {
		w.ResponseWriter.Write(make([]byte, w.fault.Bytes)) //nolint:errcheck // the client is gone
	}
}
