package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"example.org/breakwater/registry"
)

// passer hands a request to the local Harbor as it came: Host and cookies kept,
// bodies streamed both ways, upgrades let through. Where Harbor names its own
// URL in the answer, the client reads the one that it used.
type passer struct {
	name   string // in Cache-Status
	proxy  *httputil.ReverseProxy
	harbor *url.URL
}

type exchangeKey struct{}

func newPasser(harbor *registry.Source) *passer {
	p := &passer{name: "harbor", harbor: harbor.URL()}
	p.proxy = &httputil.ReverseProxy{
		Transport:      harbor.Transport(),
		FlushInterval:  -1,
		Rewrite:        p.rewrite,
		ModifyResponse: p.rewriteAnswer,
		ErrorHandler:   func(_ http.ResponseWriter, r *http.Request, err error) { keepError(r, err) },
	}
	return p
}

// rewrite addresses a request to Harbor, and says for whom it is.
func (p *passer) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL.Scheme, pr.Out.URL.Host = p.harbor.Scheme, p.harbor.Host
	pr.Out.Host = pr.In.Host
	if pr.In.TLS == nil { // what is before the edge has its place in the list
		pr.Out.Header["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
	}
	pr.Out.Header.Del(askedHeader)
	pr.SetXForwarded()
	scheme, _, _ := strings.Cut(baseURL(pr.In), ":")
	pr.Out.Header.Set("X-Forwarded-Proto", scheme)
	if x, ok := pr.In.Context().Value(exchangeKey{}).(*exchange); ok && x.req.Repo != "" {
		pr.Out.URL.Path, pr.Out.URL.RawPath = x.req.Path(), ""
	}
}

func keepError(r *http.Request, err error) {
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		x.err = err
	}
}

// serve passes the exchange's request on. The error is the client's answer: 503
// when Harbor did not answer at all.
func (p *passer) serve(x *exchange) error {
	x.cacheStatus("fwd=bypass", "detail="+p.name)
	x.w.Header().Del("Docker-Distribution-Api-Version") // Harbor's own is passed on
	ctx := contextWith(x)
	p.proxy.ServeHTTP(x.w, x.r.WithContext(ctx))
	if x.err == nil {
		return nil
	}
	e := registry.Errorf(registry.CodeUnavailable, "Harbor does not answer; try again")
	e.RetryAfter, e.Cause = unavailableFor, x.err
	return e
}

// rewriteAnswer turns Harbor's own URL into the client's, in Location, Link and
// the realm of challenges.
func (p *passer) rewriteAnswer(resp *http.Response) error {
	x, ok := resp.Request.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil
	}
	if x.answered != nil {
		if err := x.answered(resp); err != nil {
			return err
		}
	}
	client := baseURL(x.r)
	for _, name := range []string{"Location", "Link"} {
		for i, v := range resp.Header[name] {
			resp.Header[name][i] = p.ownURL(v, client)
		}
	}
	p.ownChallenge(resp.Header, x.r)
	return nil
}

// ownChallenge makes the realm of a challenge the client's own token service.
func (p *passer) ownChallenge(header http.Header, r *http.Request) {
	for i, v := range header["Www-Authenticate"] {
		for _, c := range registry.ParseChallenges([]string{v}) {
			u, err := url.Parse(c.Params["realm"])
			if err == nil && u.Path == tokenPath && (u.Host == r.Host || u.Host == p.harbor.Host) {
				c.Params["realm"] = baseURL(r) + u.Path
				header["Www-Authenticate"][i] = c.String()
			}
		}
	}
}

// ownURL replaces Harbor's address at the head of a URL (in Link, behind its
// angle bracket) by the client's. Harbor writes the Host that it was asked for,
// but its own idea of the scheme.
func (p *passer) ownURL(v, client string) string {
	bracket := ""
	if strings.HasPrefix(v, "<") {
		bracket, v = "<", v[1:]
	}
	_, host, _ := strings.Cut(client, "://")
	for _, own := range []string{p.harbor.String(), "http://" + host, "https://" + host} {
		if rest, ok := strings.CutPrefix(v, own); ok && (rest == "" || strings.ContainsAny(rest[:1], "/?#>")) {
			return bracket + client + rest
		}
	}
	return bracket + v
}
