package provision

import (
	"fmt"
	"net/http"
	"net/url"

	web "example.org/breakwater/registry" // a registry is something else here
)

// confined sends requests to one host alone, and none in clear text where that is reached
// over TLS: wherever answers lead, credentials, cookies and bodies stay there.
type confined struct {
	to    *url.URL
	inner http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c confined) RoundTrip(req *http.Request) (*http.Response, error) {
	if !c.within(req.URL) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, redirect{hostOf(req.URL)}
	}
	return c.inner.RoundTrip(req)
}

// within reports whether it is the same host, at the same port or at that of TLS.
func (c confined) within(u *url.URL) bool {
	if u.Scheme == c.to.Scheme {
		return web.Place(u) == web.Place(c.to)
	}
	return c.to.Scheme == "http" && u.Scheme == "https" && web.Host(u.Hostname()) == web.Host(c.to.Hostname()) &&
		web.PortOf(u) == "443" && web.PortOf(c.to) == "80"
}

// hostOf is an address without its path and query, which may be secrets.
func hostOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// redirect is an answer that leads elsewhere. None is followed: the other side would be
// told what is meant for the host of the fleet file.
type redirect struct{ to string }

func (r redirect) Error() string {
	return fmt.Sprintf("it answers with a redirect to %s, which is not followed: write the address that answers itself into the fleet file", r.to)
}

// redirected is an error where the answer is a redirect.
func redirected(resp *http.Response) error {
	if resp.StatusCode < 300 || resp.StatusCode >= 400 {
		return nil
	}
	to, err := resp.Location()
	if err != nil {
		return redirect{"nowhere"}
	}
	return redirect{hostOf(to)}
}

// unfollowed is the CheckRedirect of clients that follow none.
func unfollowed(req *http.Request, _ []*http.Request) error { return redirect{hostOf(req.URL)} }
