package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// farewell is how long a collector may take for what is left at the end.
const farewell = 3 * time.Second

// tracing sends spans to a collector; nil where nobody asked for it.
type tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// newTracing is set up by the environment alone, as OpenTelemetry specifies it
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables):
// off unless OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a
// collector. Sampling, headers, certificates and resource attributes have variables too.
func newTracing(ctx context.Context, cfg EdgeConfig) (*tracing, error) {
	if otlp("ENDPOINT") == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	collector, err := newCollector()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, collector)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	// The environment comes last: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
	about, err := resource.New(ctx, resource.WithHost(), resource.WithAttributes(attribute.String("service.name", "breakwater-edge"),
		attribute.String("service.version", cfg.Version), attribute.String("breakwater.datacenter", cfg.Datacenter)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		cfg.Log.Warn("traces are not taken by the collector", slog.String("err", err.Error()))
	}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return &tracing{provider, provider.Tracer("example.org/breakwater")}, nil
}

// of is the tracer of the edge's own spans; nil without tracing.
func (t *tracing) of() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

func (t *tracing) close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	t.provider.Shutdown(ctx) //nolint:errcheck // the error handler has said it
	return nil
}

// wrapper is what makes spans of the requests to a source; nil without tracing. Hosts of
// the fleet's own are told the trace, others are not.
func (t *tracing) wrapper(source, host string) func(http.RoundTripper) http.RoundTripper {
	if t == nil {
		return nil
	}
	return func(inner http.RoundTripper) http.RoundTripper { return &traced{inner, t.tracer, source, host} }
}

type traced struct {
	inner  http.RoundTripper
	tracer trace.Tracer
	source string
	host   string // that is told the trace; "": nobody
}

// RoundTrip makes a span of a request that is part of a trace, until its body's end.
// No attribute has the query: that of a redirect to storage is a credential.
func (t *traced) RoundTrip(req *http.Request) (*http.Response, error) {
	if !trace.SpanContextFromContext(req.Context()).IsValid() {
		return t.inner.RoundTrip(req)
	}
	ctx, span := t.tracer.Start(req.Context(), req.Method+" "+t.source, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", req.Method), attribute.String("server.address", req.URL.Host), attribute.String("url.path", req.URL.Path),
		attribute.String("breakwater.source", t.source)))
	req = req.Clone(ctx)
	if t.host != "" && req.URL.Host == t.host {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	}
	resp, err := t.inner.RoundTrip(req)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.End()
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode >= 500 {
		span.SetStatus(codes.Error, resp.Status)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // its body is a connection
		span.End()
		return resp, nil
	}
	resp.Body = &tracedBody{resp.Body, span}
	return resp, nil
}

type tracedBody struct {
	io.ReadCloser
	span trace.Span
}

// Read implements io.Reader.
func (b *tracedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.span.SetStatus(codes.Error, err.Error())
	}
	return n, err
}

// Close implements io.Closer.
func (b *tracedBody) Close() error {
	b.span.End()
	return b.ReadCloser.Close()
}
