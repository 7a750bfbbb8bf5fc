package main

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"example.org/breakwater/provision"
)

const lastSuccess = "breakwater_provision_last_success_timestamp_seconds"

// writeMetrics writes what came of a run into a file for node_exporter's textfile
// collector, which sees the old one or the new one, never a part. waits are the changes
// that are still to be done.
func writeMetrics(file string, datacenters []string, plan *provision.Plan, waits []provision.Key, failed bool, took time.Duration) error {
	r := prometheus.NewRegistry()
	gauge := func(name, help string, value float64) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		g.Set(value)
		r.MustRegister(g)
	}
	changes := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_provision_changes", Help: "Changes that wait, after this run."}, []string{"datacenter"})
	faults := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_provision_faults", Help: "1: its Harbor could not be read."}, []string{"datacenter"})
	r.MustRegister(changes, faults)
	for _, d := range datacenters {
		changes.WithLabelValues(d)
		faults.WithLabelValues(d)
	}
	for _, k := range waits {
		changes.WithLabelValues(k.Datacenter).Inc()
	}
	for _, f := range plan.Faults {
		faults.WithLabelValues(f.Datacenter).Set(1)
	}
	gauge("breakwater_provision_objects", "What the fleet file wants, of all datacenters.", float64(plan.Objects))
	gauge("breakwater_provision_duration_seconds", "How long this run took.", took.Seconds())
	at := previousSuccess(file)
	if len(plan.Faults) == 0 && !failed {
		at = float64(time.Now().Unix())
	}
	gauge(lastSuccess, "When a run last ended with all Harbors read and nothing failed.", at)
	if err := prometheus.WriteToTextfile(file, r); err != nil {
		return fmt.Errorf("--metrics: %w", err)
	}
	return nil
}

// previousSuccess is what the file of an earlier run says; 0 where there is none.
func previousSuccess(file string) float64 {
	text, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer text.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if f := families[lastSuccess]; err == nil && f != nil && len(f.Metric) == 1 {
		return f.Metric[0].GetGauge().GetValue()
	}
	return 0
}
