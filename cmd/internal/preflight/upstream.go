package preflight

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/registry"
)

// asked reports whether the edge has a way of its own there.
func (u upstreamOf) asked() bool {
	_, _, account := u.ECR()
	return u.Provider != fleet.AWS || account && !u.Password.IsZero()
}

// tryUpstream asks the registry that a cache is of, as its edge would.
func (m *machine) tryUpstream(ctx context.Context, r *results, u upstreamOf) {
	field, address := u.field, wire.UpstreamAddress(u.Cache)
	c := newClient(m, nil, u.CA)
	if proxy, err := url.Parse(string(u.Proxy)); u.Proxy != "" && err == nil {
		c.http.Transport.(*http.Transport).Proxy = http.ProxyURL(proxy)
	}
	a, err := c.get(ctx, address+"/v2/", nil)
	if err != nil {
		noAnswer(ctx, r, field+".endpoint", address, field+".ca", err)
		return
	}
	if a.status != http.StatusOK && a.status != http.StatusUnauthorized {
		r.warn("unknown", field+".endpoint", fmt.Sprintf("%s answers %d to /v2/, as no registry does", address, a.status), "write the registry's address, with the path below which it is")
		return
	}
	username, hasName := m.text(ctx, u.Username)
	password, hasPassword := m.secret(ctx, u.Password)
	if !hasName || !hasPassword {
		r.say("%s answers; it is asked anonymously", address)
	} else if !m.tryLogin(ctx, r, c, u, username, password) {
		return
	}
	m.tryRate(ctx, r, c, u, username, password)
}

// tryLogin shows the credentials as the edge does.
func (m *machine) tryLogin(ctx context.Context, r *results, c *client, u upstreamOf, username, password string) bool {
	field, address := u.field, wire.UpstreamAddress(u.Cache)
	cfg := registry.SourceConfig{URL: address, Proxy: string(u.Proxy), TLS: c.http.Transport.(*http.Transport).TLSClientConfig,
		Realms: u.Realms, Header: http.Header{"User-Agent": {"breakwater/" + daemon.Version()}}}
	err := wire.LogIn(&cfg, u.Cache, username, password)
	var source *registry.Source
	if err == nil {
		source, err = registry.NewSource(cfg)
	}
	if err != nil {
		r.warn("unknown", field+".endpoint", oneLine(err), "write the registry's address")
		return false
	}
	defer source.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	switch err := source.TryLogin(ctx); {
	case errors.Is(err, registry.ErrElsewhere):
		r.warn("realm", field+".realms", fmt.Sprintf("%s sends those who log in to a token service that is not of its own domain, or out of TLS: the edge shows it no login, and gets what everybody gets", address), "name that host in "+field+".realms if it may see the login, or let Harbor alone fetch from there")
		return false
	case errors.Is(err, registry.ErrCredentials) && u.Provider == fleet.AWS:
		r.fault("login", field+".password", fmt.Sprintf("%s gives no token for the access key: %s", address, oneLine(err)), "make another key, of an account that may call ecr:GetAuthorizationToken, and write it and its secret key for username and password")
		return false
	case errors.Is(err, registry.ErrCredentials):
		r.fault("login", field+".password", fmt.Sprintf("%s refuses %s: the password or token is another one, or has ended", address, username), "make a new one there, and write it where "+field+".password leads to")
		return false
	case err != nil:
		r.warn("unknown", field+".password", fmt.Sprintf("%s says nothing of a login: %s", address, oneLine(err)), "see whether pulls work")
		return false
	}
	r.say("%s accepts %s", address, username)
	return true
}

// tryRate asks Docker Hub how many pulls are left. The question costs none.
func (m *machine) tryRate(ctx context.Context, r *results, c *client, u upstreamOf, username, password string) {
	address := wire.UpstreamAddress(u.Cache)
	if u.Provider != fleet.DockerHub || !strings.HasSuffix(address, ".docker.io") {
		return
	}
	as := c
	if password != "" {
		as = c.as(username, password)
	}
	a, err := as.get(ctx, "https://auth.docker.io/token", url.Values{"service": {"registry.docker.io"}, "scope": {"repository:ratelimitpreview/test:pull"}})
	var body struct{ Token string }
	if err != nil || json.Unmarshal(a.body, &body) != nil || body.Token == "" {
		return
	}
	left := *c
	left.bearer, left.method = body.Token, http.MethodHead
	if a, err = left.get(ctx, address+"/v2/ratelimitpreview/test/manifests/latest", nil); err != nil {
		return
	}
	remaining, _, _ := strings.Cut(a.header.Get("Ratelimit-Remaining"), ";")
	limit, _, _ := strings.Cut(a.header.Get("Ratelimit-Limit"), ";")
	switch {
	case a.status == http.StatusTooManyRequests || remaining == "0":
		r.warn("rate", u.field, "Docker Hub lets this address pull no more for now", "wait some hours, or set username and password of an account with a higher limit")
	case remaining != "":
		r.say("%s of %s pulls are left", remaining, limit)
	}
}
