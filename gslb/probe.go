package gslb

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.org/breakwater/registry"
)

// ProbeKind is what is asked to see whether a datacenter serves.
type ProbeKind string

// The kinds of probes.
const (
	ProbeEdge   ProbeKind = "edge"   // its edge's /breakwater/v1/health, as a client would reach it
	ProbeHarbor ProbeKind = "harbor" // Harbor's /api/v2.0/health by its body, and the challenge of /v2/
	ProbeHTTP   ProbeKind = "http"   // any URL: 2xx
	ProbeTCP    ProbeKind = "tcp"    // a connection
	ProbeFile   ProbeKind = "file"   // what a check of somebody else's writes: up or down, and why
)

// KindOf is the kind of probe for a URL that stands in the fleet file: https://…,
// http://…, tcp://host:port or file:/path.
func KindOf(text string) ProbeKind {
	switch scheme, _, _ := strings.Cut(text, ":"); scheme {
	case "tcp":
		return ProbeTCP
	case "file":
		return ProbeFile
	}
	return ProbeHTTP
}

// Target is what is probed for one datacenter.
type Target struct {
	Datacenter string
	Kind       ProbeKind
	URL        string         // of the edge or Harbor, or see KindOf
	ServerName string         // the name that clients use: an edge's certificate must be for it, Harbor's challenge may name it
	Roots      *x509.CertPool // nil: the system's
	// Addresses are asked too, each for itself: what clients are answered with. None, or one,
	// and a file: they are not, and count as what URL says.
	Addresses []netip.Addr
}

const (
	maxHealthBody = 64 << 10
	fileIsOld     = 10 // intervals, and
	fileIsYoung   = 10 * time.Second
)

// required are the components without which Harbor serves nobody. Others, as trivy
// and jobservice, are of no use to who pulls.
var required = []string{"core", "database", "redis", "registry"}

// failure is why a probe failed.
type failure struct {
	reason  string // for metrics: connect, timeout, tls, status, body
	message string
}

// Error implements error.
func (f *failure) Error() string { return f.message }

func fail(reason, format string, args ...any) error {
	return &failure{reason, fmt.Sprintf(format, args...)}
}

// prober asks one target. Every probe is a connection of its own, as a new client's:
// one that is kept goes on while nobody else gets in.
type prober struct {
	Target
	timeout  time.Duration
	interval time.Duration
	client   *http.Client
	at       string                   // host:port to connect to; "": as the URL says
	ways     map[netip.Addr][]*prober // to each address that is asked too

	// Of a file: the time that it had when it was looked at last, and when that was by a clock
	// that does not jump.
	written, fresh time.Time
}

// asked are the addresses that are asked too.
func (t Target) asked() []netip.Addr {
	if len(t.Addresses) < 2 || t.Kind == ProbeFile {
		return nil
	}
	return t.Addresses
}

func newProber(t Target, cfg ProbeConfig) *prober {
	p := &prober{Target: t, timeout: cfg.Timeout, interval: cfg.Interval}
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{RootCAs: t.Roots, MinVersion: tls.VersionTLS12},
	}
	if t.Kind == ProbeEdge {
		transport.TLSClientConfig.ServerName = t.ServerName
	}
	p.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if asked := t.asked(); len(asked) > 0 {
		p.ways = map[netip.Addr][]*prober{}
		for _, a := range asked {
			p.ways[a] = t.waysTo(a, cfg)
		}
	}
	return p
}

// probe returns nil for a datacenter that serves, else a *failure with a sentence.
func (p *prober) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	switch p.Kind {
	case ProbeEdge:
		return p.probeEdge(ctx)
	case ProbeHarbor:
		return p.probeHarbor(ctx)
	case ProbeHTTP:
		_, _, err := p.get(ctx, p.URL, func(status int) bool { return status/100 == 2 })
		return err
	case ProbeTCP:
		return p.probeTCP(ctx)
	}
	return p.probeFile(time.Now())
}

func (p *prober) probeEdge(ctx context.Context) error {
	body, _, err := p.get(ctx, p.URL+"/breakwater/v1/health", func(status int) bool { return status == http.StatusOK || status == http.StatusServiceUnavailable })
	if err != nil {
		return err
	}
	var health struct {
		Serving  *bool `json:"serving"`
		Draining bool  `json:"draining"`
	}
	switch err := json.Unmarshal(body, &health); {
	case err != nil || health.Serving == nil:
		return fail("body", "it answers, but not as an edge: want JSON with serving")
	case health.Draining:
		return fail("body", "the edge is draining")
	case !*health.Serving:
		return fail("body", "the edge says that it is not serving")
	}
	return nil
}

