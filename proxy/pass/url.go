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
	if values := resp.Header["Www-Authenticate"]; p.Challenged != nil && len(values) > 0 {
		p.Challenged(values)
	}
	p.OwnChallenge(resp.Header, in)
}

// links are the URLs of a Link header.
var links = regexp.MustCompile(`<[^<>]*>`)

// OwnChallenge makes the realm of a challenge in an answer's header, where it is at Harbor's own
// address, one that the client who sent in reaches through the edge.
func (p *Proxy) OwnChallenge(header http.Header, in *http.Request) {
	if values := header["Www-Authenticate"]; len(values) > 0 {
		header["Www-Authenticate"] = registry.Rewrite(values, p.front(in).Readdress)
	}
}

// front is where the client who sent in finds Harbor, which is asked by the Host of the request.
func (p *Proxy) front(in *http.Request) registry.Front { return p.source.Front(ClientURL(in), in.Host) }

// clients replaces Harbor's address in a URL by the client's. Harbor writes the Host that
// it was asked for, but its own idea of the scheme; its nginx, which only puts a slash
// behind a path, its own scheme and port.
func (p *Proxy) clients(v string, in *http.Request) string {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Scheme == "" && !strings.HasPrefix(v, "//") {
		return v
	}
	own := p.front(in)
	slashed := own.HasHost(u) && strings.TrimRight(u.Path, "/") == strings.TrimRight(in.URL.Path, "/")
	if !slashed && !own.Has(u) {
		return v
	}
	_, rest, _ := strings.Cut(v, "//")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		return ClientURL(in) + rest[end:]
	}
	return ClientURL(in)
}
