package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"

	"example.org/breakwater/internal/trial"
)

// chooseAddresses gives the edges and name servers of this test the lab's fleet files,
// but for the addresses, and returns what stands for them in the example of what to scrape.
func (w *watched) chooseAddresses(t *testing.T) (scraped []string) {
	t.Helper()
	var others []string
	for i := range w.Datacenters {
		d := &w.Datacenters[i]
		f, err := fleet.ReadFile(d.Fleet)
		if err != nil {
			t.Fatal(err)
		}
		fresh := map[string]string{}
		for _, address := range []string{f.Edge.Listen, f.Edge.Metrics, f.Edge.Admin, f.GSLB.Listen, f.GSLB.Metrics, f.GSLB.Admin, *f.GSLB.Peers} {
			host, _, _ := net.SplitHostPort(address)
			listener, err := net.Listen("tcp", host+":0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			fresh[address] = listener.Addr().String()
			others = append(others, address, fresh[address])
		}
		others = append(others, filepath.Dir(d.Fleet)+"/", filepath.Join(w.home, d.Name)+"/")
		d.Edge, d.GSLB, d.Steer = "http://"+fresh[f.Edge.Listen], fresh[f.GSLB.Listen], fresh[f.GSLB.Admin]
		scraped = append(scraped, "edge."+d.Name+".example.org:9090", fresh[f.Edge.Metrics], "ns-"+d.Name+".harbor.example.org:9092", fresh[f.GSLB.Metrics])
	}
	for _, d := range w.Datacenters {
		text, err := os.ReadFile(d.Fleet)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, filepath.Join(d.Name, "fleet.yaml"), strings.NewReplacer(others...).Replace(string(text)))
	}
	return scraped
}

func (w *watched) write(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(w.home, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// edit changes the fleet file of par1's name server, which takes it at once.
func (w *watched) edit(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.home, "par1", "fleet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%q is not in\n%s", from, text)
	}
	w.write(t, "par1/fleet.yaml", strings.Replace(string(text), from, to, 1))
}

// startPrometheus starts one with the configuration and the rules of deploy/observability,
// but for the addresses, and with less patience.
func (w *watched) startPrometheus(t *testing.T, scraped []string) {
	t.Helper()
	ops := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, provisioned, time.Now().Unix())
	}))
	t.Cleanup(ops.Close)
	const nobody = "127.0.0.1:1"
	scraped = append(scraped, "ops.example.org:9100", ops.Listener.Addr().String(), "alertmanager.example.org:9093", nobody, ": 15s", ": 1s")
	config, err1 := os.ReadFile(observability + "prometheus.yaml")
	rules, err2 := os.ReadFile(observability + "rules.yaml")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	w.write(t, "prometheus.yaml", strings.NewReplacer(scraped...).Replace(string(config)))
	w.write(t, "rules.yaml", regexp.MustCompile(`for: [0-9]+[mh]`).ReplaceAllStringFunc(string(rules), func(text string) string {
		patience, err := time.ParseDuration(strings.TrimPrefix(text, "for: "))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("for: %ds", int(patience.Minutes()*minute.Seconds()))
	}))
	address := trial.Free(t, "127.0.0.1")
	w.prometheus = "http://" + address
	w.start(t, "prometheus", "--config.file", filepath.Join(w.home, "prometheus.yaml"), "--storage.tsdb.path", filepath.Join(w.home, "tsdb"), "--web.listen-address", address, "--log.level", "warn")
	trial.Until(t, func() error {
		resp, err := http.Get(w.prometheus + "/-/ready")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("Prometheus is not ready: %s", resp.Status)
		}
		if up, want := w.targetsUp(t), 2*len(w.Datacenters)+1; up != want {
			return fmt.Errorf("Prometheus sees %d of %d targets", up, want)
		}
		return nil
	})
}

func (w *watched) targetsUp(t *testing.T) (n int) {
	t.Helper()
	var data struct{ ActiveTargets []struct{ Health string } }
	w.get(t, "/api/v1/targets", nil, &data)
	for _, target := range data.ActiveTargets {
		if target.Health == "up" {
			n++
		}
	}
	return n
}

// get asks Prometheus.
func (w *watched) get(t *testing.T, path string, values url.Values, into any) {
	t.Helper()
	resp, err := http.Get(w.prometheus + path + "?" + values.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s %s: %v %s", path, values, err, answer.Error)
	}
}

// firing are the alerts that fire, each with what it is about, and since when Prometheus
// has known no other.
func (w *watched) firing(t *testing.T) (names []string, evaluated time.Time) {
	t.Helper()
	type alert struct {
		State               string
		Labels, Annotations map[string]string
	}
	var data struct {
		Groups []struct {
			LastEvaluation time.Time
			Rules          []struct {
				Name, Health, LastError string
				Alerts                  []alert
			}
		}
	}
	w.get(t, "/api/v1/rules", nil, &data)
	evaluated = time.Now()
	for _, g := range data.Groups {
		if g.LastEvaluation.Before(evaluated) {
			evaluated = g.LastEvaluation
		}
		for _, r := range g.Rules {
			if r.Health == "err" {
				t.Fatalf("%s: %s", r.Name, r.LastError)
			}
			for _, a := range r.Alerts {
				if a.State != "firing" {
					continue
				}
				l := a.Labels
				names = append(names, strings.TrimRight(strings.TrimPrefix(l["alertname"], "Breakwater")+" "+cmp.Or(l["datacenter"], l["node"])+" "+l["source"], " "))
				if text := a.Annotations["summary"] + a.Annotations["description"]; strings.Contains(text, "<") || strings.Contains(text, "{{") {
					t.Errorf("%s says %s", l["alertname"], text)
				}
			}
		}
	}
	slices.Sort(names)
	return names, evaluated
}
