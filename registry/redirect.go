package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
)

const maxRedirects = 5

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
