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
