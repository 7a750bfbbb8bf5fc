package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/proxy/operator"
)

// tries are how often an address is asked whose next answer may be another replica's.
const tries = 8

// Drained is what became of one instance, or of an address where none answered.
type Drained struct {
	Datacenter string `json:"datacenter"`
	Instance   string `json:"instance"`
	Address    string `json:"address"`
	Serving    bool   `json:"serving"`
	Error      string `json:"error,omitempty"`
}

// Drain has the edges of some datacenters leave (release false), or takes that back.
// Unless sure, it does nothing that leaves no edge of the fleet to send clients to.
func (a *Asker) Drain(ctx context.Context, names []string, release bool, reason string, sure bool) ([]Drained, error) {
	if len(names) == 0 {
		names = a.Fleet.Order
	}
	for _, name := range names {
		if a.Fleet.Datacenters[name] == nil {
			return nil, a.Fleet.NoDatacenter(name)
		}
	}
	keys, err := Keys(ctx, a.Fleet, "edge.peers", a.Fleet.Edge.Peers.Key, a.Fleet.Edge.Peers.PreviousKey)
	if err != nil {
		return nil, err
	}
	trust, err := Trust(a.Fleet)
	if err != nil {
		return nil, err
	}
	var all []Datacenter
	var reports []steer.Seen
	var looking sync.WaitGroup
	looking.Go(func() { all, _ = a.datacenters(ctx) })
	looking.Go(func() { reports, _ = a.reports(ctx) })
	looking.Wait()
	if !release && !sure && !othersServe(all, names, reports) {
		return nil, errors.New("this would leave no edge that serves and that name servers may answer: clients would go on to where they are, and new ones get what name servers answer in a panic. Add --yes to do it all the same")
	}
	method := http.MethodPost
	if release {
		method = http.MethodDelete
	}
	var mu sync.Mutex
	var done []Drained
	var asking sync.WaitGroup
	for _, d := range all {
		if !slices.Contains(names, d.Name) {
			continue
		}
		way := Way{Datacenter: d.Name, URL: string(a.Fleet.Datacenters[d.Name].Edge), Keys: keys, Trust: trust, From: a.From}
		if len(d.Edges) == 0 {
			done = append(done, Drained{Datacenter: d.Name, Error: "the fleet file has no address of its edge"})
		}
		for _, e := range d.Edges {
			asking.Go(func() {
				one := way.drain(ctx, e, method, reason)
				mu.Lock()
				defer mu.Unlock()
				done = append(done, one)
			})
		}
	}
	asking.Wait()
	slices.SortFunc(done, func(x, y Drained) int {
		if by := slices.Index(a.Fleet.Order, x.Datacenter) - slices.Index(a.Fleet.Order, y.Datacenter); by != 0 {
			return by
		}
		return strings.Compare(x.Instance+x.Address, y.Instance+y.Address)
	})
	return done, nil
}

// othersServe reports whether an edge serves in a datacenter that is not named, and that no
// name server was told to leave out.
func othersServe(all []Datacenter, names []string, reports []steer.Seen) bool {
	return slices.ContainsFunc(all, func(d Datacenter) bool {
		serves, _ := d.serves()
		return serves && !slices.Contains(names, d.Name) && !takenOut(reports, d.Name)
	})
}

// drain asks one instance. Where one address leads to several, it is asked again until it
// is that one that answers.
func (w *Way) drain(ctx context.Context, e Edge, method, reason string) Drained {
	done := Drained{Datacenter: w.Datacenter, Address: e.Addresses[0]}
	if e.Report == nil {
		done.Error = e.Why
		return done
	}
	done.Instance, done.Serving = e.Report.Instance, e.Report.Serving
	path := "drain?" + url.Values{"instance": {done.Instance}, "reason": {reason}}.Encode()
	for range tries {
		var r operator.Report
		asking, cancel := context.WithTimeout(ctx, w.patience())
		err := w.ask(asking, w.client(done.Address), method, path, &r)
		var refused *signed.Refused
		if errors.As(err, &refused) && refused.Status == http.StatusConflict {
			done.Error = "another instance answers at its address: " + refused.Says
			cancel()
			continue
		}
		if done.Error = ""; err != nil {
			_, done.Error = why(asking, w.patience(), err)
		} else {
			done.Serving = r.Serving
		}
		cancel()
		return done
	}
	return done
}

// PrintDrained shows what became of them. The error says for which it failed.
func PrintDrained(out io.Writer, all []Drained) error {
	var text strings.Builder
	rows := []row{{[]string{"DATACENTER", "INSTANCE", "ADDRESS"}, "ANSWER"}}
	failed := 0
	for _, d := range all {
		answer := "drains: its health says that it leaves, and it serves until it is stopped"
		if d.Serving {
			answer = "serves"
		}
		if d.Error != "" {
			failed++
			answer = "failed: " + d.Error
		}
		rows = append(rows, row{[]string{d.Datacenter, d.Instance, d.Address}, printable(answer)})
	}
	table(&text, Plain, []int{14, 40, 40}, rows)
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d failed: ask these again, or on their machines", failed, len(all))
	}
	return nil
}
