package wire

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Without the environment there is none; a mistake in it is a sentence.
func TestTracingIsSetUpByTheEnvironment(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_EXPORTER"} {
		t.Setenv(name, "")
	}
	cfg := EdgeConfig{Log: slog.New(slog.DiscardHandler)}
	none, err := newTracing(t.Context(), cfg)
	if none != nil || err != nil || none.of() != nil || none.wrapper("harbor", "h") != nil || none.close() != nil {
		t.Errorf("%v %v", none, err)
	}
	for _, c := range []struct{ name, value, says string }{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "want http://host:4318"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf alone"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret", "want name=value"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "want milliseconds"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(c.name, c.value)
			if _, err := newTracing(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// A collector that is busy is sent the same again, with the headers that it wants.
func TestACollectorThatIsBusyIsAskedAgain(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/otlp/v1/traces" || r.Header.Get("X-Tenant") != "a b" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL+"/otlp/")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
	c, err := newCollector()
	if err != nil {
		t.Fatal(err)
	}
	c.pause = 1
	if err := c.UploadTraces(t.Context(), []*traces.ResourceSpans{{}}); err != nil || asked.Load() != 2 {
		t.Errorf("%v after %d", err, asked.Load())
	}
}

// The fleet's own are told the trace; upstreams, and whoever a redirect leads to, are not.
func TestOnlyTheFleetIsToldTheTrace(t *testing.T) {
	var told atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told.Store(r.Header.Get("Traceparent")) }))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	tracer := sdktrace.NewTracerProvider().Tracer("")
	for host, want := range map[string]bool{u.Host: true, "": false, "harbor.example.org": false} {
		for _, parent := range []bool{true, false} {
			ctx := t.Context()
			if parent {
				ctx, _ = tracer.Start(ctx, "request")
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&traced{http.DefaultTransport, tracer, "harbor", host}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // it is empty
			resp.Body.Close()
			if got := told.Load() != ""; got != (want && parent) {
				t.Errorf("host %q is told %v, in a trace: %t", host, told.Load(), parent)
			}
		}
	}
}
