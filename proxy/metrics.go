package proxy

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// metrics of the public listener; README.md lists them.
type metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	webhooks *prometheus.CounterVec
}

// newMetrics makes the metrics and registers them; nil: they are counted and not shown.
func newMetrics(r prometheus.Registerer, h *Handler) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_requests_total",
			Help: "Requests by end point, kind of namespace, outcome and status class."}, []string{"endpoint", "namespace", "outcome", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_response_bytes_total",
			Help: "Bytes of response bodies by kind of namespace and outcome."}, []string{"namespace", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "breakwater_edge_request_duration_seconds",
			Help: "Time to the last byte by end point and outcome.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"endpoint", "outcome"}),
		first: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "breakwater_edge_time_to_first_byte_seconds",
			Help: "Time to the response's header by end point and outcome.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8)}, []string{"endpoint", "outcome"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_webhooks_total",
			Help: "Events that Harbor told of, by what became of them."}, []string{"result"}),
	}
	if r != nil {
		// The circuit breaker of Harbor would not do: it opens only when somebody asks for
		// something, and not when the database alone is down.
		r.MustRegister(m.requests, m.bytes, m.seconds, m.first, m.webhooks,
			gauge("breakwater_edge_draining", "1 while the health says that this edge leaves.", h.drain.Draining),
			gauge("breakwater_edge_harbor_up", "Whether the local Harbor says that it is healthy: core, registry, database, redis.", h.health.Up))
	}
	return m
}

// gauge is 1 while is says so.
func gauge(name, help string, is func() bool) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		if is() {
			return 1
		}
		return 0
	})
}

// who is whose request it was, if it was answered: "anonymous" where that is not proven.
func (h *Handler) who(w *response, r *request) string {
	switch {
	case r.peer != "" || w.Status == 0 || w.Status >= 400:
		return ""
	case w.outcome == outcomePass && r.Repo != "":
		w.who = h.cfg.Access.Proven(r.http.Context(), r.query.Authorization, r.Repo, !r.Read())
	case w.outcome == outcomePass && r.endpoint == registry.KindBase.String(): // a login
		w.who = access.Claimed(r.query.Authorization)
	}
	if w.who == "" && r.Repo != "" {
		return "anonymous"
	}
	return w.who
}

// brief is what is logged of what others choose.
func brief(s string) string { return s[:min(len(s), 2<<10)] }

// finish counts the request and writes its log line, also when the handler panics.
func (h *Handler) finish(w *response, r *request) {
	status, took := w.Status, h.cfg.Now().Sub(w.begun)
	if w.err != nil && aborted(r.http, w.err) {
		w.outcome = outcomeGone
	}
	endSpan(w, r)
	kind := r.ns.Kind.String()
	h.metrics.requests.WithLabelValues(r.endpoint, kind, w.outcome, registry.StatusClass(status)).Inc()
	h.metrics.bytes.WithLabelValues(kind, w.outcome).Add(float64(w.Bytes))
	h.metrics.seconds.WithLabelValues(r.endpoint, w.outcome).Observe(took.Seconds())
	if status > 0 {
		h.metrics.first.WithLabelValues(r.endpoint, w.outcome).Observe(w.Headed.Sub(w.begun).Seconds())
	}
	if hit, counts := fromStore[w.outcome]; counts && r.peer == "" {
		h.hits.Add(h.cfg.Now(), hit)
	}
	if r.endpoint == endpointHealth || r.endpoint == endpointHello {
		return
	}
	attrs := append(make([]slog.Attr, 0, 13), // as many as there can be
		slog.String("method", r.http.Method), slog.String("endpoint", r.endpoint), slog.String("repo", r.Repo),
		slog.String("reference", r.Reference()), slog.Int("status", status), slog.String("outcome", w.outcome),
		slog.Int64("bytes", w.Bytes), slog.Float64("seconds", took.Seconds()), slog.String("client", w.client))
	if who := h.who(w, r); who != "" {
		attrs = append(attrs, slog.String("who", who))
	}
	if r.peer != "" {
		attrs = append(attrs, slog.String("peer", r.peer))
	}
	if r.Repo == "" {
		attrs = append(attrs, slog.String("path", brief(r.http.URL.Path)))
	}
	if w.err != nil {
		attrs = append(attrs, slog.String("err", brief(w.err.Error())))
	}
	h.cfg.Log.LogAttrs(r.http.Context(), slog.LevelInfo, "request", attrs...)
}
