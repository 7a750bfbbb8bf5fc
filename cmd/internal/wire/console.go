package wire

import (
	"context"
	"time"

	"example.org/breakwater/cmd/internal/console"
	"example.org/breakwater/cmd/internal/status"
)

// askedWithin is how long the fleet is asked for a page, which is shown within a second: an
// answer comes a little later than the node is given up.
const askedWithin = 750 * time.Millisecond

// newConsole is what the edge shows in a browser, on its admin listener.
func (e *Edge) newConsole() (*console.Console, error) {
	return console.New(console.Config{
		Domain: e.began.fleet.Domain, Datacenter: e.cfg.Datacenter, Version: e.cfg.Version,
		Pages: []console.Page{
			console.FleetPage(e.askFleet),
			console.TrafficPage(e.handler.Traffic().Report),
			console.FillsPage(e.handler.Traffic().Fills),
			console.ContentPage(e.handler.Content().Fleet),
		},
	})
}

// askFleet asks all nodes how they are, as breakwater status does.
func (e *Edge) askFleet(ctx context.Context) *status.Fleet {
	asker := status.Asker{Fleet: e.fleet.Load(), From: "console@" + e.cfg.Datacenter, Base: status.Runbooks, Patience: askedWithin}
	return asker.Ask(ctx)
}

// Console is what is shown in a browser: an http.Handler of reads alone, which asks nobody
// who they are.
func (e *Edge) Console() *console.Console { return e.console }
