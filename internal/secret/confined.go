package secret

import (
	"fmt"
	"net/http"
	"net/url"

	"example.org/breakwater/registry"
)

// confined lets requests go to the fleet file's Vault alone. Vault's client follows a
// redirect with its token, or with what logs in, wherever it leads: a standby's to the
// active node, and anybody else's. Within the same scheme, host and port that is all right.
type confined struct {
	to    *url.URL
	inner http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c confined) RoundTrip(req *http.Request) (*http.Response, error) {
	if !c.within(req.URL) {
		return nil, elsewhere{req.URL.Scheme + "://" + req.URL.Host}
	}
	resp, err := c.inner.RoundTrip(req)
	if err != nil || resp.StatusCode < 300 || resp.StatusCode >= 400 {
		return resp, err
	}
	to, err := resp.Location()
	if err != nil || c.within(to) {
		return resp, nil
	}
	resp.Body.Close()
	return nil, elsewhere{to.Scheme + "://" + to.Host}
}

func (c confined) within(u *url.URL) bool {
	return u.Scheme == c.to.Scheme && registry.Place(u) == registry.Place(c.to)
}

// elsewhere is a redirect to another host, which is told nothing.
type elsewhere struct{ to string }

func (e elsewhere) Error() string {
	return fmt.Sprintf("it answers with a redirect to %s, which is told no token: write that address, or one that leads to the active node, as secrets.vault.address", e.to)
}
