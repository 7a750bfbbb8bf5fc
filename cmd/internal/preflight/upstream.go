package preflight

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/ecr"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/registry"
)

// asked reports whether the edge has a way of its own there.
func (u upstreamOf) asked() bool {
	_, _, account := u.ECR()
	return u.Provider != fleet.AWS || account && !u.Password.IsZero()
}

// tokenOf gets what a registry of Amazon's takes for a login with an account's keys. ok is
// false where there is none; why is said.
func (u upstreamOf) tokenOf(ctx context.Context, r *results, c *client, key, secret string) (username, password string, ok bool) {
	api, region, _ := u.ECR()
	username, password, _, err := ecr.Account{API: api, Region: region, AccessKey: key, SecretKey: secret}.Login(ctx, c.http.Transport)
	switch {
	case errors.Is(err, ecr.ErrRefused):
		r.fault("login", u.field+".password", fmt.Sprintf("%s refuses the access key: %s", api, oneLine(err)), "make a new one, of an account that may call ecr:GetAuthorizationToken, and write it and its secret key for username and password")
	case err != nil:
		noAnswer(ctx, r, u.field+".endpoint", api, u.field+".ca", err)
	}
	return username, password, err == nil
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
	if u.Provider == fleet.AWS && hasName && hasPassword {
		var ok bool
		if username, password, ok = u.tokenOf(ctx, r, c, username, password); !ok {
			return
		}
	}
	if !hasName || !hasPassword {
		r.say("%s answers; it is asked anonymously", address)
	} else if !m.tryLogin(ctx, r, c.as(username, password), field, address, a) {
		return
	}
	m.tryRate(ctx, r, c, u, username, password)
}

// tryLogin shows the credentials as the registry's challenge wants them.
func (m *machine) tryLogin(ctx context.Context, r *results, as *client, field, address string, asked *answer) bool {
	challenges := registry.ParseChallenges(asked.header.Values("Www-Authenticate"))
	at := slices.IndexFunc(challenges, func(c registry.Challenge) bool { return strings.EqualFold(c.Scheme, "Bearer") })
	where, query := address+"/v2/", url.Values(nil)
	if at >= 0 {
		params := challenges[at].Params
		realm, err := url.Parse(params["realm"])
		own, _ := url.Parse(address)
		if err != nil || !registry.SameDomain(realm.Hostname(), own.Hostname()) || own.Scheme == "https" && realm.Scheme != "https" {
			r.warn("realm", field+".endpoint", fmt.Sprintf("%s sends those who log in to %q, which is not of its own domain: the edge sends credentials nowhere else", address, params["realm"]), "let Harbor alone fetch from there, or write the registry's own address")
			return false
		}
		where, query = params["realm"], url.Values{"service": {params["service"]}}
		if scope := params["scope"]; scope != "" {
			query.Set("scope", scope)
		}
	}
	a, err := as.get(ctx, where, query)
	switch {
	case err != nil:
		noAnswer(ctx, r, field+".endpoint", address, field+".ca", err)
		return false
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		r.fault("login", field+".password", fmt.Sprintf("%s refuses %s: the password or token is another one, or has ended", address, as.username), "make a new one there, and write it where "+field+".password leads to")
		return false
	case a.status != http.StatusOK:
		r.warn("unknown", field+".password", fmt.Sprintf("%s answers %d to a login, which says nothing", address, a.status), "see whether pulls work")
		return false
	}
	r.say("%s accepts %s", address, as.username)
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
