// Package pass hands requests to a Harbor as they came, and its answers back: bodies
// are streamed both ways, and where an answer names Harbor's own address, the client
// reads the one that it used.
package pass

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httputil"
	"strings"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// Proxy hands requests to one Harbor.
type Proxy struct {
	Name       string                // of the source, in Cache-Status
	Challenged func(values []string) // is told Harbor's challenges as they came; nil: nobody is
	source     *registry.Source
	proxy      *httputil.ReverseProxy
}

// Call is one request on its way through a Proxy.
type Call struct {
	Path     string                     // in place of the request's; "": the request's own
	Answered func(*http.Response) error // is given the answer before the client has it; an error keeps it from the client. nil: nothing

	in  *http.Request // the client's
	err error
}

type callKey struct{}

func callOf(r *http.Request) *Call {
	call, _ := r.Context().Value(callKey{}).(*Call)
	return call
}

// ToHarbor returns a Proxy to the local Harbor. Host and cookies are kept, and
// upgrades are let through.
func ToHarbor(name string, harbor *registry.Source) *Proxy {
	p := &Proxy{Name: name, source: harbor}
	return p.over(harbor, p.Rewrite, p.rewriteAnswer)
}

// ToPeer returns a Proxy to another datacenter's Harbor, through its edge. authorize
// shows the edge who asks; Harbor is shown the client's own credentials. location
// makes a Location of the peer's the client's.
func ToPeer(name string, edge *registry.Source, authorize func(http.Header) error, location func(location, client string) string) *Proxy {
	p := &Proxy{Name: name, source: edge}
	rewrite := func(pr *httputil.ProxyRequest) {
		p.address(pr.Out)
		pr.Out.Host = ""
		pr.Out.URL.Path, pr.Out.URL.RawPath = peer.Path+callOf(pr.In).Path, ""
		for _, name := range []string{"Cookie", "Authorization", peer.PreviousHeader, peer.ClientHeader} {
			pr.Out.Header.Del(name)
		}
		authorize(pr.Out.Header) //nolint:errcheck // without it the peer refuses, and says so
		if own := pr.In.Header.Get("Authorization"); own != "" {
			pr.Out.Header.Set(peer.ClientHeader, own)
		}
	}
	return p.over(edge.Transport(), rewrite, func(resp *http.Response, in *http.Request) {
		resp.Header.Del("Cache-Status") // it is this edge's to say
		if at := resp.Header.Get("Location"); at != "" {
			resp.Header.Set("Location", location(at, ClientURL(in)))
		}
		p.OwnChallenge(resp.Header, in)
	})
}

// over makes the reverse proxy. answer rewrites what the client, who sent in, reads.
func (p *Proxy) over(transport http.RoundTripper, rewrite func(*httputil.ProxyRequest), answer func(_ *http.Response, in *http.Request)) *Proxy {
	p.proxy = &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			rewrite(pr)
			// Else what is refused before it was sent would be sent all the same, so that the
			// connection may be used again.
			pr.Out.Close = pr.In.Header.Get("Expect") != ""
			if pr.Out.Body != nil && pr.Out.ContentLength > 0 {
				pr.Out.Body = &exactly{pr.Out.Body, pr.Out.ContentLength}
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			call := callOf(resp.Request)
			if call.Answered != nil {
				if err := call.Answered(resp); err != nil {
					return err
				}
			}
			answer(resp, call.in)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) { callOf(r).err = err },
	}
	return p
}

// Serve passes a request on, and its answer to w. The error is an answer for the
// client: 503 when Harbor did not answer at all, or call.Answered kept the answer.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, call Call) error {
	call.in = r
	w.Header().Set("Cache-Status", "breakwater; fwd=bypass; detail="+p.Name)
	w.Header().Del("Docker-Distribution-Api-Version") // Harbor's own is passed on
	p.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, &call)))
	if call.err == nil {
		return nil
	}
	e := registry.Errorf(registry.CodeUnavailable, "Harbor does not answer; try again")
	e.RetryAfter, e.Cause = outcome.RetryAfter, call.err
	return e
}

// Try is Serve of an answer that is a success and passes the test. Where there is none it
// returns false, and w is as it was. A nil test passes everything.
func (p *Proxy) Try(w http.ResponseWriter, r *http.Request, path string, test func(*http.Response) bool) bool {
	before, readable := w.Header().Clone(), *r
	if test != nil {
		readable.Header = r.Header.Clone()
		readable.Header.Set("Accept-Encoding", "identity")
	}
	err := p.Serve(w, &readable, Call{Path: path, Answered: func(resp *http.Response) error {
		if resp.StatusCode >= http.StatusBadRequest || test != nil && !test(resp) {
			return errors.New(resp.Status)
		}
		return nil
	}})
	if err != nil {
		clear(w.Header())
		maps.Copy(w.Header(), before)
	}
	return err == nil
}

func (p *Proxy) address(out *http.Request) {
	at := p.source.URL()
	out.URL.Scheme, out.URL.Host = at.Scheme, at.Host
}

// Rewrite addresses a request to Harbor, and says for whom it is.
func (p *Proxy) Rewrite(pr *httputil.ProxyRequest) {
	p.address(pr.Out)
	pr.Out.Host = pr.In.Host
	if pr.In.TLS == nil { // the proxy that terminates TLS before the edge has written the list so far
		pr.Out.Header["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
	}
	for _, name := range []string{peer.AskedHeader, peer.PreviousHeader, peer.ClientHeader, peer.PushHeader, peer.RecordHeader} { // they are between edges
		pr.Out.Header.Del(name)
	}
	pr.SetXForwarded()
	scheme, _, _ := strings.Cut(ClientURL(pr.In), ":")
	pr.Out.Header.Set("X-Forwarded-Proto", scheme)
	pr.Out.Header.Del("X-Forwarded-Port") // Harbor is told the Host of the request, with its port
	if call := callOf(pr.In); call != nil && call.Path != "" {
		pr.Out.URL.Path, pr.Out.URL.RawPath = call.Path, ""
	}
}
