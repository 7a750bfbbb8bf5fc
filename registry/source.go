package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// SourceConfig says what a source is and how to reach it.
type SourceConfig struct {
	URL      string           // http(s)://host[:port], without a path
	Prefix   string           // of every path, before /v2/: "" for registries
	Proxy    string           // URL of an HTTP proxy on the way; "": as the environment says
	Username string           // "" fetches anonymously
	Password string           // never logged
	Realms   []string         // hosts of token services outside the source's domain that may be shown the credentials, and may be anywhere
	TLS      *tls.Config      // nil: the system's CAs
	Header   http.Header      // set on every request, as a User-Agent
	Now      func() time.Time // nil: time.Now
	// Wrap is put around every connection pool, below authentication, to watch the
	// requests; nil: nothing is.
	Wrap    func(http.RoundTripper) http.RoundTripper
	Trusted bool // one of the fleet's own: it may redirect to private and loopback addresses, as a Harbor does whose storage is in the same datacenter
}

// client is a Source as one configuration has it.
type client struct {
	made    SourceConfig
	url     *url.URL
	prefix  string
	login   *login
	base    http.RoundTripper
	pools   []*http.Transport
	passing http.RoundTripper
	single  http.RoundTripper
	storage http.RoundTripper
	header  http.Header
	now     func() time.Time
}

const (
	dialDeadline   = 3 * time.Second
	headerDeadline = 30 * time.Second
	uploadDeadline = 15 * time.Minute // as Harbor's own front: a storage may copy a large blob before it says that it has it
	idlePerHost    = 64
	maxRedirects   = 5
	pingAfter      = 3 * time.Second // that nothing came on an HTTP/2 connection
	pingDeadline   = 2 * time.Second

	retryUnavailable = 5 * time.Second
)

func newClient(cfg SourceConfig) (*client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("source %q: want http://host or https://host, without a path", cfg.URL)
	}
	s := &client{made: cfg, url: &url.URL{Scheme: u.Scheme, Host: u.Host}, prefix: cfg.Prefix, header: cfg.Header, now: cfg.Now, login: newLogin(cfg, &url.URL{Scheme: u.Scheme, Host: u.Host})}
	if s.now == nil {
		s.now = time.Now
	}
	api := newTransport(nil)
	api.DialContext = s.login.seeing(api.DialContext)
	if cfg.TLS != nil {
		api.TLSClientConfig = cfg.TLS
	}
	if cfg.Proxy != "" {
		proxy, err := url.Parse(cfg.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, fmt.Errorf("source %s: proxy: want http://host:port", u.Host)
		}
		api.Proxy = http.ProxyURL(proxy)
	}
	wrap := cfg.Wrap
	if wrap == nil {
		wrap = func(rt http.RoundTripper) http.RoundTripper { return rt }
	}
	s.base = &ownDomain{source: s.url, inner: wrap(api)}
	uploads := api.Clone()
	uploads.ResponseHeaderTimeout = uploadDeadline
	s.passing = &byEndPoint{s.base, &ownDomain{source: s.url, inner: wrap(uploads)}}
	single := api.Clone()
	single.DisableKeepAlives = true
	s.single = &ownDomain{source: s.url, inner: wrap(single)}
	storage := api.Clone()
	if !cfg.Trusted {
		s.keepOutside(storage)
	}
	s.storage = wrap(storage)
	s.pools = []*http.Transport{api, uploads, storage}
	s.login.now, s.login.home, s.login.named, s.login.outside = s.now, s.base, wrap(api), s.storage
	return s, nil
}

func newTransport(control func(network, address string, _ syscall.RawConn) error) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialDeadline, KeepAlive: 30 * time.Second, Control: control}).DialContext
	t.ResponseHeaderTimeout = headerDeadline
	t.MaxIdleConnsPerHost = idlePerHost
	t.DisableCompression = true
	// A connection whose packets are dropped, by a partition or a firewall that has lost
	// its state, looks idle: HTTP/2 would put every request on it until the kernel gives up.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingDeadline}
	return t
}

