package console

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/gslb"
	"example.org/breakwater/provision"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/operator"
)

// soon is when a certificate that ends is shown as a warning.
const soon = 14 * 24 * time.Hour

// chip is a state in a word; its class says how good it is: ok, warning, wrong or "".
type chip struct {
	Class, Text string
	Title       string // the rest, where one points
}

// fleetRow is a datacenter, with a line for each instance of its edge.
type fleetRow struct {
	Name, Role string
	Named      status.Networks
	Edges      []edgeRow
}

// edgeRow is what is shown of an instance, or of an address where none answers.
type edgeRow struct {
	At          string
	State       chip
	Says        string // why, or who drains it
	Known       bool   // there is a report; else all below is what anybody may know
	Version     string
	Requests    int64
	Harbor      chip
	HarborSays  string
	Components  []chip // of Harbor, by name
	Healthy     int    // of them
	Store       []chip
	Used, Limit string
	Percent     int // of the store's size that is used
	Free        string
	Hits        string
	Peers       []chip
	Certificate chip
	Owed        []string // what is not yet the same everywhere
}

// fleetRows are the datacenters as the page shows them.
func fleetRows(f *status.Fleet) (rows []fleetRow) {
	for _, d := range f.Datacenters {
		row := fleetRow{Name: d.Name, Role: d.Role, Named: d.Named}
		for _, e := range d.Edges {
			row.Edges = append(row.Edges, edgeRowOf(e, f.Time))
		}
		rows = append(rows, row)
	}
	return rows
}

func edgeRowOf(e status.Edge, now time.Time) edgeRow {
	row := edgeRow{At: strings.Join(e.Addresses, ", ")}
	r := e.Report
	if r == nil {
		row.State, row.Says = chip{Class: "wrong", Text: "no answer"}, e.Why
		if h := e.Health; h != nil {
			row.State = chip{Class: "ok", Text: "serves"}
			if h.Draining {
				row.State = chip{Class: "warning", Text: "drains"}
			}
			row.Harbor, row.Store = upChip(h.Harbor == "up"), storeChips(h.Store == "degraded", h.Store == "hanging")
		}
		return row
	}
	row.Known, row.At, row.Version, row.Requests = true, r.Instance, r.Version, r.Requests
	row.State = chip{Class: "ok", Text: "serves"}
	switch {
	case r.Leaving:
		row.State, row.Says = chip{Class: "warning", Text: "stops"}, "the process ends"
	case r.Drain != nil:
		row.State = chip{Class: "warning", Text: "drains"}
		row.Says = strings.TrimRight(fmt.Sprintf("for %s, %s said so: %s", short(now.Sub(r.Drain.Since)), r.Drain.By, r.Drain.Reason), ": ")
	}
	row.harbor(r)
	row.store(r)
	for _, p := range r.Peers {
		row.Peers = append(row.Peers, chip{peerClass(p.State), p.Datacenter, peerText(p)})
	}
	row.certificate(r, now)
	row.Owed = owed(r)
	return row
}

func upChip(up bool) chip {
	if up {
		return chip{Class: "ok", Text: "up"}
	}
	return chip{Class: "wrong", Text: "down"}
}

func (row *edgeRow) harbor(r *operator.Report) {
	row.Harbor = upChip(r.Harbor.Up)
	var ill []string
	for _, name := range slices.Sorted(maps.Keys(r.Harbor.Components)) {
		c := chip{Class: "ok", Text: name + ": " + r.Harbor.Components[name]}
		if r.Harbor.Components[name] == "healthy" {
			row.Healthy++
		} else {
			c.Class = "wrong"
			ill = append(ill, c.Text)
		}
		row.Components = append(row.Components, c)
	}
	switch {
	case !r.Harbor.Up:
		row.HarborSays = strings.TrimRight("for "+short(r.Time.Sub(r.Harbor.Since))+": "+r.Harbor.Why, ": ")
	case len(ill) > 0:
		row.Harbor, row.HarborSays = chip{Class: "warning", Text: "up, in part"}, strings.Join(ill, ", ")
	}
}

func storeChips(degraded, hanging bool) []chip {
	switch {
	case hanging:
		return []chip{{Class: "wrong", Text: "hangs", Title: "the disk does not answer"}}
	case degraded:
		return []chip{{Class: "wrong", Text: "degraded", Title: "the disk refuses what is pulled"}}
	}
	return nil
}

func (row *edgeRow) store(r *operator.Report) {
	s := r.Store
	row.Store, row.Used = storeChips(s.Degraded, s.Hanging), status.Size(s.Bytes)
	if s.Size > 0 {
		row.Limit, row.Percent = status.Size(s.Size), int(min(100, s.Bytes*100/s.Size))
	}
	if s.Free >= 0 {
		row.Free = status.Size(s.Free) + " free on disk"
	}
	if h := r.Hits.Recent; h.Of > 0 {
		row.Hits = fmt.Sprintf("%d %% hits of %d, 10 min", h.Hits*100/h.Of, h.Of)
	}
}

