package main

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"text/template"
	"time"

	"example.org/breakwater/internal/ports"
)

//go:embed peers
var peerFiles embed.FS

// kind is a program that can stand between clients and the origin.
type kind struct {
	name    string
	file    string                                // its configuration, below peers/
	command func(binary, config string) []string  // nil: the origin itself
	held    bool                                  // it has the content from the start: no cold work
	takes   bool                                  // pushes
	version func(binary string) (sentence string) // for the result's head
}

// kinds are the peers, in the order of the result.
func kinds() []kind {
	nginx := func(binary, config string) []string {
		return []string{binary, "-p", filepath.Dir(config), "-c", config}
	}
	edge := func(binary, config string) []string {
		return []string{binary, "edge", "--config", config, "--datacenter", "par1", "--drain", "0s"}
	}
	edgeVersion := func(binary string) string { return firstLine(binary, "version") + revision(binary) }
	return []kind{
		{name: "edge", file: "edge.yaml", takes: true, command: edge, version: edgeVersion},
		{name: "before", file: "edge.yaml", takes: true, command: edge, version: edgeVersion},
		{name: "distribution", file: "distribution.yaml",
			command: func(binary, config string) []string { // it believes the system's authorities alone
				return []string{"env", "SSL_CERT_FILE=" + filepath.Join(filepath.Dir(config), "..", "shared", "ca.crt"), binary, "serve", config}
			},
			version: func(binary string) string {
				_, version, _ := strings.Cut(firstLine(binary, "--version"), " ") // behind the path that it was called by
				return version
			}},
		{name: "nginx-static", file: "nginx-static.conf", command: nginx, held: true,
			version: func(binary string) string { return firstLine(binary, "-v") }},
		{name: "nginx-cache", file: "nginx-cache.conf", command: nginx,
			version: func(binary string) string { return firstLine(binary, "-v") }},
		{name: "direct", takes: true, version: func(string) string { return "the Harbor stand-in of internal/lab" }},
	}
}

// peer is one kind, running.
type peer struct {
	kind
	env     *environment
	tls     bool
	open    bool   // its origin is the plain registry
	base    string // its URL
	dir     string
	process *process
	listen  string        // host:port; "": a free one
	fleet   []spreadPlace // of which it is one; nil: it is alone
	args    []string      // beyond its kind's
	shown   atomic.Int64  // of the environment's tokens
}

// settings is what a configuration is filled in with.
type settings struct {
	Dir, Shared, Listen, Metrics, Admin string
	Origin, OriginHost, Robot, Secret   string
	TLS, Root, Open                     bool
	Far                                 bool // the origin is behind TLS
	Datacenters                         []spreadPlace
}

// newPeer starts a peer on a free port.
func newPeer(ctx context.Context, env *environment, k kind, tls, open bool) (*peer, error) {
	p := &peer{kind: k, env: env, tls: tls, open: open}
	origin, secure := env.origin.URL, env.origin.TLS
	if open {
		origin, secure = env.origin.Open, env.origin.OpenTLS
	}
	if k.command == nil {
		p.process, p.base = env.origin.process, origin
		if tls {
			p.base = secure
		}
		return p, nil
	}
	dir := k.name + "-" + transport(tls)
	if open {
		dir += "-open"
	}
	return p, p.startIn(ctx, dir, origin)
}

// startIn starts the peer on a free port, in a directory of its own, before an origin.
func (p *peer) startIn(ctx context.Context, dir, origin string) error {
	free, err := ports.Free("127.0.0.1", 3)
	if err != nil {
		return err
	}
	if p.listen != "" {
		free[0] = p.listen
	}
	p.dir = filepath.Join(p.env.dir, dir)
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return err
	}
	host, far := strings.CutPrefix(origin, "https://")
	s := settings{Dir: p.dir, Shared: p.env.shared(), Listen: free[0], Metrics: free[1], Admin: free[2], Origin: origin, OriginHost: strings.TrimPrefix(host, "http://"),
		Robot: robotName, Secret: robotSecret, TLS: p.tls, Root: os.Getuid() == 0, Open: p.open, Far: far || p.fleet != nil, Datacenters: p.fleet}
	if err := s.write(p.file); err != nil {
		return fmt.Errorf("configure %s: %w", p.name, err)
	}
	p.base = "http://" + s.Listen
	if p.tls {
		p.base = "https://" + s.Listen
	}
	if p.file == "edge.yaml" {
		p.env.say("profiles of %s: http://%s/debug/pprof/", dir, s.Admin)
	}
	return p.start(ctx)
}

func transport(tls bool) string {
	if tls {
		return "tls"
	}
	return "plain"
}

// write fills the peer's configuration in and puts it into its directory.
func (s *settings) write(file string) error {
	t, err := template.ParseFS(peerFiles, "peers/"+file)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(s.Dir, file))
	if err != nil {
		return err
	}
	defer f.Close()
	return t.Execute(f, s)
}

func (p *peer) log() string { return filepath.Join(p.dir, "log") }

// start runs the peer until it answers.
func (p *peer) start(ctx context.Context) (err error) {
	if p.command == nil {
		return nil
	}
	p.process, err = startProcess(p.log(), append(p.command(p.env.binaries[p.name], filepath.Join(p.dir, p.file)), p.args...)...)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	if err := awaitAnswer(ctx, p.process, strings.Replace(p.base, "https://", "http://", 1)+"/healthz"); err != nil {
		return fmt.Errorf("start %s: %w; its log ends: %s", p.name, err, lastLines(p.log()))
	}
	return nil
}

const startDeadline = time.Minute

// awaitAnswer asks until there is any HTTP answer. A TLS listener answers plain
// HTTP with a 400, which will do.
func awaitAnswer(ctx context.Context, p *process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-ticker.C:
		}
	}
}

func (p *peer) stop() {
	if p.command != nil && p.process != nil {
		p.process.stop()
	}
}

// empty makes the peer forget all content: a cold cache in a fresh process.
func (p *peer) empty(ctx context.Context) error {
	if p.command == nil || p.held {
		return nil
	}
	p.stop()
	if err := os.RemoveAll(filepath.Join(p.dir, "store")); err != nil {
		return err
	}
	return p.start(ctx)
}
