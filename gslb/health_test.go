package gslb

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// history plays results of probes, each a datacenter, + or -, and when in milliseconds.
type history struct {
	*health
	at  time.Time
	log bytes.Buffer
	all *prometheus.Registry
}

func newHistory(before map[string]DatacenterHealth, names ...string) *history {
	h := &history{at: time.Unix(1e9, 0), all: prometheus.NewRegistry()}
	var targets []Target
	for _, name := range names {
		targets = append(targets, Target{Datacenter: name})
	}
	cfg := ProbeConfig{Interval: time.Second, Timeout: 500 * time.Millisecond, Fall: 2, Rise: 3, Confirm: 200 * time.Millisecond, Hold: time.Minute} // a verdict takes 2.2 s at most
	h.health = newHealth(cfg, targets, before, slog.New(slog.NewTextHandler(&h.log, nil)), newMetrics(h.all), func() {})
	return h
}

func (h *history) probe(after time.Duration, results ...string) {
	h.at = h.at.Add(after)
	for _, r := range results {
		var err error
		if r[0] == '-' {
			err = errors.New("no answer")
		}
		h.observe(r[1:], found{err: err}, h.at)
	}
}

func (h *history) wants(t *testing.T, says, counts, found string, ill bool) {
	t.Helper()
	text := func(all map[string]DatacenterHealth) (up string) {
		for _, name := range sortedKeys(all) {
			if all[name].Up {
				up += " " + name
			}
		}
		return strings.TrimSpace(up)
	}
	all := h.probed()
	counted, since := h.snapshot()
	if got := text(counted); got != counts {
		t.Errorf("%s: %q count as up, want %q", says, got, counts)
	}
	if got := text(all); got != found || since.IsZero() == ill {
		t.Errorf("%s: up by their probes are %q, want %q; ill %v", says, got, found, !since.IsZero())
	}
	if got := testutil.ToFloat64(h.metrics.ill) == 1; got != ill {
		t.Errorf("%s: by its metrics it is ill: %v", says, got)
	}
}

// When all probes fail within the time that a verdict takes, it is the node that is ill: it
// says so, keeps what was, and begins anew from there.
func TestANodeWhoseProbesAllFailAtOnceIsIll(t *testing.T) {
	h := newHistory(nil, "par1", "mad1", "drp1")
	h.probe(0, "+par1", "+mad1", "+drp1")
	h.probe(time.Second, "-par1", "-mad1")
	h.probe(200*time.Millisecond, "-par1", "-mad1")
	h.wants(t, "one is left", "drp1", "drp1", false)
	h.probe(time.Second, "-drp1")
	h.probe(200*time.Millisecond, "-drp1")
	h.wants(t, "all fell", "drp1 mad1 par1", "", true)
	if !strings.Contains(h.log.String(), "all probes failed at once: that is this name server's own uplink") {
		t.Error(h.log.String())
	}
	h.probe(time.Hour, "-par1", "-mad1", "-drp1")
	h.wants(t, "all fail still", "drp1 mad1 par1", "", true)
	h.probe(time.Second, "+mad1")
	h.wants(t, "one succeeds, without rise and hold: it never was down", "drp1 mad1 par1", "drp1 mad1 par1", false)
	h.probe(time.Second, "-par1", "+mad1", "+drp1")
	h.probe(200*time.Millisecond, "-par1")
	h.wants(t, "one was down in earnest", "drp1 mad1", "drp1 mad1", false)
	h.probe(time.Minute, "-mad1", "-drp1")
	h.probe(200*time.Millisecond, "-mad1", "-drp1")
	h.wants(t, "those that are left fall: who was down before stays so", "drp1 mad1", "", true)
}

// So it is when each falls soon after another, though the last does so long after the first.
func TestANodeWhoseProbesFailOneSoonAfterTheOther(t *testing.T) {
	h := newHistory(nil, "par1", "mad1", "drp1")
	h.probe(0, "+par1", "+mad1", "+drp1")
	for _, name := range []string{"-par1", "-mad1", "-drp1"} {
		h.probe(1900*time.Millisecond, name)
		h.probe(200*time.Millisecond, name)
	}
	h.wants(t, "within 6 s", "drp1 mad1 par1", "", true)
}

// One after the other, as each takes its time, is no illness, and neither is one alone, nor what never was up.
func TestDatacentersThatFallForThemselves(t *testing.T) {
	h := newHistory(nil, "par1", "mad1")
	h.probe(0, "+par1", "+mad1")
	h.probe(time.Second, "-par1", "+mad1")
	h.probe(200*time.Millisecond, "-par1")
	h.probe(3*time.Second, "-mad1")
	h.probe(200*time.Millisecond, "-mad1")
	h.wants(t, "one after the other", "", "", false)
	h = newHistory(nil, "par1")
	h.probe(0, "+par1")
	h.probe(time.Second, "-par1", "-par1")
	h.wants(t, "there is one", "", "", false)
	h = newHistory(nil, "par1", "mad1")
	h.probe(0, "-par1", "-mad1")
	h.probe(time.Second, "-par1", "-mad1")
	h.wants(t, "none was ever up", "", "", false)
	h = newHistory(map[string]DatacenterHealth{"par1": {Up: true}, "mad1": {Up: true}}, "par1", "mad1")
	h.probe(0, "-par1", "-mad1")
	h.wants(t, "one lost probe of each", "mad1 par1", "mad1 par1", false)
	h.probe(time.Second, "-par1", "-mad1")
	h.wants(t, "a restart, and all fail", "mad1 par1", "", true)
}

// A set that lost somebody is the last good one when it has held for as long as a verdict
// takes; one that gained somebody is so at once.
func TestTheLastGoodIsNoStraggler(t *testing.T) {
	const verdict = 2200 * time.Millisecond
	f := newFleetOfFiles(t)
	s := &Node{fleet: &fleetNow{Fleet: &Fleet{Datacenters: f.cfg.Fleet.Datacenters, Zones: f.cfg.Fleet.Zones}, probe: ProbeConfig{Interval: verdict, Fall: 1}}, log: silent}
	s.state.LastGood = map[string][]string{}
	at := time.Unix(1e9, 0)
	for _, step := range []struct {
		says        string
		after       time.Duration
		serve, want string
	}{
		{"all", 0, "par1 mad1 drp1", "par1 mad1 drp1"},
		{"the first falls", time.Hour, "mad1 drp1", "par1 mad1 drp1"},
		{"and the next", verdict - 1, "drp1", "par1 mad1 drp1"},
		{"and the last", verdict - 1, "", "par1 mad1 drp1"},
		{"the last comes back", time.Hour, "drp1", "par1 mad1 drp1"},
		{"and is looked at too soon", verdict - 1, "drp1", "par1 mad1 drp1"},
		{"it stays", 1, "drp1", "drp1"},
		{"another joins it", 1, "mad1 drp1", "mad1 drp1"},
		{"one in place of another", 1, "par1 mad1", "mad1 drp1"},
		{"which stays", verdict, "par1 mad1", "par1 mad1"},
		{"nobody", verdict, "", "par1 mad1"},
	} {
		at = at.Add(step.after)
		m := &moment{at: at, health: map[string]DatacenterHealth{}, lastGood: s.state.LastGood}
		for _, dc := range strings.Fields(step.serve) {
			m.health[dc] = DatacenterHealth{Up: true}
		}
		s.noteGood(m)
		if got := strings.Join(s.state.LastGood["h.example."], " "); got != step.want {
			t.Errorf("%s: %q, want %q", step.says, got, step.want)
		}
	}
}