// keepOutside keeps redirects out of the datacenter: a registry outside the
// fleet is not to choose what inside it the edge talks to. The proxy on the way
// may be inside; behind it only addresses can be judged, names are its own to resolve.
func (s *client) keepOutside(t *http.Transport) {
	var proxies sync.Map // by host:port
	proxyOf, direct := t.Proxy, t.DialContext
	t.Proxy = func(req *http.Request) (*url.URL, error) {
		proxy, err := proxyOf(req)
		if err != nil || proxy == nil {
			return proxy, err
		}
		host := req.URL.Hostname()
		if ip, err := netip.ParseAddr(host); err == nil && isPrivate(ip) || strings.EqualFold(host, "localhost") {
			return nil, s.refusedPrivate(host)
		}
		port := cmp.Or(proxy.Port(), map[string]string{"http": "80", "https": "443"}[proxy.Scheme], "1080")
		proxies.Store(net.JoinHostPort(proxy.Hostname(), port), true)
		return proxy, nil
	}
	outside := newTransport(func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err == nil && isPrivate(ap.Addr()) {
			err = s.refusedPrivate(address)
		}
		return err
	}).DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ok := proxies.Load(address); ok {
			return direct(ctx, network, address)
		}
		return outside(ctx, network, address)
	}
}

func (s *client) refusedPrivate(address string) error {
	return fmt.Errorf("refused a redirect of %s to the private address %s", s.url.Host, address)
}

// shared is RFC 6598's address space: clusters number their pods from it, and a
// cloud its metadata service.
var shared = netip.MustParsePrefix("100.64.0.0/10")

func isPrivate(ip netip.Addr) bool {
	ip = ip.Unmap()
	return !ip.IsGlobalUnicast() || ip.IsPrivate() || shared.Contains(ip)
}

// byEndPoint waits longer for the answers to what is sent into an upload session.
type byEndPoint struct{ others, uploads http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b *byEndPoint) RoundTrip(req *http.Request) (*http.Response, error) {
	if (req.Method == http.MethodPut || req.Method == http.MethodPatch) && strings.Contains(req.URL.Path, "/blobs/uploads/") {
		return b.uploads.RoundTrip(req)
	}
	return b.others.RoundTrip(req)
}

// do is Source.Do.
func (s *client) do(ctx context.Context, r Request, header http.Header) (*http.Response, error) {
	u := *s.url
	u.Path = s.prefix + r.Path()
	u.RawQuery = r.Query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range []http.Header{s.header, header} {
		for k, v := range h {
			req.Header[k] = v
		}
	}
	req.Header.Set("Accept-Encoding", "identity")
	rt := s.base
	if req.Header.Get("Authorization") == "" && s.prefix == "" { // peers know each other otherwise
		rt = s.login.of(r.Repo)
	}
	resp, err := s.follow(rt, req)
	if err != nil {
		return nil, s.unavailable(err)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		resp.Body.Close()
		return nil, s.unavailable(fmt.Errorf("it sent the encoding %q that nobody asked for", e))
	}
	return resp, nil
}

func (s *client) closeIdle() {
	for _, pool := range s.pools {
		pool.CloseIdleConnections()
	}
}

// unavailable is the error of a source that did not answer, or whose token service said what
// it is to be.
func (s *client) unavailable(cause error) error {
	var said *Error
	if errors.Is(cause, ErrBusy) && errors.As(cause, &said) {
		return said
	}
	e := Errorf(CodeUnavailable, "the source did not answer; try again")
	e.RetryAfter, e.Cause = retryUnavailable, fmt.Errorf("ask %s: %w", s.url.Host, cause)
	return e
}

// follow sends the request and goes after redirects: within the source's own
// host as it is, elsewhere (object storage) without credentials.
func (s *client) follow(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	for range maxRedirects {
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		location := resp.Header.Get("Location")
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, nil
		}
		resp.Body.Close()
		next, err := req.URL.Parse(location)
		if err != nil || location == "" || next.Scheme != "https" && next.Scheme != s.url.Scheme {
			return nil, fmt.Errorf("it redirects to %q, which is no address to fetch from", clip(location))
		}
		req = req.Clone(req.Context())
		req.URL, req.Host = next, ""
		if next.Host != s.url.Host {
			for name := range req.Header { // what edges say to each other is for nobody else
				if name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "Breakwater-") {
					req.Header.Del(name)
				}
			}
			rt = s.login.away()
		}
	}
	return nil, errors.New("it redirects in a circle")
}
