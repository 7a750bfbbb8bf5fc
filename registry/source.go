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

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/sync/singleflight"
)

// SourceConfig says what a source is and how to reach it.
type SourceConfig struct {
	URL      string           // http(s)://host[:port], without a path
	Prefix   string           // of every path, before /v2/: "" for registries
	Proxy    string           // URL of an HTTP proxy on the way; "": as the environment says
	Username string           // "" fetches anonymously
	Password string           // never logged
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
	auth    authn.Authenticator
	base    http.RoundTripper
	pools   []*http.Transport
	single  http.RoundTripper
	storage http.RoundTripper
	header  http.Header
	scoped  *lru.Cache[string, scoped] // by repo
	now     func() time.Time
	dialing singleflight.Group
	shaking chan struct{} // holds a token for each handshake that is under way
}

// scoped is a transport with a token for one repo.
type scoped struct {
	http.RoundTripper
	made time.Time
}

const (
	maxScoped      = 4096
	maxShaking     = 256             // handshakes at once: they outlive the requests that began them
	renewAfter     = 4 * time.Minute // Docker Hub, Quay and GitHub give tokens for five
	tokenDeadline  = 10 * time.Second
	dialDeadline   = 3 * time.Second
	headerDeadline = 15 * time.Minute // as Harbor's own front: a storage may copy a large blob before it says that it has it, a project's lock may be waited for. Who reads knows sooner whom to wait for
	idlePerHost    = 64
	maxRedirects   = 5
	pingAfter      = 3 * time.Second // that nothing came on an HTTP/2 connection
	pingDeadline   = 2 * time.Second
	lostAfter      = 30 * time.Second // that nobody acknowledged what was sent on a connection

	retryUnavailable = 5 * time.Second
)

func newClient(cfg SourceConfig) (*client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("source %q: want http://host or https://host, without a path", cfg.URL)
	}
	s := &client{made: cfg, url: &url.URL{Scheme: u.Scheme, Host: u.Host}, prefix: cfg.Prefix, auth: authn.Anonymous, header: cfg.Header, now: cfg.Now, shaking: make(chan struct{}, maxShaking)}
	if s.now == nil {
		s.now = time.Now
	}
	if cfg.Username != "" || cfg.Password != "" {
		s.auth = authn.FromConfig(authn.AuthConfig{Username: cfg.Username, Password: cfg.Password})
	}
	api := newTransport(nil)
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
	s.base = &ownDomain{source: s.url, inner: wrap(behindProxy{api})}
	single := api.Clone()
	single.DisableKeepAlives = true
	s.single = &ownDomain{source: s.url, inner: wrap(behindProxy{single})}
	storage := api.Clone()
	if !cfg.Trusted {
		s.keepOutside(storage)
	}
	s.storage = wrap(behindProxy{storage})
	s.pools = []*http.Transport{api, storage}
	s.scoped, err = lru.New[string, scoped](maxScoped)
	return s, err
}

func newTransport(control func(network, address string, _ syscall.RawConn) error) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = dialer(control).DialContext
	t.OnProxyConnectResponse = refusedByProxy
	t.ResponseHeaderTimeout = headerDeadline
	t.MaxIdleConnsPerHost = idlePerHost
	t.DisableCompression = true
	// A connection whose packets are dropped, by a partition or a firewall that has lost
	// its state, looks idle: HTTP/2 would put every request on it until the kernel gives up.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingDeadline}
	return t
}

// dialer makes connections that end when the other side is gone without a word, whether an
// answer is waited for, a request is on its way, or nothing: a slow answer may take minutes,
// and a host that is there says so all the time.
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
	if req.Header.Get("Authorization") == "" {
		if rt, err = s.transportFor(ctx, r.Repo); err != nil {
			return nil, s.unavailable(err)
		}
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

func (s *client) unavailable(cause error) error {
	e := Errorf(CodeUnavailable, "the source did not answer; try again")
	e.RetryAfter, e.Cause = retryUnavailable, fmt.Errorf("ask %s: %w", s.url.Host, cause)
	return e
}

// transportFor returns the authenticated transport of one repo. One that grows
// old is used while its successor is made: nobody waits for a new token as long as
// the repo is asked for.
func (s *client) transportFor(ctx context.Context, repo string) (http.RoundTripper, error) {
	if s.auth == authn.Anonymous && repo == "" {
		return s.base, nil
	}
	old, ok := s.scoped.Get(repo)
	if ok && s.now().Sub(old.made) < renewAfter {
		return old, nil
	}
	result := s.dialing.DoChan(repo, func() (any, error) {
		select {
		case s.shaking <- struct{}{}:
			defer func() { <-s.shaking }()
		default:
			return nil, errors.New("too many repos are asked for at once")
		}
		rt, err := s.handshake(context.WithoutCancel(ctx), repo)
		switch {
		case err == nil:
			s.scoped.Add(repo, scoped{rt, s.now()})
		case ok: // it may do for longer, and renews its token itself when it is refused
			s.scoped.Add(repo, scoped{old.RoundTripper, s.now()})
		}
		return rt, err
	})
	if ok {
		return old, nil
	}
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(http.RoundTripper), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// handshake asks the registry how it wants to be asked, and gets a token for one
// repo. It belongs to nobody's request: all who wait share it.
func (s *client) handshake(ctx context.Context, repo string) (http.RoundTripper, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenDeadline)
	defer cancel()
	reg, err := name.NewRegistry(s.url.Host, name.Insecure)
	if err != nil {
		return nil, err
	}
	var scopes []string
	if repo != "" {
		scopes = []string{"repository:" + repo + ":pull"}
	}
	return transport.NewWithContext(ctx, reg, s.auth, s.base, scopes)
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
			rt = s.storage
		}
	}
	return nil, errors.New("it redirects in a circle")
}

// ownDomain keeps credentials at home. go-containerregistry asks whatever
// realm a challenge names, over the scheme that it guesses; this transport
// refuses realms outside the source's own domain, and knows the scheme.
type ownDomain struct {
	source *url.URL
	inner  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (o *ownDomain) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == o.source.Host {
		if req.URL.Scheme != o.source.Scheme {
			req = req.Clone(req.Context())
			req.URL.Scheme = o.source.Scheme
		}
		return o.inner.RoundTrip(req)
	}
	if !SameDomain(req.URL.Hostname(), o.source.Hostname()) || req.URL.Scheme != "https" && o.source.Scheme == "https" {
		return nil, fmt.Errorf("refused to send credentials to %s: it is not of %s's domain", req.URL.Host, o.source.Host)
	}
	return o.inner.RoundTrip(req)
}

// SameDomain reports whether two hosts belong to one owner: they are equal, or
// they share the domain that is registered below a public suffix.
func SameDomain(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	da, errA := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(a))
	db, errB := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(b))
	return errA == nil && errB == nil && da == db
}
