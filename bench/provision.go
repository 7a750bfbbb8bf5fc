package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/lab"
)

// provisionReport is what planning and applying took, medians of the rounds.
type provisionReport struct {
	Head []string        `json:"head"`
	Runs []*provisionRun `json:"runs"`
}

// provisionRun is one command against three Harbors.
type provisionRun struct {
	Work     string           `json:"work"`    // apply or plan
	Objects  int              `json:"objects"` // of each Harbor
	Seconds  float64          `json:"seconds"`
	Calls    map[string]int64 `json:"calls"`  // of each Harbor's management API
	Proofs   int64            `json:"proofs"` // of each Harbor
	Resident int64            `json:"peak_bytes"`

	seconds []float64
}

func provisionCommand() *cobra.Command {
	var rounds, large int
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Plan and apply three Harbors that answer as slowly as real ones",
		Long: `Three stand-ins whose management API takes as long as Harbor's: 130 ms for a call with
a password, 5 ms within a session. The article's fleet is applied to empty ones and planned
again, then a fleet of --objects objects in each Harbor.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := runProvision(cmd.Context(), rounds, large, dir, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&rounds, "rounds", 5, "how often; the large fleet is applied once")
	cmd.Flags().IntVar(&large, "objects", 2000, "of the large fleet, in each Harbor; 0: it is left out")
	cmd.Flags().StringVar(&dir, "dir", "", "where binaries and contents are kept; default the system's temporary directory")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (r *provisionReport) print(out io.Writer) error {
	for _, line := range r.Head {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, "\n%-8s%10s%11s%16s%10s%10s\n", "work", "objects", "seconds", "calls/Harbor", "proofs", "peak MiB")
	for _, run := range r.Runs {
		var most int64
		for _, n := range run.Calls {
			most = max(most, n)
		}
		if _, err := fmt.Fprintf(out, "%-8s%10d%11.2f%16d%10d%10d\n", run.Work, run.Objects, run.Seconds, most, run.Proofs, run.Resident/mib); err != nil {
			return err
		}
	}
	return nil
}

var provisionSites = []string{"dc1", "dc2", "drp"}

func runProvision(ctx context.Context, rounds, large int, dir string, progress io.Writer) (*provisionReport, error) {
	e := &environment{progress: progress}
	defer e.close()
	var err error
	if e.dir, err = os.MkdirTemp(dir, "breakwater-bench-"); err != nil {
		return nil, err
	}
	binary, err := buildEdge(ctx, e.dir)
	if err != nil {
		return nil, err
	}
	r := &provisionReport{Head: []string{head("machine", machine()), head("breakwater", strings.TrimSpace(firstLine(binary, "version"))+revision(binary)),
		head("date", time.Now().UTC().Format("2006-01-02 15:04 UTC")), head("work", fmt.Sprintf("three Harbors, all at once, as medians of %d; calls take 5 ms in a session, 130 ms with a password", rounds))}}
	small := [2]*provisionRun{{Work: "apply"}, {Work: "plan"}}
	for n := range rounds {
		e.say("the article's fleet, %d of %d", n+1, rounds)
		if err := provisionRound(ctx, e, binary, articleFleet, small); err != nil {
			return nil, err
		}
	}
	r.Runs = small[:]
	if large > 0 {
		e.say("%d objects in each Harbor", large)
		runs := [2]*provisionRun{{Work: "apply"}, {Work: "plan"}}
		if err := provisionRound(ctx, e, binary, largeFleet(large), runs); err != nil {
			return nil, err
		}
		r.Runs = append(r.Runs, runs[:]...)
	}
	for _, run := range r.Runs {
		run.Seconds = middle(run.seconds)
	}
	return r, nil
}

// provisionRound applies a fleet to three empty Harbors, and plans it again.
func provisionRound(ctx context.Context, e *environment, binary, text string, runs [2]*provisionRun) error {
	upstream, err := lab.StartUpstream(nil)
	if err != nil {
		return err
	}
	defer upstream.Close() //nolint:errcheck // it is gone either way
	registries := map[string]string{}
	for _, host := range []string{"hub.docker.com", "quay.io", "gcr.io", "ghcr.io"} {
		registries["https://"+host] = upstream.URL()
	}
	for _, site := range provisionSites {
		h, err := lab.StartHarbor(lab.HarborConfig{Registries: registries, Cost: lab.RecordedCost})
		if err != nil {
			return err
		}
		defer h.Close() //nolint:errcheck // it is gone either way
		text = strings.ReplaceAll(text, "{"+site+"}", h.URL())
	}
	secret := filepath.Join(e.dir, "secret")
	password := filepath.Join(e.dir, "password")
	config := filepath.Join(e.dir, "fleet.yaml")
	for name, content := range map[string]string{secret: "Robot5ecret", password: "Harbor12345", config: strings.NewReplacer("SECRET", secret, "PASSWORD", password).Replace(text)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return err
		}
	}
	for _, run := range runs {
		if err := run.once(ctx, binary, config); err != nil {
			return err
		}
	}
	return nil
}

// once runs the command and takes what it says and used.
func (p *provisionRun) once(ctx context.Context, binary, config string) error {
	args := []string{"provision", p.Work, "--json", "--config", config}
	if p.Work == "apply" {
		args = append(args, "--yes")
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, lastOf(stdout.String()+stderr.String()))
	}
	p.seconds = append(p.seconds, time.Since(begun).Seconds())
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("this system does not say what a process used")
	}
	p.Resident = max(p.Resident, usage.Maxrss<<10)
	var said struct {
		Objects int
		Calls   int64
		Proofs  int64
	}
	var applied struct {
		Plan  struct{ Objects int }
		Calls map[string]int64
	}
	if p.Work == "apply" {
		if err := json.Unmarshal(stdout.Bytes(), &applied); err != nil {
			return err
		}
		p.Objects, p.Calls = applied.Plan.Objects/len(provisionSites), applied.Calls
		return nil
	}
	if err := json.Unmarshal(stdout.Bytes(), &said); err != nil {
		return err
	}
	p.Objects, p.Proofs = said.Objects/len(provisionSites), said.Proofs/int64(len(provisionSites))
	p.Calls = map[string]int64{"each": said.Calls / int64(len(provisionSites))}
	return nil
}

func lastOf(text string) string { return text[max(0, len(text)-2000):] }

const fleetHead = `domain: harbor.example.org
datacenters: { dc1: { harbor: "{dc1}" }, dc2: { harbor: "{dc2}" }, drp: { role: backup, harbor: "{drp}" } }
harbor: { username: admin, password: "file:PASSWORD" }
edge: { plain_http: true, robot: { secret: "file:SECRET" } }
projects:
  multi-dc:
    defaults: { robots: { readonly: "file:SECRET", readwrite: "file:SECRET", sync: "file:SECRET" }, replication: { push: event } } # the article has it so
`

const articleFleet = fleetHead + `    repo1: {}
    repo2: {}
  cache:
    dockerhub: { provider: docker-hub, quota: 2TiB }
    quay.io: { endpoint: "https://quay.io", quota: 100GiB }
    gcr.io: { endpoint: "https://gcr.io", quota: 10GiB }
    ghcr.io: { endpoint: "https://ghcr.io", quota: 100GiB }
  repl:
    kubernetes-core:
      every: 15m
      images:
        - { from: dockerhub, name: library/traefik, tags: "v2.10.{[0-9],[0-9][0-9]}" }
        - { from: dockerhub, name: fluent/fluent-bit, tags: "2.1.{[0-9],[0-9][0-9]}" }
`

// largeFleet has about so many objects in each Harbor: eleven for each project.
func largeFleet(objects int) string {
	var projects []string
	for n := range objects / 11 {
		projects = append(projects, fmt.Sprintf("    repo%d: {}\n", n))
	}
	slices.Sort(projects)
	return fleetHead + strings.Join(projects, "")
}
