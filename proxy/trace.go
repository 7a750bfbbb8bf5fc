package proxy

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// beginSpan starts the span of a request, in the trace that its client names
// (W3C Trace Context) or in one of its own. What probes ask is no part of any.
func (h *Handler) beginSpan(r *http.Request) *http.Request {
	if h.cfg.Tracer == nil || r.URL.Path == livenessPath || r.URL.Path == HealthPath {
		return r
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, _ = h.cfg.Tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path)))
	return r.WithContext(ctx)
}

// endSpan ends it with what became of the request. Its name has the end point in it,
// which was not known before.
func endSpan(w *response, r *request) {
	span := trace.SpanFromContext(r.http.Context())
	if !span.IsRecording() {
		return
	}
	span.SetName(r.http.Method + " " + r.endpoint)
	span.SetAttributes(attribute.Int("http.response.status_code", w.Status), attribute.Int64("http.response.body.size", w.Bytes),
		attribute.String("breakwater.endpoint", r.endpoint), attribute.String("breakwater.outcome", w.outcome), attribute.String("breakwater.repo", r.Repo))
	if r.peer != "" {
		span.SetAttributes(attribute.String("breakwater.peer", r.peer))
	}
	if w.err != nil && (w.Status == 0 || w.Status >= 500) {
		span.SetStatus(codes.Error, w.err.Error())
	}
	span.End()
}
