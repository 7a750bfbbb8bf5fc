package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.org/breakwater/internal/trial"
)

// spans is a collector of traces (OTLP over HTTP), and what it was sent.
type spans struct {
	mu  sync.Mutex
	all []seenSpan
	raw []byte
}

type seenSpan struct {
	datacenter, name, trace, id, parent string
	server                              bool
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var sent collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &sent); err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.URL, err), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, body...)
	for _, of := range sent.ResourceSpans {
		datacenter := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "breakwater.datacenter" {
				datacenter = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				s.all = append(s.all, seenSpan{datacenter, span.Name, fmt.Sprintf("%x", span.TraceId), fmt.Sprintf("%x", span.SpanId), fmt.Sprintf("%x", span.ParentSpanId),
					span.Kind == traces.Span_SPAN_KIND_SERVER})
			}
		}
	}
}

// find waits for a span.
func (s *spans) find(t *testing.T, what string, is func(seenSpan) bool) (found seenSpan) {
	t.Helper()
	trial.Until(t, func() error {
		s.mu.Lock()
		all := s.all
		s.mu.Unlock()
		if i := slices.IndexFunc(all, is); i >= 0 {
			found = all[i]
			return nil
		}
		return fmt.Errorf("there is no span for %s among %v", what, all)
	})
	return found
}

// TestTraces: what an edge asks for a client is one trace with what the client asked,
// also at the edge of another datacenter; no credential is in it.
func TestTraces(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	sent := new(spans)
	receiver := httptest.NewServer(sent)
	defer receiver.Close()
	f := startLab(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_BSP_SCHEDULE_DELAY=100")
	crane, home := trial.Client(t, "crane"), t.TempDir()
	pull := func(edge, image string) {
		output(t, clientCommand(t, home, crane, "pull", "--insecure", edge+image, filepath.Join(home, "image.tar")))
	}
	reader := f.Robots[0]
	output(t, clientCommand(t, home, crane, "auth", "login", "--insecure", f.edge(0), "-u", reader.Name, "-p", reader.Secret))

	pull(f.edge(0), "/multi-dc-demo/app:v1")
	for _, kind := range []string{"manifest", "blob"} {
		asked := sent.find(t, "a client's "+kind, func(s seenSpan) bool { return s.server && s.datacenter == "par1" && s.name == "GET "+kind })
		if asked.parent != "" {
			t.Errorf("%v is a part of something", asked)
		}
		sent.find(t, "Harbor's "+kind, func(s seenSpan) bool { return s.parent == asked.id && s.trace == asked.trace && s.name == "GET harbor" })
	}

	pull(f.edge(1), "/cache-dockerhub/library/hello:latest")
	fault(t, f.Datacenters[0].Faults, `[{"name":"down"}]`)
	fault(t, f.Upstreams[0].Faults, `[{"name":"down"}]`)
	pull(f.edge(0), "/cache-dockerhub/library/hello:latest")
	sent.find(t, "the peer's answer", func(peer seenSpan) bool {
		return peer.server && peer.datacenter != "par1" && peer.parent != "" && peer.trace == sent.traceOf(peer.parent, "par1")
	})
	sent.mu.Lock()
	defer sent.mu.Unlock()
	for _, secret := range []string{reader.Secret, edgeSecret, "Bearer ", "Basic ", "service=harbor-registry"} {
		if bytes.Contains(sent.raw, []byte(secret)) {
			t.Errorf("%q was sent to the collector", secret)
		}
	}
	for _, s := range sent.all {
		if strings.Contains(s.name, "health") {
			t.Errorf("a probe makes %v", s)
		}
	}
}

// traceOf is the trace of a datacenter's span; "-" if it was not sent.
func (s *spans) traceOf(id, datacenter string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.all {
		if span.id == id && span.datacenter == datacenter && strings.HasPrefix(span.name, "GET peer-") {
			return span.trace
		}
	}
	return "-"
}
