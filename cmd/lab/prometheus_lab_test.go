package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// The lab's Prometheus sees all that the lab runs, knows the rules, and ends with the lab.
func TestTheLabIsWatched(t *testing.T) {
	trial.Client(t, "prometheus")
	f := startLabWith(t, nil, "--quiet-harbors", "--prometheus")
	ask := func(path string, into any) error {
		resp, err := http.Get(f.Prometheus + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(into)
	}
	trial.Until(t, func() error {
		var targets struct {
			Data struct {
				ActiveTargets []struct {
					Health, LastError string
					Labels            map[string]string
				}
			}
		}
		if err := ask("/api/v1/targets", &targets); err != nil {
			return err
		}
		all := targets.Data.ActiveTargets
		if len(all) != 2*len(f.Datacenters) {
			return fmt.Errorf("%d targets: %+v", len(all), all)
		}
		for _, target := range all {
			if target.Health != "up" {
				return fmt.Errorf("%v is %s: %s", target.Labels, target.Health, target.LastError)
			}
		}
		return nil
	})
	var rules struct {
		Data struct {
			Groups []struct{ Rules []struct{ Health string } }
		}
	}
	if err := ask("/api/v1/rules", &rules); err != nil || len(rules.Data.Groups) == 0 || len(rules.Data.Groups[0].Rules) == 0 {
		t.Errorf("%v: %+v", err, rules)
	}
	f.process.Process.Signal(os.Interrupt) //nolint:errcheck // it runs
	if err := <-f.ended; err != nil {
		t.Error(err)
	}
	if resp, err := http.Get(f.Prometheus + "/-/ready"); err == nil {
		resp.Body.Close()
		t.Errorf("it outlives the lab: %s", resp.Status)
	}
}

// Where there is none, the lab says so and runs.
func TestALabWithoutPrometheus(t *testing.T) {
	f := startLabWith(t, []string{"PATH=" + t.TempDir()}, "--quiet-harbors", "--prometheus")
	says := f.report.watchedBy()
	if f.Prometheus != "" || !strings.Contains(says, "no prometheus on this machine") || !strings.Contains(says, f.Scrapes) {
		t.Errorf("%q", says)
	}
	text, err := os.ReadFile(f.Scrapes)
	if err != nil || strings.Count(string(text), "targets:") != 2*len(f.Datacenters) {
		t.Errorf("%v: %s", err, text)
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		if said, err := exec.Command(promtool, "check", "config", f.Scrapes).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, said)
		}
	}
}
