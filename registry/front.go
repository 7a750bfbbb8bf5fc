package registry

import (
	"net/url"
	"strings"
)

// Front is where a client finds a registry that is behind another address: the address that the
// client uses, and all by which the registry may name itself, those by which the fleet's clients
// know it among them.
type Front struct {
	client string     // scheme and host
	own    []*url.URL // scheme and host
}

// Front is the source's for a client that uses an address (scheme and host). hosts are others
// by which the source is asked for that client.
func (s *Source) Front(client string, hosts ...string) Front {
	c := s.client.Load()
	f := Front{client, append(c.names(), c.url)}
	for _, host := range hosts {
		f.own = append(f.own, &url.URL{Scheme: c.url.Scheme, Host: host})
	}
	if used, err := url.Parse(client); err == nil {
		f.own = append(f.own, used)
	}
	return f
}

// names are the addresses by which clients know the source.
func (s *client) names() (all []*url.URL) {
	for _, host := range s.made.Names {
		all = append(all, &url.URL{Scheme: "https", Host: host})
	}
	return all
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

// HasService reports whether a URL is that of the registry's own token service. Of Harbor's the
// port does not tell: what is before Harbor may write its own.
func (f Front) HasService(u *url.URL) bool { return f.Has(u) || u.Path == TokenPath && f.HasHost(u) }

// Readdress makes a realm that is the registry's own token service one at the client's address.
// It reports whether it did.
func (f Front) Readdress(c *Challenge) bool {
	u, ok := c.Realm()
	if !ok || !f.HasService(u) {
		return false
	}
	u.Scheme, u.Host, _ = strings.Cut(f.client, "://")
	c.Params["realm"] = u.String()
	return true
}
