package pass

import (
	"net/http"
	"strings"

	"example.org/breakwater/registry"
)

// ClientURL is the scheme and host under which the client reached the edge. An edge
// without TLS believes what terminates it before the edge; a client that says so
// itself misleads nobody but itself.
func ClientURL(r *http.Request) string {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// rewriteAnswer turns Harbor's own URL into the client's, in Location, Link and the
// realm of challenges.
func (p *Proxy) rewriteAnswer(resp *http.Response, in *http.Request) {
	client := ClientURL(in)
	for _, name := range []string{"Location", "Link"} {
		for i, v := range resp.Header[name] {
			resp.Header[name][i] = p.ownURL(v, client)
		}
	}
	p.OwnChallenge(resp.Header, in)
}

// OwnChallenge makes the realm of a challenge in an answer's header, where it is at Harbor's own
// address, one that the client who sent in reaches through the edge.
func (p *Proxy) OwnChallenge(header http.Header, in *http.Request) {
	if values := header["Www-Authenticate"]; len(values) > 0 {
		header["Www-Authenticate"] = registry.Rewrite(values, func(c *registry.Challenge) bool { return c.Readdress(p.Address, ClientURL(in)) })
	}
}

// ownURL replaces Harbor's address at the head of a URL (in Link, behind its angle
// bracket) by the client's. Harbor writes the Host that it was asked for, but its own
// idea of the scheme.
func (p *Proxy) ownURL(v, client string) string {
	bracket := ""
	if strings.HasPrefix(v, "<") {
		bracket, v = "<", v[1:]
	}
	_, host, _ := strings.Cut(client, "://")
	for _, own := range []string{p.Address.String(), "http://" + host, "https://" + host} {
		if rest, ok := strings.CutPrefix(v, own); ok && (rest == "" || strings.ContainsAny(rest[:1], "/?#>")) {
			return bracket + client + rest
		}
	}
	return bracket + v
}
