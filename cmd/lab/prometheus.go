package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	watching "example.org/breakwater/deploy/observability"
)

const (
	prometheusOffset = 95
	prometheusStart  = 30 * time.Second // until it is ready
	prometheusEnd    = 5 * time.Second  // until it is killed
)

// prometheus is one that watches the lab.
type prometheus struct {
	end   context.CancelFunc
	ended chan error
}

// close ends it; of nil there is nothing to end.
func (p *prometheus) close() {
	if p != nil {
		p.end()
		<-p.ended
	}
}

// startPrometheus writes what Prometheus is to scrape, and the rules of deploy/observability, and runs
// Prometheus with it where this machine has one. The scrape file is there in either case.
func (l *running) startPrometheus() error {
	l.report.Scrapes = filepath.Join(l.dir, "prometheus.yaml")
	err := errors.Join(os.WriteFile(filepath.Join(l.dir, "rules.yaml"), watching.Rules, 0o600), os.WriteFile(l.report.Scrapes, []byte(l.scrapes()), 0o600))
	if err != nil {
		return err
	}
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return nil // the report says so
	}
	listener, err := listen("Prometheus", "127.0.0.1", l.port, prometheusOffset, 0)
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	listener.Close() //nolint:errcheck // it was for its address, which Prometheus takes itself
	ctx, cancel := context.WithCancel(l.ctx)
	cmd := exec.CommandContext(ctx, program, "--config.file", l.report.Scrapes, "--storage.tsdb.path", filepath.Join(l.dir, "tsdb"), "--web.listen-address", address, "--log.level", "error")
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(syscall.SIGTERM) }, prometheusEnd
	if err := cmd.Start(); err != nil {
		cancel()
		return fmt.Errorf("start %s: %w", program, err)
	}
	l.prometheus = &prometheus{end: cancel, ended: make(chan error, 1)}
	go func() {
		l.prometheus.ended <- cmd.Wait()
		close(l.prometheus.ended)
	}()
	if err := l.prometheus.ready(ctx, "http://"+address); err != nil {
		l.prometheus.close()
		return fmt.Errorf("%s: %w\n%s", program, err, strings.TrimSpace(said.String()))
	}
	l.report.Prometheus = "http://" + address
	return nil
}

// ready waits until it answers.
func (p *prometheus) ready(ctx context.Context, base string) error {
	ctx, cancel := context.WithTimeout(ctx, prometheusStart)
	defer cancel()
	client := http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, Timeout: time.Second}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/-/ready", nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-p.ended:
			return fmt.Errorf("it ended at once: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("it is not ready after %v", prometheusStart)
		case <-again.C:
		}
	}
}

// scrapes is what Prometheus is to ask, with the jobs and labels that the rules rely on
// (deploy/observability/prometheus.yaml), and oftener: a lab does not run for long.
func (l *running) scrapes() string {
	var b strings.Builder
	b.WriteString("global: { scrape_interval: 2s, evaluation_interval: 2s }\nrule_files: [rules.yaml]\nscrape_configs:\n  - job_name: breakwater-edge\n    static_configs:\n")
	for _, d := range l.report.Datacenters {
		fmt.Fprintf(&b, "      - { targets: [%q], labels: { datacenter: %s } }\n", strings.TrimPrefix(d.Metrics, "http://"), d.Name)
	}
	if len(l.gslbs) > 0 {
		b.WriteString("  - job_name: breakwater-gslb\n    static_configs:\n")
	}
	for i, g := range l.gslbs {
		fmt.Fprintf(&b, "      - { targets: [%q], labels: { node: %s } }\n", g.Servers[0].Listener.Addr().String(), places[i].name)
	}
	return b.String()
}

// watchedBy says where Prometheus is, or what to do where there is none; "" where none was wanted.
func (r *report) watchedBy() string {
	switch {
	case r.Scrapes == "":
		return ""
	case r.Prometheus == "":
		return fmt.Sprintf("There is no prometheus on this machine (Debian has one: apt-get install prometheus); what it would scrape is in %s.", r.Scrapes)
	}
	return fmt.Sprintf("Prometheus watches all of it, with the rules of deploy/observability: %s", r.Prometheus)
}
