package proxy_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// Nobody asks this edge for anything: that its Harbor is down is seen all the same.
func TestHarborIsWatchedForMetrics(t *testing.T) {
	metrics := prometheus.NewRegistry()
	now := time.Now()
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Metrics, p.Now = metrics, func() time.Time { return now }
	})
	// A look may take longer than a scrape waits for it; the next scrape has it.
	wait := func(want float64) {
		t.Helper()
		var up float64
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			now = now.Add(time.Minute)
			if up = value(t, metrics, "breakwater_edge_harbor_up"); up == want {
				return
			}
		}
		t.Fatalf("breakwater_edge_harbor_up is %v, want %v", up, want)
	}
	wait(1)
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	wait(0)
	if err := s.harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	wait(1)
}

// value is a gauge that has no labels.
func value(t *testing.T, metrics *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}
