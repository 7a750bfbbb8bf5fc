package registry

import (
	"net/url"
	"strings"
)

// Front is where a client finds a registry that is behind another address: the address that the
// client uses, and all by which the registry may name itself.
type Front struct {
	client string     // scheme and host
	own    []*url.URL // scheme and host
}

// Front is the source's for a client that uses an address (scheme and host). hosts are others
// by which the source is asked for that client.
func (s *Source) Front(client string, hosts ...string) Front {
	own := s.URL()
	f := Front{client, []*url.URL{own}}
	for _, host := range hosts {
		f.own = append(f.own, &url.URL{Scheme: own.Scheme, Host: host})
	}
	if used, err := url.Parse(client); err == nil {
		f.own = append(f.own, used)
	}
	return f
}

// Has reports whether a URL leads to the registry. Its scheme does not tell: a port that is the
// scheme's own counts as the other scheme's.
func (f Front) Has(u *url.URL) bool {
	for _, own := range f.own {
		port := PortOf(u) == PortOf(own) || isUsual(u) && isUsual(own)
		if port && Host(u.Hostname()) == Host(own.Hostname()) {
			return true
		}
	}
	return false
}

// HasHost reports whether a URL leads to the registry's machine, whatever its port is.
func (f Front) HasHost(u *url.URL) bool {
	for _, own := range f.own {
		if Host(u.Hostname()) == Host(own.Hostname()) {
			return true
		}
	}
	return false
}

// isUsual reports whether a URL's port is its scheme's own.
func isUsual(u *url.URL) bool { return PortOf(u) == PortOf(&url.URL{Scheme: u.Scheme}) }

// Realm returns the realm of a challenge where that is the registry's own token service. Of
// Harbor's the port does not tell: what is before Harbor may write its own.
func (f Front) Realm(c Challenge) (own *url.URL, ok bool) {
	u, err := url.Parse(c.Params["realm"])
	ok = err == nil && strings.EqualFold(c.Scheme, schemeBearer) && u.Host != "" && (f.Has(u) || u.Path == TokenPath && f.HasHost(u))
	return u, ok
}

// Readdress makes the registry's own realm one at the client's address. It reports whether it did.
func (f Front) Readdress(c *Challenge) bool {
	u, ok := f.Realm(*c)
	if !ok {
		return false
	}
	u.Scheme, u.Host, _ = strings.Cut(f.client, "://")
	c.Params["realm"] = u.String()
	return true
}