func (row *edgeRow) certificate(r *operator.Report, now time.Time) {
	if r.Certificate == nil {
		row.Certificate = chip{Text: "plain HTTP", Title: "TLS ends before the edge, or nowhere"}
		return
	}
	left := r.Certificate.Sub(now)
	row.Certificate = chip{"ok", short(left) + " left", r.Certificate.UTC().Format(time.DateOnly)}
	switch {
	case left <= 0:
		row.Certificate.Class, row.Certificate.Text = "wrong", "has ended"
	case left < soon:
		row.Certificate.Class = "warning"
	}
}

// owed is what is not yet the same everywhere.
func owed(r *operator.Report) (all []string) {
	for _, a := range r.Announce {
		if a.Pending > 0 {
			all = append(all, fmt.Sprintf("%s to %s", provision.Counted(int64(a.Pending), "announcement"), a.Datacenter))
		}
	}
	if n := r.Follow.Pending; n > 0 {
		all = append(all, provision.Counted(n, "tag")+" to its Harbor")
	}
	if n := r.Follow.GivenUp; n > 0 {
		all = append(all, provision.Counted(n, "tag")+" given up")
	}
	if t := r.Touches; t != nil && t.Pending > 0 {
		all = append(all, provision.Counted(t.Pending, "pull")+" to its Harbor")
	}
	return all
}

func peerClass(s hello.State) string {
	switch s {
	case hello.OK:
		return "ok"
	case hello.Unknown, hello.Older:
		return ""
	}
	return "wrong"
}

// peerText is what an edge says of a peer.
func peerText(p operator.Peer) string {
	if p.Says != "" {
		return p.Says
	}
	return string(p.State)
}

// severity is the class of one, and of nothing wrong.
func severity(s status.Severity) string {
	if s == status.Well {
		return "ok"
	}
	return string(s)
}

// clientRow is what the clients of a network get, by each name server.
type clientRow struct {
	Network, Home string
	Answers       []clientAnswer
}

type clientAnswer struct {
	Server, Datacenter string
	Chip               chip
}

// clientRows has a row a network. A name server that does not answer is left out.
func clientRows(f *status.Fleet) (rows []clientRow) {
	for _, s := range f.NameServers {
		for i, a := range s.Answers {
			if i == len(rows) {
				rows = append(rows, clientRow{Network: a.Network, Home: a.Home})
			}
			if i > len(rows) || rows[i].Network != a.Network {
				continue
			}
			c := clientAnswer{s.Datacenter, a.Datacenter, chip{Class: "ok", Text: a.Datacenter}}
			switch {
			case a.Datacenter == "":
				c.Chip = chip{Class: "wrong", Text: "nobody"}
			case a.Home != "" && a.Home != a.Datacenter && backup(f, a.Home):
				c.Chip = chip{Text: a.Datacenter, Title: "its home is a backup"}
			case a.Home != "" && a.Home != a.Datacenter:
				c.Chip = chip{Class: "warning", Text: a.Datacenter, Title: "not its home"}
			case a.Home == "":
				c.Chip.Class = ""
			}
			rows[i].Answers = append(rows[i].Answers, c)
		}
	}
	return rows
}

func backup(f *status.Fleet, name string) bool {
	return slices.ContainsFunc(f.Datacenters, func(d status.Datacenter) bool { return d.Name == name && d.Role == "backup" })
}

// answering are the name servers that do.
func answering(f *status.Fleet) (names []string) {
	for _, s := range f.NameServers {
		if len(s.Answers) > 0 {
			names = append(names, s.Datacenter)
		}
	}
	return names
}

// overrides are what operators have said to the name servers; what several say alike is there once.
func overrides(f *status.Fleet) (all []gslb.Held) {
	seen := map[gslb.Held]bool{}
	for _, s := range f.NameServers {
		for _, r := range s.Reports {
			if r.Report == nil {
				continue
			}
			for _, o := range r.Report.Overrides {
				same := o
				same.SafeAt, same.Why = time.Time{}, "" // each as it knows it
				if !seen[same] {
					all = append(all, o)
				}
				seen[same] = true
			}
		}
	}
	return all
}

// numbers are those at the top of the page.
type numbers struct {
	Serving, Edges     int
	Harbors, OfHarbors int
	Servers, OfServers int
	Hits               operator.Ratio
	Requests           int64
}

// Percent is the share of the hits; -1: nothing was read.
func (n numbers) Percent() int64 {
	if n.Hits.Of == 0 {
		return -1
	}
	return n.Hits.Hits * 100 / n.Hits.Of
}

func numbersOf(f *status.Fleet) (n numbers) {
	n.OfHarbors, n.OfServers = len(f.Datacenters), len(f.NameServers)
	for _, d := range f.Datacenters {
		up := false
		for _, e := range d.Edges {
			n.Edges++
			if r := e.Report; r != nil {
				up = up || r.Harbor.Up
				n.Requests += r.Requests
				n.Hits.Hits += r.Hits.Recent.Hits
				n.Hits.Of += r.Hits.Recent.Of
				if r.Serving {
					n.Serving++
				}
			} else if h := e.Health; h != nil {
				up = up || h.Harbor == "up"
				if !h.Draining {
					n.Serving++
				}
			}
		}
		if up {
			n.Harbors++
		}
	}
	for _, s := range f.NameServers {
		if s.Fault == "" {
			n.Servers++
		}
	}
	return n
}
