package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	edgepeer "example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

const (
	fleetFar  = 15 * time.Millisecond // one way between two datacenters
	fleetNear = time.Millisecond      // one way to the own Harbor
	fleetLate = 2 * time.Second       // until Harbors' own replication has brought a manifest
)

// fleetWorld is a fleet: real edges over the bench's network, and Harbors that are worked out.
type fleetWorld struct {
	net      *fleetNet
	content  *fleetContent
	names    []string // of datacenters
	projects []string
	homes    map[string][]string // of the last two projects, which three Harbors alone hold: copies 3
	harbors  []*fleetHarbor
	edges    []*fleetEdge // those that are real, from the first datacenter on
	keys     *keyring.Ring
	signer   *rsa.PrivateKey // of all Harbors' tokens
	tokens   map[string]string
}

// fleetEdge is one datacenter's edge.
type fleetEdge struct {
	handler *proxy.Handler
	state   *state.DB
	store   *store.Store
	end     context.CancelFunc
}

// newFleetWorld makes the plan's fleet without an edge.
func newFleetWorld(p fleetPlan) (*fleetWorld, error) {
	w := &fleetWorld{net: &fleetNet{hosts: map[string]http.Handler{}, far: fleetFar, near: fleetNear, all: trafficOf{}, watched: map[string]*watched{}},
		content: &fleetContent{late: fleetLate, all: map[digest.Digest]fleetPushed{}}, tokens: map[string]string{}}
	var err error
	if w.signer, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if w.keys, err = keyring.New(rand.Text()+rand.Text(), ""); err != nil {
		return nil, err
	}
	for i := range p.Projects {
		w.projects = append(w.projects, fmt.Sprintf("%s%04d", fleetProject, i))
	}
	if w.homes, err = homesOf(p); err != nil {
		return nil, err
	}
	for i := range p.Datacenters {
		name := fmt.Sprintf("dc%02d", i)
		h := &fleetHarbor{datacenter: name, content: w.content, homes: w.homes, tags: map[string]digest.Digest{}}
		w.names, w.harbors = append(w.names, name), append(w.harbors, h)
		w.net.hosts[name+".harbor"] = h
	}
	return w, nil
}

// homesOf are two projects that three Harbors alone hold, of which the first is none, and which
// these are, as the fleet file has it.
func homesOf(p fleetPlan) (map[string][]string, error) {
	var harbors strings.Builder
	for i := range p.Datacenters {
		fmt.Fprintf(&harbors, "  dc%02[1]d: { harbor: \"https://dc%02[1]d.example.net\", edge: \"https://edge.dc%02[1]d.example.net\" }\n", i)
	}
	f, err := fleet.Load("fleet.yaml", []byte(objectsFleet(objectsRow{How: "grouped, copies 3", Projects: p.Projects}, harbors.String(), "secret")))
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for i := p.Projects - 1; i >= p.Pushes+fleetSpare && len(all) < 2; i-- {
		if homes := f.Homes(fmt.Sprintf("p%04d", i)); len(homes) > 0 && !slices.Contains(homes, "dc00") {
			all[fmt.Sprintf("%s%04d", fleetProject, i)] = homes
		}
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("--projects %d: of these there are not two of which another datacenter than the first is the home; want more", p.Projects)
	}
	return all, nil
}

// start starts the edges of so many datacenters. Those of the others are what the bench says:
// hosts has them, or they cannot be reached.
func (w *fleetWorld) start(ctx context.Context, dir string, edges int) error {
	gates := make([]*gate, edges)
	for i := range edges {
		gates[i] = &gate{}
		w.net.hosts[w.names[i]+".edge"] = gates[i]
	}
	for i := range edges {
		e, err := w.startEdge(ctx, filepath.Join(dir, w.names[i]), i)
		if e != nil {
			w.edges = append(w.edges, e)
		}
		if err != nil {
			return err
		}
		gates[i].open(e.handler)
	}
	return nil
}

