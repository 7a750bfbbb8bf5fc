package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
)

const maxRedirects = 5

// ErrRedirected is among the causes where the source redirected, and nobody answered there,
// it may not be followed, or the storage there refuses what it was sent.
var ErrRedirected = errors.New("it redirects")

// follow sends the request and goes after redirects: at the source's own address as it
// is, elsewhere (object storage) without credentials.
func (s *client) follow(rt http.RoundTripper, req *http.Request) (_ *http.Response, err error) {
	ctx, first, inside, redirected := req.Context(), req.URL, true, false
	defer func() {
		if err != nil && redirected {
			err = fmt.Errorf("%w: %w", ErrRedirected, err)
		}
	}()
	for range maxRedirects {
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, nil
		}
		resp.Body.Close()
		redirected = true
		inside = inside && s.answersInside(req, answeredFrom(resp)) // one that came from outside leads nowhere inside
		next, err := s.target(req.URL, resp.Header.Get("Location"))
		if err == nil && next.Scheme == "http" && s.url.Scheme == "https" && !s.leadsOutOfTLS(first, next) {
			err = fmt.Errorf("refused a redirect out of TLS to %q: name its host in the cache's redirects if it is the registry's storage", clip(next.Host))
		}
		if err != nil {
			return nil, err
		}
		req = req.Clone(ctx)
		req.URL, req.Host = next, ""
		if Place(next) != Place(s.url) {
			for name := range req.Header { // what edges say to each other is for nobody else
				if name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "Breakwater-") {
					req.Header.Del(name)
				}
			}
			if rt = s.login.away(s.outside); inside {
				rt = s.login.away(s.inside)
			}
		}
	}
	return nil, errors.New("it redirects in a circle")
}

// refusedByStorage reports whether an answer is the refusal of a storage to which the source has
// led: of the address, whose signature may have ended. It says nothing of who asks, nor of what
// the source has. A HEAD's may be of the method, for which nothing was signed.
func (s *client) refusedByStorage(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return false
	}
	asked := resp.Request
	if asked == nil || asked.Method != http.MethodGet || Place(asked.URL) == Place(s.url) {
		return false
	}
	r, err := ParseRequest(asked.Method, asked.URL)
	return err != nil || r.Repo == "" // else it is another registry
}

// anew asks the source once more, for another address of what its storage has refused.
func (s *client) anew(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := s.follow(rt, req)
	if err == nil && s.refusedByStorage(resp) {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: its storage at %s refuses that, twice: %d", ErrRedirected, clip(resp.Request.URL.Host), resp.StatusCode)
	}
	return resp, err
}

// target is where a redirect leads. The source's own address is written as it is
// configured, whatever way the source writes it: what ends TLS before a registry is not
// known to it, and its redirects to itself are without.
func (s *client) target(from *url.URL, location string) (*url.URL, error) {
	next, err := from.Parse(location)
	if err != nil || location == "" || next.Host == "" || next.Scheme != "https" && next.Scheme != "http" {
		where, _, _ := strings.Cut(location, "?") // the rest may be a signature, which is a secret
		return nil, fmt.Errorf("it redirects to %q, which is no address to fetch from", clip(where))
	}
	own := s.own(next)
	if next.Scheme != own.Scheme && own.String() == from.String() {
		return nil, fmt.Errorf("it redirects to itself without TLS, to %q: nothing is sent there", clip(next.Scheme+"://"+next.Host))
	}
	return own, nil
}

// own writes an address of the source as the source's address is configured. It leaves any other.
func (s *client) own(u *url.URL) *url.URL {
	own := *u
	if own.Scheme == "http" && s.url.Scheme == "https" {
		if own.Scheme = s.url.Scheme; isUsual(u) {
			own.Host = strings.TrimSuffix(own.Host, ":"+own.Port())
		}
	}
	if Place(&own) != Place(s.url) && !(Front{own: s.names()}).Has(u) {
		return u
	}
	own.Scheme, own.Host = s.url.Scheme, s.url.Host
	return &own
}

// leadsOutOfTLS reports whether what was asked for by TLS may be fetched without it: blobs,
// which their digests prove, from where Harbor or the fleet file says that they are.
func (s *client) leadsOutOfTLS(first, next *url.URL) bool {
	_, kind, _ := CutPath(first.Path)
	return kind == KindBlob && (s.made.Trusted || s.named(next.Hostname()))
}

// named reports whether the configuration names a host, as a URL has it.
func (s *client) named(host string) bool {
	ip, err := netip.ParseAddr(Host(host))
	for _, d := range s.made.Redirects {
		if d.isHost(host) || err == nil && d.network.IsValid() && d.network.Contains(ip) {
			return true
		}
	}
	return false
}

// answersInside reports whether who answered is at a private address itself. Who is behind
// a proxy is where its URL says that it is.
func (s *client) answersInside(req *http.Request, from net.Addr) bool {
	if proxy, err := s.proxyOf(req); err != nil || proxy != nil {
		ip, err := netip.ParseAddr(Host(req.URL.Hostname()))
		return err == nil && isPrivate(ip)
	}
	at, ok := from.(*net.TCPAddr)
	return ok && isPrivate(at.AddrPort().Addr())
}

// located notes with each answer from which address it came.
type located struct{ inner http.RoundTripper }

type locationKey struct{}

// RoundTrip implements http.RoundTripper.
func (l located) RoundTrip(req *http.Request) (*http.Response, error) {
	var from net.Addr
	traced := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { from = c.Conn.RemoteAddr() }})
	resp, err := l.inner.RoundTrip(req.WithContext(traced))
	if err == nil {
		resp.Request = req.WithContext(context.WithValue(req.Context(), locationKey{}, from))
	}
	return resp, err
}

// answeredFrom is the address that an answer came from; nil: nobody has noted it.
func answeredFrom(resp *http.Response) net.Addr {
	if resp.Request == nil {
		return nil
	}
	from, _ := resp.Request.Context().Value(locationKey{}).(net.Addr)
	return from
}

func (s *client) refusedPrivate(address string) error {
	return fmt.Errorf("refused a redirect of %s to the private address %s: name it in the cache's redirects if it is the registry's storage", s.url.Host, address)
}

// keep has a pool of connections for redirects go where they may lead: a registry outside
// the fleet is not to choose what inside it the edge talks to. inside is for those that
// come from a private address. The proxy on the way may be inside; behind it only
// addresses can be judged, names are its own to resolve.
func (s *client) keep(t *http.Transport, inside bool) {
	var proxies sync.Map // by host:port
	proxyOf, direct := t.Proxy, t.DialContext
	t.Proxy = func(req *http.Request) (*url.URL, error) {
		proxy, err := proxyOf(req)
		if err != nil || proxy == nil {
			return proxy, err
		}
		host := req.URL.Hostname()
		if ip, ok := literal(host); ok && !s.admits(host, ip, inside) {
			return nil, s.refusedPrivate(host)
		}
		port := cmp.Or(PortOf(proxy), "1080")
		proxies.Store(net.JoinHostPort(proxy.Hostname(), port), true)
		return proxy, nil
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ok := proxies.Load(address); ok {
			return direct(ctx, network, address)
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return dialer(func(_, dialled string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(dialled)
			if err == nil && !s.admits(host, ap.Addr(), inside) {
				err = s.refusedPrivate(dialled)
			}
			return err
		}).DialContext(ctx, network, address)
	}
}
