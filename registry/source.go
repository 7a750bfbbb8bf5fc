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

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	lru "github.com/hashicorp/golang-lru/v2"
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
	auth    authn.Authenticator
	base    http.RoundTripper
	pools   []*http.Transport
	passing http.RoundTripper
	single  http.RoundTripper
	outside http.RoundTripper // for redirects
	inside  http.RoundTripper // for those that come from a private address
	proxyOf func(*http.Request) (*url.URL, error)
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
	headerDeadline = 30 * time.Second
	uploadDeadline = 15 * time.Minute // as Harbor's own front: a storage may copy a large blob before it says that it has it
	idlePerHost    = 64
	pingAfter      = 3 * time.Second // that nothing came on an HTTP/2 connection
	pingDeadline   = 2 * time.Second

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
	api := newTransport()
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
	outside, inside := api.Clone(), api.Clone()
	if !cfg.Trusted {
		s.keep(outside, false)
		s.keep(inside, true)
	}
	s.outside, s.inside, s.proxyOf = wrap(outside), wrap(inside), api.Proxy
	s.pools = []*http.Transport{api, uploads, outside, inside}
	s.scoped, err = lru.New[string, scoped](maxScoped)
	return s, err
}

// dialer tries a host's addresses, each family beside the other. control may refuse one. A
// connection to an address that is gone, as when DNS has moved, is closed after half a minute.
func dialer(control func(network, address string, _ syscall.RawConn) error) *net.Dialer {
	alive := net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}
	return &net.Dialer{Timeout: dialDeadline, KeepAliveConfig: alive, Control: control}
}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = dialer(nil).DialContext
	t.ResponseHeaderTimeout = headerDeadline
	t.MaxIdleConnsPerHost = idlePerHost
	t.DisableCompression = true
	// A connection whose packets are dropped, by a partition or a firewall that has lost
	// its state, looks idle: HTTP/2 would put every request on it until the kernel gives up.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingDeadline}
	return t
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
