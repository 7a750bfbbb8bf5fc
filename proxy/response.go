package proxy

import (
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/store"
)

// responseWriter notes what was answered. It does not hide io.ReaderFrom, so
// that a complete blob leaves by the kernel, nor the controls of the writer below.
type responseWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	headed time.Time // when the header left
	now    func() time.Time
	before func(status int) // called once, before the header leaves

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
		if w.before != nil {
			w.before(status)
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

// hurry begins the time in which the client has to take something, unless it has
// only just begun.
func (w *responseWriter) hurry() {
	if now := time.Now(); now.Sub(w.hurried) > w.stalled/16 {
		w.hurried = now
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.stalled)) //nolint:errcheck // a writer of a test has none
	}
}

// rest ends that time: what the edge itself waits for is not the client's fault, and
// HTTP/2 would end the stream though nothing is being written. HTTP/1 would not.
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

// flushWriter sends what it is given at once: the tail of a write would else
// wait in a buffer for the next bytes of a fill, which may be long in coming.
type flushWriter struct{ http.ResponseWriter }

// Write implements io.Writer.
func (w flushWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(w.ResponseWriter).Flush()
}

// ReadFrom implements io.ReaderFrom: what has come of a fill leaves by the kernel.
func (w flushWriter) ReadFrom(src io.Reader) (int64, error) {
	if part, ok := src.(*io.LimitedReader); ok {
		if reader, ok := part.R.(*store.Reader); ok {
			return reader.Send(w, part.N)
		}
	}
	n, err := io.Copy(w.ResponseWriter, src)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(w.ResponseWriter).Flush()
}

// cacheStatus writes the response's Cache-Status (RFC 9211): how the edge came
// by the answer.
func (x *exchange) cacheStatus(params ...string) {
	x.w.Header().Set("Cache-Status", "breakwater; "+strings.Join(params, "; "))
}

// metrics of the public listener; README.md lists them.
type metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	broken   *prometheus.GaugeVec
	rateLeft *prometheus.GaugeVec
	asked    *prometheus.CounterVec
	fetched  *prometheus.CounterVec
	tokens   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, draining func() bool) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_requests_total",
			Help: "Requests by end point, kind of namespace, outcome and status class."}, []string{"endpoint", "namespace", "outcome", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_response_bytes_total",
			Help: "Bytes of response bodies by kind of namespace and outcome."}, []string{"namespace", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "breakwater_edge_request_duration_seconds",
			Help: "Time to the last byte by end point and outcome.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"endpoint", "outcome"}),
	}
	m.first = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "breakwater_edge_time_to_first_byte_seconds",
		Help: "Time to the response's header by end point and outcome.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8)}, []string{"endpoint", "outcome"})
	m.asked = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_source_requests_total",
		Help: "Requests to a source by status class; 0xx: it did not answer."}, []string{"source", "status"})
	m.tokens = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_tokens_total",
		Help: "Answers to requests for a token by who gave them: harbor, a peer, outage (the edge itself), nobody."}, []string{"issuer"})
	m.fetched = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_source_bytes_total",
		Help: "Bytes of bodies that came from a source."}, []string{"source"})
	m.broken = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_edge_source_down",
		Help: "1 while the breaker of a source is open: it is asked last, or not at all."}, []string{"source"})
	m.rateLeft = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_edge_upstream_rate_remaining",
		Help: "Pulls that an upstream said are left of its limit."}, []string{"source"})
	// What alerts wait for is counted from 0: a series that begins with 1 has not increased.
	for _, issuer := range []string{"outage", "nobody"} {
		m.tokens.WithLabelValues(issuer)
	}
	if r != nil {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_draining",
			Help: "1 while the health says that this edge leaves."}, func() float64 {
			if draining() {
				return 1
			}
			return 0
		}), m.requests, m.bytes, m.seconds, m.first, m.broken, m.rateLeft, m.asked, m.fetched, m.tokens)
	}
	return m
}

func (m *metrics) breaker(source string, open bool) {
	value := 0.0
	if open {
		value = 1
	}
	m.broken.WithLabelValues(source).Set(value)
}

func (m *metrics) askedOf(source string, answer *http.Response) {
	status := 0
	if answer != nil {
		status = answer.StatusCode
	}
	m.asked.WithLabelValues(source, statusClass(status)).Inc()
}

// statusClass is "2xx" for 204, and "0xx" where there was no answer.
func statusClass(status int) string {
	return [...]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"}[min(max(status, 0)/100, 5)]
}

// finish counts the request and writes its log line, also when the handler panics.
func (h *Handler) finish(x *exchange) {
	status, took := x.w.status, h.cfg.Now().Sub(x.begun)
	if x.err != nil && aborted(x.r, x.err) {
		x.outcome = "gone"
	}
	x.endSpan()
	h.metrics.requests.WithLabelValues(x.kind, x.ns.Kind.String(), x.outcome, statusClass(status)).Inc()
	h.metrics.bytes.WithLabelValues(x.ns.Kind.String(), x.outcome).Add(float64(x.w.bytes))
	h.metrics.seconds.WithLabelValues(x.kind, x.outcome).Observe(took.Seconds())
	if status > 0 {
		h.metrics.first.WithLabelValues(x.kind, x.outcome).Observe(x.w.headed.Sub(x.begun).Seconds())
	}
	if x.kind == "health" {
		return
	}
	client, _, _ := net.SplitHostPort(x.r.RemoteAddr)
	attrs := []slog.Attr{
		slog.String("method", x.r.Method), slog.String("endpoint", x.kind), slog.String("repo", x.req.Repo),
		slog.String("reference", x.req.Reference()), slog.Int("status", status), slog.String("outcome", x.outcome),
		slog.Int64("bytes", x.w.bytes), slog.Float64("seconds", took.Seconds()), slog.String("client", client),
	}
	who := x.who
	if x.outcome == "pass" && status > 0 && status < 400 && x.peer == "" { // Harbor has accepted it
		who = access.Claimed(x.r.Header.Get("Authorization"))
	}
	if who != "" {
		attrs = append(attrs, slog.String("who", who))
	}
	if x.peer != "" {
		attrs = append(attrs, slog.String("peer", x.peer))
	}
	if x.req.Repo == "" {
		attrs = append(attrs, slog.String("path", x.r.URL.Path))
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("err", x.err.Error()))
	}
	h.cfg.Log.LogAttrs(x.r.Context(), slog.LevelInfo, "request", attrs...)
}
