package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// environment is what all peers share while the bench runs.
type environment struct {
	plan     plan
	dir      string // of this run; holds shared/ and a directory a peer
	pool     *x509.CertPool
	origin   *origin
	content  *content
	tokens   []string          // of which each peer is shown one after the other
	binaries map[string]string // of the peers, by name
	absent   []string          // a sentence a peer that cannot be run
	progress io.Writer
}

func (e *environment) shared() string { return filepath.Join(e.dir, "shared") }

// prepare builds and finds the binaries, and starts the origin with its content.
// What it returns is to be closed also after an error.
func prepare(ctx context.Context, p plan, progress io.Writer) (*environment, error) {
	e := &environment{plan: p, binaries: map[string]string{}, progress: progress}
	var err error
	if e.dir, err = os.MkdirTemp(p.Dir, "breakwater-bench-"); err != nil {
		return e, err
	}
	if err := os.Mkdir(e.shared(), 0o755); err != nil {
		return e, err
	}
	if e.pool, err = writeKeys(e.shared()); err != nil {
		return e, fmt.Errorf("make keys: %w", err)
	}
	if err := e.findPeers(ctx); err != nil {
		return e, err
	}
	e.say("start the origin and fill it")
	if e.origin, err = startOrigin(e.shared()); err != nil {
		return e, err
	}
	e.content, err = fill(ctx, filepath.Join(e.shared(), "static"), p, e.origin.ready)
	return e, err
}

func (e *environment) say(format string, args ...any) {
	fmt.Fprintf(e.progress, format+"\n", args...)
}

func (e *environment) close() {
	if e.origin != nil {
		e.origin.in.Close()
		e.origin.process.stop()
	}
	if e.dir != "" {
		os.RemoveAll(e.dir) //nolint:errcheck // a temporary directory
	}
}

func (e *environment) wants(peer string) bool {
	return len(e.plan.Peers) == 0 || slices.Contains(e.plan.Peers, peer)
}

// findPeers builds the edge, and looks for the others: who is not found is
// left out, and the result says so.
func (e *environment) findPeers(ctx context.Context) error {
	if e.wants("edge") {
		e.say("build the edge")
		path, err := buildEdge(ctx, e.dir)
		if err != nil {
			return err
		}
		e.binaries["edge"] = path
	}
	if e.plan.Before != "" && e.wants("before") {
		path, err := filepath.Abs(e.plan.Before)
		if err != nil {
			return err
		}
		e.binaries["before"] = path
	}
	if e.wants("distribution") {
		if path, err := e.findDistribution(ctx); err != nil {
			e.absent = append(e.absent, fmt.Sprintf("distribution is left out: %v.", err))
		} else {
			e.binaries["distribution"] = path
		}
	}
	for _, peer := range []string{"nginx-static", "nginx-cache"} {
		if !e.wants(peer) {
			continue
		}
		path, err := findNginx(e.plan.Nginx)
		if err != nil {
			e.absent = append(e.absent, fmt.Sprintf("%s is left out: %v.", peer, err))
			continue
		}
		e.binaries[peer] = path
	}
	if e.wants("direct") {
		e.binaries["direct"] = ""
	}
	return nil
}

func buildEdge(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "breakwater")
	if out, err := exec.CommandContext(ctx, "go", "build", "-buildvcs=auto", "-o", path, "example.org/breakwater/cmd/breakwater").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the edge: %w: %s", err, out)
	}
	return path, nil
}

const distributionModule = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"

// findDistribution takes the binary that is there if it is distribution's: other
// programs are called registry too.
func (e *environment) findDistribution(ctx context.Context) (string, error) {
	named := e.plan.Registry
	if named == "" {
		named = "registry"
	}
	version := firstLine(named, "--version")
	path, err := exec.LookPath(named)
	switch {
	case err == nil && strings.Contains(version, "distribution/distribution/v3"):
		return path, nil
	case e.plan.Registry != "":
		return "", fmt.Errorf("%s is not distribution v3's registry (its version: %q)", named, version)
	}
	e.say("build distribution, which is not on PATH")
	cmd := exec.CommandContext(ctx, "go", "install", distributionModule)
	cmd.Env = append(os.Environ(), "GOBIN="+e.dir, "GOFLAGS=")
	cmd.Dir = e.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("go install %s: %w: %s", distributionModule, err, lines[len(lines)-1])
	}
	return filepath.Join(e.dir, "registry"), nil
}

func findNginx(named string) (string, error) {
	if named != "" {
		return exec.LookPath(named)
	}
	path, err := exec.LookPath("nginx")
	if err != nil { // where Debian keeps it is not on everybody's PATH
		if path, sbin := exec.LookPath("/usr/sbin/nginx"); sbin == nil {
			return path, nil
		}
	}
	return path, err
}

// firstLine is the first line that a command prints, "" when it fails.
func firstLine(command ...string) string {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// origin is the process of the Harbor stand-in.
type origin struct {
	ready
	process *process
	in      io.WriteCloser
	answers *json.Decoder
}

func startOrigin(dir string) (*origin, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "origin", "--dir", dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // where the plain registry keeps its content
	cmd.Stderr = os.Stderr
	o := &origin{}
	if o.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// A pipe of our own: the process's would be closed while it is still read.
	out, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = end
	o.process, err = watch(cmd)
	end.Close()
	if err != nil {
		return nil, fmt.Errorf("start the origin: %w", err)
	}
	o.answers = json.NewDecoder(out)
	if err := o.answers.Decode(&o.ready); err != nil {
		o.in.Close()
		o.process.stop()
		return nil, fmt.Errorf("start the origin: %w", err)
	}
	return o, nil
}

// limit sets what the origin sends a second over all connections; 0: all it can.
func (o *origin) limit(rate int64) error {
	if _, err := fmt.Fprintln(o.in, rate); err != nil {
		return fmt.Errorf("limit the origin: %w", err)
	}
	var got int64
	if err := o.answers.Decode(&got); err != nil || got != rate {
		return fmt.Errorf("limit the origin: it answered %d: %w", got, err)
	}
	return nil
}

// forget makes the origin count its requests anew.
func (o *origin) forget() error {
	req, err := http.NewRequest(http.MethodDelete, o.URL+"/_lab/requests", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// asked is how often the origin was asked for the item's bytes.
func (o *origin) asked(i item) (int, error) {
	resp, err := http.Get(o.URL + "/_lab/requests")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	counts := map[string]int{}
	if err := json.NewDecoder(resp.Body).Decode(&counts); err != nil {
		return 0, errors.New("the origin does not count its requests")
	}
	return counts[http.MethodGet+" "+i.path], nil
}
