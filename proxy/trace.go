package proxy

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// beginSpan starts the span of a request, in the trace that its client names
// (W3C Trace Context) or in one of its own. What probes ask is no part of any.
func (h *Handler) beginSpan(r *http.Request) *http.Request {
	if h.cfg.Tracer == nil || r.URL.Path == livenessPath || r.URL.Path == healthPath {
		return r
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, _ = h.cfg.Tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path)))
	return r.WithContext(ctx)
}

// endSpan ends it with what became of the request. Its name has the end point in it,
// which was not known before.
func (x *exchange) endSpan() {
	span := trace.SpanFromContext(x.r.Context())
	if !span.IsRecording() {
		return
	}
	span.SetName(x.r.Method + " " + x.kind)
	span.SetAttributes(attribute.Int("http.response.status_code", x.w.status), attribute.Int64("http.response.body.size", x.w.bytes),
		attribute.String("breakwater.endpoint", x.kind), attribute.String("breakwater.outcome", x.outcome), attribute.String("breakwater.repo", x.req.Repo))
	if x.peer != "" {
		span.SetAttributes(attribute.String("breakwater.peer", x.peer))
	}
	if x.err != nil && (x.w.status == 0 || x.w.status >= 500) {
		span.SetStatus(codes.Error, x.err.Error())
	}
	span.End()
}

// inTrace puts work that outlives its request, and may serve others too, into the
// trace of the request that began it.
func inTrace(ctx context.Context, began trace.SpanContext) context.Context {
	if !began.IsValid() {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, began)
}
