package wire

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector sends traces by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp).
// OpenTelemetry's own client of it is linked to gRPC, which would make the program nearly
// twice as large.
type collector struct {
	url     string
	header  http.Header
	client  http.Client
	pause   time.Duration // before what was refused for now is sent again
	retries int
}

// otlp reads a variable of the specification, the one for traces before that for all.
func otlp(name string) string {
	return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name))
}

// newCollector is set up as OpenTelemetry's environment variables for exporters say
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter): ENDPOINT, HEADERS,
// TIMEOUT and CERTIFICATE.
func newCollector() (*collector, error) {
	if p := otlp("PROTOCOL"); p != "" && p != "http/protobuf" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %s: traces are sent by http/protobuf alone, to a collector's port 4318", p)
	}
	c := &collector{url: os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), header: http.Header{}, pause: time.Second, retries: 2}
	if c.url == "" {
		c.url = strings.TrimSuffix(os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), "/") + "/v1/traces"
	}
	if u, err := url.Parse(c.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT: want http://host:4318 or https://host:4318")
	}
	for _, pair := range strings.Split(otlp("HEADERS"), ",") {
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); name == "" && !ok {
			continue
		}
		if !ok || err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: want name=value,name=value")
		}
		c.header.Set(name, value)
	}
	c.header.Set("Content-Type", "application/x-protobuf")
	c.client.Timeout = 10 * time.Second
	if text := otlp("TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms <= 0 {
			return nil, errors.New("OTEL_EXPORTER_OTLP_TIMEOUT: want milliseconds, as 10000")
		}
		c.client.Timeout = time.Duration(ms) * time.Millisecond
	}
	trusted, err := trust(otlp("CERTIFICATE"))
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
	}
	c.client.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: cmp.Or(trusted, new(tls.Config)), IdleConnTimeout: time.Minute}
	return c, nil
}

// Start implements otlptrace.Client.
func (c *collector) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *collector) Stop(context.Context) error {
	c.client.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client.
func (c *collector) UploadTraces(ctx context.Context, spans []*traces.ResourceSpans) error {
	body, err := proto.Marshal(&traces.TracesData{ResourceSpans: spans}) // on the wire an ExportTraceServiceRequest is the same
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		again, err := c.send(ctx, body)
		if err == nil || !again || n == c.retries {
			return err
		}
		timer := time.NewTimer(c.pause << n)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// send sends once; again is whether a later try may help.
func (c *collector) send(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header = c.header
	resp, err := c.client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) //nolint:errcheck // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusOK:
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, fmt.Errorf("the collector answers %s", resp.Status)
}
