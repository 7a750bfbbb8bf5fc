package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// rare is what the lab does not show, and why.
var rare = map[string]string{
	"breakwater_edge_certificate_expiry_timestamp_seconds": "with edge.tls alone",
	"breakwater_edge_upstream_rate_remaining":              "an upstream says it; the lab's does not",
	"breakwater_gslb_rate_limited_total":                   "with gslb.rate_limit alone",
	"breakwater_gslb_signatures_expiry_timestamp_seconds":  "with gslb.dnssec.key alone",
}

var (
	selector = regexp.MustCompile(`\b(breakwater_[a-z0-9_]+|datacenter:[a-z0-9_:]+|process_[a-z_]+|go_[a-z_]+|ALERTS|up)\b(?:\{[^}]*\})?`)
	grouping = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	variable = regexp.MustCompile(`\$[a-z]+`)
)

// asksForWhatIsThere: every series that a rule or a panel asks for, with these labels
// and values, was there in this test, and Prometheus can do what it is asked.
func (w *watched) asksForWhatIsThere(t *testing.T) {
	span := url.Values{"start": {w.begun.UTC().Format(time.RFC3339)}, "end": {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}}
	asked := map[string]bool{}
	for _, expr := range w.expressions(t) {
		w.get(t, "/api/v1/query", url.Values{"query": {expr}}, new(any))
		labels := map[string]bool{"": true}
		unknown := false
		for _, m := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(expr, ""), -1) {
			if rare[m[1]] != "" {
				unknown, asked[m[1]] = true, true
				continue
			}
			var series []map[string]string
			w.get(t, "/api/v1/series", url.Values{"match[]": {m[0]}, "start": span["start"], "end": span["end"]}, &series)
			if len(series) == 0 {
				t.Errorf("there is no %s, in\n%s", m[0], expr)
			}
			for _, s := range series {
				for name := range s {
					labels[name] = true
				}
			}
			asked[m[1]] = true
		}
		for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
			for _, name := range strings.Split(m[1], ",") {
				if !labels[strings.TrimSpace(name)] && !unknown {
					t.Errorf("nothing has the label %q, in\n%s", name, expr)
				}
			}
		}
	}
	for name := range rare {
		if !asked[name] {
			t.Errorf("nobody asks for %s", name)
		}
	}
	t.Logf("%d metrics are asked for", len(asked))
}

// expressions are those of the rules and the dashboards, for all that can be chosen there.
func (w *watched) expressions(t *testing.T) (all []string) {
	t.Helper()
	var rules struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	text, err := os.ReadFile(observability + "rules.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all = append(all, r.Expr)
		}
	}
	files, err := filepath.Glob(observability + "dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no dashboards: %v", err)
	}
	for _, file := range files {
		var d struct {
			Panels []struct{ Targets []struct{ Expr string } }
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, variable.ReplaceAllString(strings.ReplaceAll(target.Expr, "$__rate_interval", "1m"), ".*"))
			}
		}
	}
	return all
}