// probeHarbor asks Harbor itself. Its health is 200 even when it is not well
// (goharbor/harbor#16406): the body says which component is not.
func (p *prober) probeHarbor(ctx context.Context) error {
	body, _, err := p.get(ctx, p.URL+"/api/v2.0/health", func(status int) bool { return status == http.StatusOK })
	if err != nil {
		return err
	}
	var health struct {
		Components []struct{ Name, Status, Error string }
	}
	if json.Unmarshal(body, &health) != nil || len(health.Components) == 0 {
		return fail("body", "it answers, but not as Harbor: want JSON with components")
	}
	for _, name := range required {
		i := slices.IndexFunc(health.Components, func(c struct{ Name, Status, Error string }) bool { return c.Name == name })
		switch {
		case i < 0:
			return fail("body", "Harbor does not say how its %s is", name)
		case health.Components[i].Status != "healthy":
			return fail("body", "Harbor says that its %s is %s", name, health.Components[i].Status)
		}
	}
	_, header, err := p.get(ctx, p.URL+"/v2/", func(status int) bool { return status == http.StatusUnauthorized })
	if err != nil {
		return err
	}
	return p.checkRealm(header.Values("WWW-Authenticate"))
}

// checkRealm wants a challenge that leads clients to a token service of this name.
func (p *prober) checkRealm(challenges []string) error {
	realm, hosts := "", []string{registry.Host(p.ServerName)}
	if own, err := url.Parse(p.URL); err == nil {
		hosts = append(hosts, registry.Host(own.Hostname()))
	}
	for _, c := range registry.ParseChallenges(challenges) {
		if !strings.EqualFold(c.Scheme, "Bearer") {
			continue
		}
		realm = c.Params["realm"]
		if u, err := url.Parse(realm); err == nil && strings.HasSuffix(u.Path, "/service/token") && slices.Contains(hosts, registry.Host(u.Hostname())) {
			return nil
		}
	}
	return fail("body", "the challenge of /v2/ leads clients to %q; want the token service of %s", realm, p.ServerName)
}

// get asks for the URL; good says which status is one.
func (p *prober) get(ctx context.Context, at string, good func(status int) bool) (body []byte, header http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, fail("connect", "%s is no address", at)
	}
	req.Header.Set("User-Agent", "breakwater-gslb")
	if p.Kind == ProbeEdge {
		req.Host = p.ServerName
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, nil, p.why(err)
	}
	defer resp.Body.Close()
	if !good(resp.StatusCode) {
		return nil, nil, fail("status", "it answers %s", resp.Status)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxHealthBody))
	if err != nil {
		return nil, nil, p.why(err)
	}
	return body, resp.Header, nil
}

func (p *prober) probeTCP(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", cmp.Or(p.at, strings.TrimPrefix(p.URL, "tcp://")))
	if err != nil {
		return p.why(err)
	}
	return conn.Close()
}

// probeFile reads what a check of somebody else's has written: up or down, and why.
func (p *prober) probeFile(now time.Time) error {
	name := strings.TrimPrefix(strings.TrimPrefix(p.URL, "file:"), "//")
	info, err := os.Stat(name)
	if err != nil {
		return fail("connect", "%s is not to be read: %v", name, errors.Unwrap(err))
	}
	if written := info.ModTime(); !written.Equal(p.written) {
		p.written, p.fresh = written, past(written, now)
	}
	switch age := now.Sub(p.fresh); {
	case age <= max(fileIsOld*p.interval, fileIsYoung):
	case p.written.After(now):
		return fail("timeout", "%s has a time in the future, and was not written for %v: its check runs no longer", name, age.Round(time.Second))
	default:
		return fail("timeout", "%s was written %v ago: its check runs no longer", name, age.Round(time.Second))
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return fail("connect", "%s is not to be read: %v", name, errors.Unwrap(err))
	}
	word, reason, _ := bytes.Cut(bytes.TrimSpace(data[:min(len(data), 1<<10)]), []byte(" "))
	switch string(word) {
	case "up":
		return nil
	case "down":
		return fail("body", "%s says down %s", name, reason)
	}
	return fail("body", "%s says neither up nor down", name)
}

// why says in a sentence why there was no answer.
func (p *prober) why(err error) error {
	var expired x509.CertificateInvalidError
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var notTLS tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return fail("tls", "its certificate is good from %s to %s", expired.Cert.NotBefore.UTC().Format(time.DateTime), expired.Cert.NotAfter.UTC().Format(time.DateTime))
	case errors.As(err, &host):
		return fail("tls", "its certificate is not for %s", host.Host)
	case errors.As(err, &unknown):
		return fail("tls", "its certificate is of an authority that is not trusted here")
	case errors.As(err, &expired), errors.As(err, &notTLS), errors.Is(err, http.ErrSchemeMismatch):
		return fail("tls", "no TLS with it: %v", err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fail("timeout", "no answer within %v", p.timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail("connect", "it refuses connections")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail("connect", "it breaks the connection off")
	}
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return fail("tls", "no TLS with it: %v", alert)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return fail("connect", "no connection: %v", op.Err)
	}
	return fail("connect", "no answer: %v", err)
}
