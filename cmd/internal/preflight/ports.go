package preflight

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/proxy"
)

// listener is an address that a daemon of this machine listens on.
type listener struct {
	field, address string
	packets        bool                                                   // UDP too
	held           func(ctx context.Context, m *machine, at string) error // nil: by breakwater, as it should be
}

func (m *machine) listeners() (all []listener) {
	if e := m.Fleet.Edge; m.needs(Edge) {
		all = append(all, listener{"edge.listen", e.Listen, false, heldByEdge}, listener{"edge.metrics", e.Metrics, false, heldForMetrics}, listener{"edge.admin", e.Admin, false, heldForAdmin})
		if at := e.Console.Listen; at != "" {
			all = append(all, listener{"edge.console.listen", at, false, heldForConsole})
		}
	}
	if g := m.Fleet.GSLB; m.needs(GSLB) {
		all = append(all, listener{"gslb.listen", g.Listen, true, heldByNameServer}, listener{"gslb.metrics", g.Metrics, false, heldForMetrics}, listener{"gslb.admin", g.Admin, false, heldForAdmin})
		if *g.Peers != "" && !g.Key.IsZero() {
			all = append(all, listener{"gslb.peers", *g.Peers, false, heldForPeers})
		}
	}
	return all
}

// tryPorts wants each port to be free, or to be breakwater's already.
func (m *machine) tryPorts(ctx context.Context, r *results) {
	free, held := 0, []string{}
	for _, l := range m.listeners() {
		err := tryListen(l)
		switch {
		case err == nil:
			free++
		case errors.Is(err, syscall.EADDRINUSE):
			if other := l.held(ctx, m, daemon.OnThisMachine(l.address)); other != nil {
				r.fault("taken", l.field, fmt.Sprintf("%s (%s) is held by another program: %s", l.field, l.address, oneLine(other)), "stop it, or write another port (ss -lnp says who it is)")
				continue
			}
			held = append(held, l.field)
		case errors.Is(err, syscall.EACCES):
			r.fault("privilege", l.field, fmt.Sprintf("%s (%s) may not be listened on: ports below 1024 are not for everybody", l.field, l.address), "give the daemon CAP_NET_BIND_SERVICE, or lower net.ipv4.ip_unprivileged_port_start")
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			r.fault("address", l.field, fmt.Sprintf("this machine does not have the address of %s (%s)", l.field, l.address), "write one that it has, or the port alone, as :443")
		default:
			r.fault("address", l.field, fmt.Sprintf("%s (%s): %s", l.field, l.address, oneLine(err)), "write an address of this machine and a port, as 127.0.0.1:9091")
		}
	}
	if free > 0 {
		r.say("free: %d", free)
	}
	if len(held) > 0 {
		r.say("breakwater runs and holds %s", strings.Join(held, ", "))
	}
}

func tryListen(l listener) error {
	t, err := net.Listen("tcp", l.address)
	if err == nil {
		err = t.Close()
	}
	if err != nil || !l.packets {
		return err
	}
	u, err := net.ListenPacket("udp", l.address)
	if err == nil {
		err = u.Close()
	}
	return err
}

// local asks what listens on this machine, whose certificate is for other names.
var local = &http.Client{Timeout: callPatience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

func askLocal(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := local.Do(req)
	if err != nil {
		return "", errors.New("it does not answer as breakwater does")
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return string(text), err
}

func heldByEdge(ctx context.Context, m *machine, at string) error {
	scheme := "https://"
	if m.Fleet.Edge.PlainHTTP {
		scheme = "http://"
	}
	text, err := askLocal(ctx, scheme+at+proxy.HealthPath)
	if err != nil {
		return err
	}
	var health proxy.Health
	switch err := json.Unmarshal([]byte(text), &health); {
	case err != nil || health.Datacenter == "":
		return errors.New("it does not answer as an edge does")
	case health.Datacenter != m.Datacenter:
		return fmt.Errorf("it is the edge of %s", health.Datacenter)
	}
	return nil
}

func heldForMetrics(ctx context.Context, _ *machine, at string) error {
	text, err := askLocal(ctx, "http://"+at+"/metrics")
	if err == nil && !strings.Contains(text, "breakwater_build_info") {
		err = errors.New("it has not breakwater's metrics")
	}
	return err
}

func heldForAdmin(ctx context.Context, _ *machine, at string) error {
	text, err := askLocal(ctx, "http://"+at+"/log-level")
	if err != nil {
		return err
	}
	return new(slog.LevelVar).UnmarshalText([]byte(strings.TrimSpace(text)))
}

func heldForConsole(ctx context.Context, m *machine, at string) error {
	scheme := "https://"
	if m.Fleet.Edge.Console.TLS.Certificate == "" {
		scheme = "http://"
	}
	text, err := askLocal(ctx, scheme+at+"/login")
	if err == nil && !strings.Contains(text, "breakwater") {
		err = errors.New("it is not the console")
	}
	return err
}

// heldForPeers: a name server's siblings sign what they ask, and everybody else is refused.
func heldForPeers(ctx context.Context, _ *machine, at string) error {
	a, err := (&client{http: local, now: time.Now}).get(ctx, "http://"+at+"/", nil)
	if err == nil && a.header.Get(signed.RefusalHeader) == "" {
		err = errors.New("it refuses nobody who signs nothing")
	}
	return err
}

func heldByNameServer(ctx context.Context, m *machine, at string) error {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(m.Fleet.Domain), dns.TypeSOA)
	answer, _, err := (&dns.Client{Timeout: callPatience}).ExchangeContext(ctx, q, at)
	if err == nil && !answer.Authoritative {
		err = errors.New("it does not answer for " + m.Fleet.Domain)
	}
	return err
}
