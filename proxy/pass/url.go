package pass

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"example.org/breakwater/registry"
)

// rewriteAnswer turns Harbor's own URL into the client's, in Location, Link and the
// realm of challenges.
func (p *Proxy) rewriteAnswer(resp *http.Response, in *http.Request) {
	for i, v := range resp.Header["Location"] {
		resp.Header["Location"][i] = p.clients(v, in)
	}
	for i, v := range resp.Header["Link"] {
		resp.Header["Link"][i] = links.ReplaceAllStringFunc(v, func(link string) string { return "<" + p.clients(link[1:len(link)-1], in) + ">" })
	}
	p.OwnChallenge(resp.Header, in)
}

// links are the URLs of a Link header.
var links = regexp.MustCompile(`<[^<>]*>`)

// OwnChallenge makes the realm of a challenge in an answer's header, where it is at Harbor's own
// address, one that the client who sent in reaches through the edge.
func (p *Proxy) OwnChallenge(header http.Header, in *http.Request) {
	own := p.own(in)
	if values := header["Www-Authenticate"]; len(values) > 0 {
		header["Www-Authenticate"] = registry.Rewrite(values, func(c *registry.Challenge) bool {
			return c.Readdress(ClientURL(in), func(u *url.URL) bool { return own.is(u) || u.Path == TokenPath && own.at(u) })
		})
	}
}

// clients replaces Harbor's address in a URL by the client's. Harbor writes the Host that
// it was asked for, but its own idea of the scheme; its nginx, which only puts a slash
// behind a path, its own scheme and port.
func (p *Proxy) clients(v string, in *http.Request) string {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Scheme == "" && !strings.HasPrefix(v, "//") {
		return v
	}
	own := p.own(in)
	slashed := own.at(u) && strings.TrimRight(u.Path, "/") == strings.TrimRight(in.URL.Path, "/")
	if !slashed && !own.is(u) {
		return v
	}
	_, rest, _ := strings.Cut(v, "//")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		return ClientURL(in) + rest[end:]
	}
	return ClientURL(in)
}

// addresses are one server's, by several names.
type addresses []*url.URL

// own are Harbor's address, and those that the client and whoever is before the edge have used.
func (p *Proxy) own(in *http.Request) addresses {
	own := addresses{p.Address, {Scheme: p.Address.Scheme, Host: in.Host}}
	if client, err := url.Parse(ClientURL(in)); err == nil {
		own = append(own, client)
	}
	return own
}

// at reports whether a URL leads to the machine, whatever its port is.
func (a addresses) at(u *url.URL) bool {
	for _, own := range a {
		if registry.Host(u.Hostname()) == registry.Host(own.Hostname()) {
			return true
		}
	}
	return false
}

// is reports whether a URL leads to the server. Its scheme does not tell: a port that is the
// scheme's own counts as the other scheme's.
func (a addresses) is(u *url.URL) bool {
	for _, own := range a {
		port := registry.PortOf(u) == registry.PortOf(own) || usual(u) && usual(own)
		if port && registry.Host(u.Hostname()) == registry.Host(own.Hostname()) {
			return true
		}
	}
	return false
}

// usual reports whether a URL's port is its scheme's own.
func usual(u *url.URL) bool { return registry.PortOf(u) == registry.PortOf(&url.URL{Scheme: u.Scheme}) }
