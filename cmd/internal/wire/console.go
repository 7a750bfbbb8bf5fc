package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"example.org/breakwater/cmd/internal/console"
	"example.org/breakwater/cmd/internal/login"
	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/provision"
	"example.org/breakwater/proxy/content"
)

// askedWithin is how long the fleet is asked for a page, which is shown within a second: an
// answer comes a little later than the node is given up.
const askedWithin = 750 * time.Millisecond

const (
	maxExplanation = 1 << 20  // bytes of a name server's
	maxRecord      = 32 << 20 // of what provision has left
)

// newConsole is what the edge shows in a browser, on its admin listener.
func (e *Edge) newConsole() (*console.Console, error) {
	return console.New(console.Config{
		Domain: e.began.fleet.Domain, Datacenter: e.cfg.Datacenter, Version: e.cfg.Version, Who: login.User,
		Pages: []console.Page{
			console.FleetPage(e.askFleet),
			console.TrafficPage(e.handler.Traffic().Report),
			console.ImagePage(e.handler.Explain),
			console.ClientPage(e.askNameServer),
			console.ContentPage(e.askContent),
			console.FillsPage(e.handler.Traffic().Fills),
			console.ChangesPage(e.readChanges),
		},
	})
}

// askFleet asks all nodes how they are, as breakwater status does.
func (e *Edge) askFleet(ctx context.Context) *status.Fleet {
	asker := status.Asker{Fleet: e.fleet.Load(), From: "console@" + e.cfg.Datacenter, Base: status.Runbooks, Patience: askedWithin, Keyring: e.rings.get}
	return asker.Ask(ctx)
}

// askContent asks all edges what they know, as breakwater content does, which waits for longer.
func (e *Edge) askContent(ctx context.Context, q content.Query, now time.Time) content.Report {
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	return e.handler.Content().Fleet(ctx, q, now)
}

// readChanges reads what provision has left on this machine.
func (e *Edge) readChanges() (last provision.Last, none string, err error) {
	name := e.fleet.Load().Edge.Changes
	if name == "" {
		return last, "No file is named in which provision keeps its runs: write edge.changes into the fleet file.", nil
	}
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return last, "Neither plan nor apply has run on this machine yet: they leave " + name + " (edge.changes).", nil
	}
	if err != nil {
		return last, "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxRecord))
	if err != nil {
		return last, "", err
	}
	r, err := provision.ReadRecord(text)
	return r.Last, "", err
}

// rings are the keys by which the fleet is asked. They are looked up once in a while: where they
// are in Vault, that is a login.
type rings struct {
	mu  sync.Mutex
	all map[string]ringOf // by section and references
}

type ringOf struct {
	ring *keyring.Ring
	at   time.Time
}

// ringsStay is how long keys are believed to be the fleet's.
const ringsStay = time.Minute

func (r *rings) get(ctx context.Context, f *fleet.Fleet, section string, key, previous fleet.Ref) (*keyring.Ring, error) {
	name := fmt.Sprint(section, "\n", key, "\n", previous)
	r.mu.Lock()
	known, ok := r.all[name]
	r.mu.Unlock()
	if ok && time.Since(known.at) < ringsStay {
		return known.ring, nil
	}
	ring, err := status.Keys(ctx, f, section, key, previous)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil || len(r.all) >= 16 { // the fleet file was another one before
		r.all = map[string]ringOf{}
	}
	r.all[name] = ringOf{ring, time.Now()}
	return ring, nil
}

// Console is what is shown in a browser: an http.Handler of reads alone, which asks nobody
// who they are.
func (e *Edge) Console() *console.Console { return e.console }

// askNameServer asks the name server on this machine, on its admin listener, as breakwater
// gslb explain does.
func (e *Edge) askNameServer(ctx context.Context, client, name string) (x gslb.Explanation, err error) {
	own := e.fleet.Load().GSLB
	if own == nil {
		return x, errors.New("the fleet file has no gslb section")
	}
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	question := "http://" + daemon.OnThisMachine(own.Admin) + "/explain?" + url.Values{"client": {client}, "name": {name}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, question, nil)
	if err != nil {
		return x, err
	}
	local := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy is on the way to this machine
	resp, err := local.Do(req)
	if err != nil {
		return x, fmt.Errorf("it does not answer on %s, where gslb.admin says it is: %w", own.Admin, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExplanation))
	switch {
	case err != nil:
		return x, err
	case resp.StatusCode != http.StatusOK:
		return x, errors.New(strings.TrimSpace(string(body)))
	}
	return x, json.Unmarshal(body, &x)
}
