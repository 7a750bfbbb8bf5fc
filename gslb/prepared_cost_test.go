//go:build !race

// The race detector drops what pools keep.

package gslb

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestQueriesCostNoMemory: what is asked most is answered without an allocation, with metrics,
// a rate limit and watching.
func TestQueriesCostNoMemory(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	for _, signed := range []bool{false, true} {
		cfg := signedConfig()
		if signed {
			cfg = signedConfig(newKey(t), newKey(t))
		}
		v := viewOf(t, cfg, signed, "par1", "mad1", "drp1")
		v.metrics = m
		top := newTalkers(at(1e9))
		top.oneIn.Store(1 << 20)
		r := &responder{answerer: v, cookies: newCookies(at(1e9)), hooks: m.hooks(), limit: newLimiter(1<<20, at(1e9)), watch: &watch{log: newQueryLog(nil, 0, nil), top: top}}
		for _, shape := range []string{"", "rd", "edns", "edns cd rd", "edns ecs=192.0.2.0/24", "edns ecs=2001:db8::/56", "edns cookie=0102030405060708", "edns do", "edns do ecs=192.0.2.0/24 cookie=0102030405060708"} {
			for _, question := range []string{zoneOrigin + " A", zoneOrigin + " AAAA", "HARBOR.example.org. A", zoneOrigin + " TXT", zoneOrigin + " SOA", "nowhere." + zoneOrigin + " A", "example.com. A"} {
				if signed && question == "nowhere."+zoneOrigin+" A" && strings.Contains(shape, "do") {
					continue // the proof is looked for each time
				}
				query, err := buildQuery(strings.Fields(question + " " + shape))
				if err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, udpBuffer)
				if n := testing.AllocsPerRun(100, func() { r.respond(query, someone(), false, buf) }); n > 0 {
					t.Errorf("signed %t: %q %q: %.1f allocations", signed, question, shape, n)
				}
			}
		}
	}
}
