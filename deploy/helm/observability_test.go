package helm_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"example.org/breakwater/internal/trial"
)

// The chart's alerts and dashboards are those of observability/, and its targets have
// the labels that those rely on.
func TestChartObserves(t *testing.T) {
	rendered, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", "--values", "testdata/minimal.yaml",
		"--set", "prometheusRule.enabled=true,dashboards.enabled=true,serviceMonitor.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	dashboards, rules, monitors := 0, 0, 0
	for _, o := range decode(t, rendered) {
		switch of := o.of.(type) {
		case *monitoring.PrometheusRule:
			rules++
			text, err := os.ReadFile("testdata/observability/rules.yaml")
			if err != nil {
				t.Fatal(err)
			}
			var want monitoring.PrometheusRuleSpec
			text = []byte(strings.ReplaceAll(string(text), standIn, "runbook: deploy/runbooks/alerts.md#"))
			if err := yaml.UnmarshalStrict(text, &want); err != nil || len(want.Groups) < 5 {
				t.Fatal(err, len(want.Groups))
			}
			if !reflect.DeepEqual(of.Spec, want) {
				t.Error("the rules are others")
			}
		case *monitoring.ServiceMonitor:
			monitors++
			labels := map[string]string{}
			for _, r := range of.Spec.Endpoints[0].RelabelConfigs {
				if r.Replacement != nil {
					labels[r.TargetLabel] = *r.Replacement
				}
			}
			if labels["job"] != "breakwater-edge" || labels["datacenter"] == "" {
				t.Errorf("%s: targets have the labels %v", of.Name, labels)
			}
		case *core.ConfigMap:
			for name, text := range of.Data {
				if !strings.HasSuffix(name, ".json") {
					continue
				}
				dashboards++
				want, err := os.ReadFile("testdata/observability/dashboards/" + strings.TrimPrefix(name, "breakwater-"))
				if err != nil || !json.Valid([]byte(text)) || strings.TrimSpace(text) != strings.TrimSpace(string(want)) {
					t.Errorf("%s is another: %v", name, err)
				}
				if of.Labels["grafana_dashboard"] != "1" {
					t.Errorf("%s has the labels %v", of.Name, of.Labels)
				}
			}
		}
	}
	if dashboards != 4 || rules != 1 || monitors != 1 {
		t.Errorf("%d dashboards, %d rules, %d monitors", dashboards, rules, monitors)
	}
}

// standIn is where the rules' own runbook_url leads: to nobody.
const standIn = "runbook_url: https://example.org/breakwater/deploy/runbooks/alerts.md#"

// The alerts of the chart lead to where its user reads the runbooks, or name the file; the
// heading is there.
func TestChartAlertsLeadToTheRunbooks(t *testing.T) {
	page, err := os.ReadFile("../runbooks/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for line := range strings.SplitSeq(string(page), "\n") {
		if heading, ok := strings.CutPrefix(line, "### "); ok {
			headings[strings.ToLower(heading)] = true
		}
	}
	for address, want := range map[string]struct{ annotation, base string }{
		"":                                      {"runbook", "deploy/runbooks/alerts.md"},
		"https://git.example.net/ops/alerts.md": {"runbook_url", "https://git.example.net/ops/alerts.md"},
	} {
		rendered, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", "--values", "testdata/minimal.yaml", "--set", "prometheusRule.enabled=true,prometheusRule.runbooks="+address)
		if err != nil {
			t.Fatal(err)
		}
		alerts := 0
		for _, o := range decode(t, rendered) {
			rule, ok := o.of.(*monitoring.PrometheusRule)
			if !ok {
				continue
			}
			for _, g := range rule.Spec.Groups {
				for _, r := range g.Rules {
					if r.Alert == "" {
						continue
					}
					alerts++
					base, anchor, _ := strings.Cut(r.Annotations[want.annotation], "#")
					if base != want.base || !headings[anchor] || r.Annotations["runbook_url"] != "" && want.annotation != "runbook_url" {
						t.Errorf("%s at %q: %v", r.Alert, address, r.Annotations)
					}
				}
			}
		}
		if alerts < 30 {
			t.Errorf("only %d alerts", alerts)
		}
	}
	for _, address := range []string{"git.example.net", "https://git.example.net/a b", "https://git.example.net/a.md#x"} {
		if _, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", "--values", "testdata/minimal.yaml", "--set", "prometheusRule.runbooks="+address); err == nil || !strings.Contains(err.Error(), "/prometheusRule/runbooks") {
			t.Errorf("%q: %v", address, err)
		}
	}
}
