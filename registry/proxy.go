package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// behindProxy tells what the proxy on the way says from what the registry says: a proxy that
// wants another login says nothing about a registry.
type behindProxy struct {
	http.RoundTripper
	of func(*http.Request) (*url.URL, error) // the proxy on the way to a host; nil: there is none
}

// RoundTrip implements http.RoundTripper.
func (b behindProxy) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusProxyAuthRequired || b.of == nil {
		return resp, err
	}
	proxy, err := b.of(req)
	if err != nil || proxy == nil {
		return resp, nil
	}
	resp.Body.Close()
	return nil, refusedLogin(proxy)
}

// refusedByProxy is an http.Transport's OnProxyConnectResponse.
func refusedByProxy(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusProxyAuthRequired:
		return refusedLogin(proxy)
	}
	return fmt.Errorf("the proxy %s answers %s", proxy.Host, resp.Status)
}

// refusedLogin names the proxy, and not what it was shown.
func refusedLogin(proxy *url.URL) error {
	if proxy.User == nil {
		return fmt.Errorf("the proxy %s wants a login (407): give it in the environment, as HTTPS_PROXY=http://name:password@%[1]s", proxy.Host)
	}
	return fmt.Errorf("the proxy %s does not take the login of %q (407): see the URL of the proxy", proxy.Host, proxy.User.Username())
}
