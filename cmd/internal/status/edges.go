package status

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/operator"
	"example.org/breakwater/registry"
)

const (
	maxAddresses = 32      // of one edge's name that are asked
	maxHealth    = 4 << 10 // bytes
)

// Way is the way to the edges of a datacenter.
type Way struct {
	Datacenter string
	URL        string        // as the fleet file has it
	Keys       *keyring.Ring // nil: none
	Trust      *tls.Config
	From       string // who asks
	Resolver   *net.Resolver
	Patience   time.Duration // how long one of them may take; 0: a second
}

func (w *Way) patience() time.Duration { return cmp.Or(w.Patience, patience) }

// Edges asks at every address that the edge's name has, and returns a row for each instance
// that answers, and for each address where none does.
func (w *Way) Edges(ctx context.Context) []Edge {
	ctx, cancel := context.WithTimeout(ctx, w.patience())
	defer cancel()
	addresses, err := w.addresses(ctx)
	if err != nil {
		u, _ := url.Parse(w.URL)
		return []Edge{{Addresses: []string{u.Host}, Fault: FaultName, Why: "its name has no address: " + lookup(ctx, w.patience(), err)}}
	}
	rows := make([]Edge, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { rows[i] = w.edge(ctx, address) })
	}
	all.Wait()
	return merged(rows)
}

// addresses are host:port, each once.
func (w *Way) addresses(ctx context.Context) (all []string, err error) {
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, err
	}
	hosts, err := w.Resolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts)[:min(len(hosts), maxAddresses)] {
		all = append(all, net.JoinHostPort(host, registry.PortOf(u)))
	}
	return all, nil
}

// merged has one row an instance. An address that this machine has no way to, as one of
// IPv6, is left out where another one answers.
func merged(rows []Edge) (all []Edge) {
	answered := slices.ContainsFunc(rows, func(e Edge) bool { return e.Report != nil || e.Health != nil })
	for _, e := range rows {
		if answered && strings.Contains(e.Why, "network is unreachable") {
			continue
		}
		at := slices.IndexFunc(all, func(other Edge) bool {
			return other.Report != nil && e.Report != nil && other.Report.Instance == e.Report.Instance
		})
		if at >= 0 {
			all[at].Addresses = append(all[at].Addresses, e.Addresses...)
			continue
		}
		all = append(all, e)
	}
	return all
}

// edge asks at one address. Whoever does not tell operators how it is may tell anybody
// whether it serves.
func (w *Way) edge(ctx context.Context, address string) Edge {
	e := Edge{Addresses: []string{address}}
	client := w.client(address)
	defer client.CloseIdleConnections()
	if w.Keys == nil {
		e.Fault, e.Why = FaultNoKey, "it tells operators alone, and there is no key to ask with"
	} else {
		var r operator.Report
		before := time.Now()
		err := w.ask(ctx, client, http.MethodGet, "status", &r)
		if after := time.Now(); err == nil {
			e.Report = &r
			e.Ahead = r.Time.Sub(before.Add(after.Sub(before) / 2)).Round(time.Millisecond).Seconds()
			return e
		}
		e.Fault, e.Why = why(ctx, w.patience(), err)
	}
	if e.Fault == FaultNoKey || e.Fault == FaultKey || e.Fault == FaultClock || e.Fault == FaultOther {
		var err error
		if e.Health, err = health(ctx, client, w.URL); err != nil && e.Fault == FaultNoKey {
			e.Fault, e.Why = why(ctx, w.patience(), err)
		}
	}
	return e
}

// client asks at an address, on a connection of its own.
func (w *Way) client(address string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		TLSClientConfig: w.Trust.Clone(), DisableKeepAlives: true,
	}}
}

// ask asks an edge as an operator does, and reads its answer.
func (w *Way) ask(ctx context.Context, client *http.Client, method, path string, answer any) error {
	c := signed.Client{Ring: w.Keys, From: w.From, HTTP: client}
	body, err := c.Ask(ctx, operator.Name(w.Datacenter), method, w.URL+operator.Path+path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("its answer cannot be read; does it run another version? %w", err)
	}
	return nil
}

// health asks for what anybody may know.
func health(ctx context.Context, client *http.Client, base string) (*proxy.Health, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+proxy.HealthPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var h proxy.Health
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxHealth)).Decode(&h); err != nil || h.Datacenter == "" {
		return nil, fmt.Errorf("what answers there is no edge (status %d)", resp.StatusCode)
	}
	return &h, nil
}

// why says why there is no answer, as the rest of a sentence about the node.
func why(ctx context.Context, patience time.Duration, err error) (Fault, string) {
	var refused *signed.Refused
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &refused) && otherKey(refused.Says):
		return FaultKey, "it has another edge.peers.key than the fleet file here"
	case errors.As(err, &refused) && strings.Contains(refused.Says, "clock"):
		return FaultClock, refused.Says
	case errors.As(err, &refused):
		return FaultOther, "it refuses: " + refused.Says
	case errors.As(err, &certificate):
		return FaultCertificate, "its certificate is not good: " + certificate.Err.Error()
	case errors.As(err, &header), strings.Contains(err.Error(), "gave HTTP response to HTTPS client"):
		return FaultCertificate, "it does not speak TLS"
	case ctx.Err() != nil, isTimeout(err):
		return FaultSilent, fmt.Sprintf("no answer within %v", patience)
	case strings.Contains(err.Error(), "connection refused"):
		return FaultRefused, "it refuses connections"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return FaultRefused, "it cannot be reached: " + op.Err.Error()
	}
	return FaultOther, err.Error()
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func lookup(ctx context.Context, patience time.Duration, err error) string {
	if ctx.Err() != nil {
		return fmt.Sprintf("no answer within %v", patience)
	}
	var e *net.DNSError
	if errors.As(err, &e) {
		return e.Err
	}
	return err.Error()
}
