package gslb

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"example.org/breakwater/registry"
)

// found is what one round of probes of a datacenter has found.
type found struct {
	err       error // why it does not serve; nil: it does
	took      time.Duration
	addresses map[netip.Addr]error // why each does not answer, of those that could be asked
}

// look probes the target, and each of its addresses where there are several, all at once.
// Who answers at none of them serves nobody.
func (p *prober) look(ctx context.Context) found {
	f, begun := found{addresses: map[netip.Addr]error{}}, time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	all.Go(func() {
		err := p.probe(ctx)
		mu.Lock()
		defer mu.Unlock()
		f.err, f.took = err, time.Since(begun)
	})
	for a, ways := range p.ways {
		if !reachable(a) { // it may be well: this machine has no address of the family
			continue
		}
		all.Go(func() {
			err := anyWay(ctx, ways)
			mu.Lock()
			defer mu.Unlock()
			f.addresses[a] = err
		})
	}
	all.Wait()
	if f.err == nil {
		f.err = f.nowhere()
	}
	return f
}

// nowhere is a failure where no address answers.
func (f *found) nowhere() error {
	asked := slices.SortedFunc(maps.Keys(f.addresses), netip.Addr.Compare)
	if len(asked) == 0 || slices.ContainsFunc(asked, func(a netip.Addr) bool { return f.addresses[a] == nil }) {
		return nil
	}
	why, reason := f.addresses[asked[0]], "connect"
	var own *failure
	if errors.As(why, &own) {
		reason = own.reason
	}
	return fail(reason, "none of its addresses answers; %s: %v", asked[0], why)
}

// anyWay asks all ways at once; nil: one of them led there. Else it is why the first did not.
func anyWay(ctx context.Context, ways []*prober) error {
	results := make([]error, len(ways))
	var all sync.WaitGroup
	for i, way := range ways {
		all.Go(func() { results[i] = way.probe(ctx) })
	}
	all.Wait()
	if slices.Contains(results, nil) {
		return nil
	}
	return results[0]
}

// waysTo are the ways by which an address of a target is asked what the target is: at the port
// of its URL, and, if something stands before it, where clients come: at that of HTTPS, by the
// one name. Of what the fleet file has asked instead only connections are expected there.
func (t Target) waysTo(a netip.Addr, cfg ProbeConfig) []*prober {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil
	}
	t.Addresses = nil
	way := func(t Target, port string) *prober {
		p := newProber(t, cfg)
		p.at = net.JoinHostPort(a.String(), port)
		p.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.at)
		}
		return p
	}
	port, front := registry.PortOf(u), t
	switch t.Kind {
	case ProbeEdge, ProbeHarbor:
		front.URL = "https://" + t.ServerName
	default:
		front.Kind = ProbeTCP
	}
	if port == https && (front.Kind == ProbeTCP || front.URL == t.URL || t.Kind == ProbeEdge && u.Scheme == "https") {
		return []*prober{way(t, port)}
	}
	return []*prober{way(t, port), way(front, https)}
}

const https = "443"

// reachable reports whether this machine has a way to the address at all. Nothing is sent.
func reachable(a netip.Addr) bool {
	conn, err := net.Dial("udp", net.JoinHostPort(a.String(), https)) //nolint:noctx // it does not wait
	if err != nil {
		return false
	}
	conn.Close() //nolint:errcheck // nothing was written
	return true
}

// addressWatched is what the probes of one address have found.
type addressWatched struct {
	hysteresis
	why     string // when it is down
	leftOut bool   // because it is
}

// heardOf is what is known of a family of addresses in all datacenters.
type heardOf struct {
	probed   int       // how many there are
	answered time.Time // when one of them last did
}

// mayBeDead reports whether an address that fell then is dead rather than this node cut off from
// its family, so that clients would get whichever address falls last: another one has answered
// since, or there is none.
func (o *heardOf) mayBeDead(fell time.Time) bool { return o.probed < 2 || o.answered.After(fell) }

// observeAddresses takes a round's results, and returns the addresses that do not answer, with
// why, and whether the next round is to come soon. The families are by whether they are IPv4.
func (w *watched) observeAddresses(results map[netip.Addr]error, families map[bool]*heardOf, now time.Time) (dead map[netip.Addr]string, soon bool) {
	for a, err := range results {
		if err == nil {
			families[a.Is4()].answered = now
		}
		x := w.addresses[a]
		if x == nil {
			x = &addressWatched{hysteresis: hysteresis{cfg: w.cfg}}
			w.addresses[a] = x
		}
		if err == nil && !x.leftOut && !x.up {
			x.hysteresis = hysteresis{cfg: w.cfg} // this node had lost the family
		}
		changed, again := x.observe(err == nil, now)
		soon = soon || again
		if changed && err != nil {
			x.why = err.Error()
		}
	}
	for a, x := range w.addresses {
		switch x.leftOut = x.leftOut && !x.up; {
		case !x.known || x.up:
		case !families[a.Is4()].mayBeDead(x.fell):
			soon = soon || now.Sub(x.fell) < w.cfg.verdict()
		default:
			if dead == nil {
				dead = map[netip.Addr]string{}
			}
			dead[a], x.leftOut = x.why, true
		}
	}
	return dead, soon
}

// takeAddresses begins with what was known of addresses.
func (w *watched) takeAddresses(dead map[netip.Addr]string) {
	w.addresses = map[netip.Addr]*addressWatched{}
	for a, why := range dead {
		w.addresses[a] = &addressWatched{hysteresis{cfg: w.cfg, known: true}, why, true}
	}
}

// rotated is a list that begins elsewhere for other clients: each stays with its first address,
// and all name servers say the same.
func rotated[T any](list []T, client netip.Addr) []T {
	at := rotation(len(list), client)
	if at == 0 {
		return list
	}
	return append(append(make([]T, 0, len(list)), list[at:]...), list[:at]...)
}

// rotation is which of so many addresses the client gets first.
func rotation(n int, client netip.Addr) int {
	if n < 2 {
		return 0
	}
	return int(clientHash(client) % uint64(n))
}
