package gslb

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// docs/metrics.md lists the metrics that there are.
func TestMetricsAreInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	m.setUp("par1", true)
	m.setDead("par1", 1)
	m.probed("par1", time.Millisecond, fail("tls", "x"))
	m.decided(m.decision("par1", tierNearest), true)
	m.observed([]heard{{Observation: Observation{Node: "mad1", Datacenters: map[string]DatacenterHealth{"par1": {}}}}})
	m.changed(signedView(t, newKey(t)))
	h := m.hooks()
	h.answered(dns.TypeA, 0, false)
	h.limited(true)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 18 {
		t.Errorf("%d metrics; one is not looked at here", len(families))
	}
	for _, f := range families {
		if !strings.Contains(string(page), "`"+f.GetName()+"`") {
			t.Errorf("%s is not in docs/metrics.md", f.GetName())
		}
	}
}
