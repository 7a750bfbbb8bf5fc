package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// SourceConfig says what a source is and how to reach it.
type SourceConfig struct {
	URL      string           // http(s)://host[:port], and the path below which the registry is (/v2/ is no part of it)
	Prefix   string           // of every path, before /v2/: "" for registries
	Proxy    string           // URL of an HTTP proxy on the way; "": as the environment says
	Username string           // "" fetches anonymously
	Password string           // never logged
	Keys     Keys             // that make Username and Password; nil: they are what they are
	Names    []string         // hosts, with a port or without, by which its clients know it: what it calls so is at URL
	Realms   []string         // hosts of token services outside the source's domain that may be shown the credentials, and may be anywhere
	TLS      *tls.Config      // nil: the system's CAs
	Header   http.Header      // set on every request, as a User-Agent
	Now      func() time.Time // nil: time.Now
	// Wrap is put around every connection pool, below authentication, to watch the
	// requests; nil: nothing is.
	Wrap    func(http.RoundTripper) http.RoundTripper
	Trusted bool // one of the fleet's own: it may redirect anywhere, as a Harbor does whose storage is in the same datacenter
	// Redirects are where those of a source that is not trusted may lead beside public
	// addresses; nil: to private ones, if they come from one.
	Redirects []Destination
}

// client is a Source as one configuration has it.
type client struct {
	made    SourceConfig
	url     *url.URL
	prefix  string
	login   *login
	base    http.RoundTripper
	pools   []*http.Transport
	single  http.RoundTripper
	outside http.RoundTripper // for redirects
	inside  http.RoundTripper // for those that come from a private address
	proxyOf func(*http.Request) (*url.URL, error)
	header  http.Header
	now     func() time.Time
}

const (
	dialDeadline   = 3 * time.Second
	headerDeadline = 15 * time.Minute // as Harbor's own front: a storage may copy a large blob before it says that it has it, a project's lock may be waited for. Who reads knows sooner whom to wait for
	idlePerHost    = 64
	pingAfter      = 3 * time.Second // that nothing came on an HTTP/2 connection
	pingDeadline   = 2 * time.Second
	lostAfter      = 30 * time.Second // that nobody acknowledged what was sent on a connection

	retryUnavailable = 5 * time.Second
)

func newClient(cfg SourceConfig) (*client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("source %q: want http://host or https://host", cfg.URL)
	}
	s := &client{made: cfg, url: &url.URL{Scheme: u.Scheme, Host: u.Host}, prefix: strings.TrimRight(u.Path, "/") + cfg.Prefix, header: cfg.Header, now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	s.login = newLogin(s)
	api := newTransport()
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
	wrap := func(t *http.Transport) http.RoundTripper {
		pool := newLanes(t)
		s.pools = append(s.pools, pool.all()...)
		if cfg.Wrap == nil {
			return located{pool}
		}
		return cfg.Wrap(located{pool})
	}
	own := behindProxy{wrap(api), api.Proxy}
	s.base = &ownDomain{source: s.url, inner: own}
	single := api.Clone()
	single.DisableKeepAlives = true
	s.single = &ownDomain{source: s.url, inner: behindProxy{wrap(single), api.Proxy}}
	outside, inside := api.Clone(), api.Clone()
	if !cfg.Trusted {
		s.keep(outside, false)
		s.keep(inside, true)
	}
	s.outside, s.inside, s.proxyOf = behindProxy{wrap(outside), api.Proxy}, behindProxy{wrap(inside), api.Proxy}, api.Proxy
	s.login.home, s.login.named, s.login.outside, s.login.inside = s.base, own, s.outside, s.inside
	return s, nil
}

// dialer tries a host's addresses, each family beside the other. control may refuse one. Its
// connections end when the other side is gone without a word, whether an answer is waited for,
// a request is on its way, or nothing: a slow answer may take minutes, and a host that is there
// says so all the time.
func dialer(control func(network, address string, _ syscall.RawConn) error) *net.Dialer {
	return &net.Dialer{
		Timeout:         dialDeadline,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: lostAfter / 2, Interval: lostAfter / 6, Count: 3},
		Control: func(network, address string, c syscall.RawConn) error {
			if control != nil {
				if err := control(network, address, c); err != nil {
					return err
				}
			}
			boundUnacknowledged(c)
			return nil
		},
	}
}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = dialer(nil).DialContext
	t.OnProxyConnectResponse = refusedByProxy
	t.ResponseHeaderTimeout = headerDeadline
	t.MaxIdleConnsPerHost = idlePerHost
	t.DisableCompression = true
	// A connection whose packets are dropped, by a partition or a firewall that has lost
	// its state, looks idle: HTTP/2 would put every request on it until the kernel gives up.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingDeadline}
	return t
}

// do is Source.Do.
func (s *client) do(ctx context.Context, r Request, header http.Header) (*http.Response, error) {
	if r.Kind == KindBlob && r.Method == http.MethodGet {
		ctx = inBulk(ctx)
	}
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
	if req.Header.Get("Authorization") == "" && s.made.Prefix == "" { // peers know each other otherwise
		rt = s.login.of(r.Repo)
	}
	resp, err := s.follow(rt, req)
	if err == nil && s.refusedByStorage(resp) {
		resp.Body.Close()
		resp, err = s.anew(rt, req)
	}
	if err != nil {
		return nil, s.unavailable(err)
	}
	if Encoded(resp.Header) && (r.Kind != KindBlob || resp.StatusCode >= http.StatusMultipleChoices) {
		decode(resp)
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