// startEdge makes an edge as the programs do from the fleet file.
func (w *fleetWorld) startEdge(ctx context.Context, dir string, i int) (e *fleetEdge, err error) {
	e = &fleetEdge{}
	ctx, e.end = context.WithCancel(ctx)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return e, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if e.state, err = state.Open(filepath.Join(dir, "state.db"), log); err != nil {
		return e, err
	}
	if e.store, err = store.Open(store.Config{Dir: dir, Scrub: -1}); err != nil {
		return e, err
	}
	source := func(c registry.SourceConfig) (*registry.Source, error) {
		c.Trusted = true
		c.Wrap = func(http.RoundTripper) http.RoundTripper { return &fleetWire{w.net, w.names[i], ctx} }
		return registry.NewSource(c)
	}
	c := proxy.Config{Datacenter: w.names[i], State: e.state, Store: e.store, Log: log, Keys: w.keys,
		Settings: proxy.Settings{OwnsTags: func(string) bool { return true }, Machine: func(account string) bool { return account == "robot$edge" }}}
	for _, project := range w.projects {
		homes := w.homes[project]
		c.Namespaces = append(c.Namespaces, namespace.Namespace{Project: project, Kind: namespace.MultiDC, Homes: homes, Away: homes != nil && !slices.Contains(homes, w.names[i])})
	}
	if c.Harbor, err = source(registry.SourceConfig{URL: "http://" + w.names[i] + ".harbor", Username: "robot$edge", Password: "of-the-bench"}); err != nil {
		return e, err
	}
	for j := 1; j < len(w.names); j++ { // nearest first
		name := w.names[(i+j)%len(w.names)]
		edge, err := source(registry.SourceConfig{URL: "http://" + name + ".edge", Prefix: edgepeer.Path})
		if err != nil {
			return e, err
		}
		c.Peers = append(c.Peers, edgepeer.Peer{Datacenter: name, Edge: edge})
	}
	c.Access, err = access.New(access.Config{Harbor: c.Harbor, Members: e.state, Grants: e.state, Projects: e.state, Keys: w.keys,
		Verifier: &registry.Verifier{Keys: []*rsa.PublicKey{&w.signer.PublicKey}}})
	if err != nil {
		return e, err
	}
	e.handler = proxy.New(ctx, c)
	return e, nil
}

// close ends the edges.
func (w *fleetWorld) close() (err error) {
	for _, e := range w.edges {
		e.end()
	}
	time.Sleep(2 * fleetFar) // what is on its way
	for _, e := range w.edges {
		err = errors.Join(err, e.close())
	}
	w.edges = nil
	return err
}

func (e *fleetEdge) close() (err error) {
	e.end()
	if e.store != nil {
		err = errors.Join(err, e.store.Close())
	}
	if e.state != nil {
		err = errors.Join(err, e.state.Close())
	}
	return err
}

// token is what a client of a project shows.
func (w *fleetWorld) token(project string) (string, error) {
	if token, ok := w.tokens[project]; ok {
		return token, nil
	}
	now := time.Now()
	claims := jwt.MapClaims{"iss": "harbor-token-issuer", "sub": "robot$" + project + "+client", "aud": registry.HarborService, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
		"access": []registry.Access{{Type: "repository", Name: project + "/app", Actions: []string{"pull", "push"}}}}
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(w.signer)
	w.tokens[project] = token
	return token, err
}

// ask is a client's request for a tag of a project's repo app, through one edge. body is nil
// for a pull.
func (w *fleetWorld) ask(ctx context.Context, edge int, project, tag string, body []byte) (status int, header http.Header, err error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPut
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://harbor.example.org/v2/"+project+"/app/manifests/"+tag, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	token, err := w.token(project)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", fleetIndex)
	if body != nil {
		req.Header.Set("Content-Type", fleetIndex)
	}
	resp, err := answeredBy(ctx, w.edges[edge].handler, incoming(req, body))
	if err != nil {
		return 0, nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, err
}

// push pushes a tag through an edge, and returns which datacenters' edges knew of it by then.
func (w *fleetWorld) push(ctx context.Context, edge int, project, tag string) (acknowledged string, err error) {
	status, header, err := w.ask(ctx, edge, project, tag, fleetManifest(project+"/app", tag))
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("a push of %s/app:%s is answered %d", project, tag, status)
	}
	return header.Get("Breakwater-Acknowledged"), err
}

// pull pulls a tag through an edge, of which it is known how it is answered.
func (w *fleetWorld) pull(ctx context.Context, edge int, project, tag string, want int) error {
	status, _, err := w.ask(ctx, edge, project, tag, nil)
	if err == nil && status != want {
		err = fmt.Errorf("a pull of %s/app:%s is answered %d, want %d", project, tag, status, want)
	}
	return err
}
