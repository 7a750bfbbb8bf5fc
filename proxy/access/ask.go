package access

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// ask asks the local Harbor whether the client's credentials permit the action, and
// remembers a yes. It does not remember a no, so that a permission that is granted later
// counts at once. A client with wrong credentials costs itself the requests only.
func (c *Checker) ask(ctx context.Context, q Query) error {
	now := c.cfg.Now()
	if _, _, ok := c.saidYes(q, now); ok {
		c.Look(ctx, q.Repos[0]) // it counts for one project
		if key, y, ok := c.saidYes(q, now); ok {
			return c.stillYes(ctx, q, key, y)
		}
	}
	return c.askNow(ctx, q, now)
}

// nobodyHas is the digest of no content. A HEAD of it in a repo makes Harbor check the
// permission and do nothing else: Harbor does not pass a HEAD on to an upstream.
const nobodyHas = digest.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000000")

// AskHarbor asks the local Harbor whether the credentials permit a pull from the repo. An
// error with the code UNAVAILABLE says that Harbor could not decide.
func (c *Checker) AskHarbor(ctx context.Context, repo, authorization string) error {
	return c.askHarbor(ctx, Query{Repos: []string{repo}, Action: "pull", Authorization: authorization}, http.MethodHead)
}

// askHarbor asks the local Harbor for a blob that no repo holds. Harbor checks the
// permission first, so its 404 means yes. A 404 without a registry's error, as an ingress
// sends it when its Harbor is gone, permits nothing. Neither does a 200, because no such
// blob exists.
func (c *Checker) askHarbor(ctx context.Context, q Query, method string) error {
	r := registry.Request{Method: method, Kind: registry.KindBlob, Repo: q.Repos[0], Digest: nobodyHas}
	resp, err := c.send(ctx, r, q.Authorization)
	if err != nil {
		return err
	}
	e := registry.ReadError(resp)
	challenges := resp.Header.Values("WWW-Authenticate")
	switch {
	case e.Status == http.StatusNotFound && (e.Code != "" || method == http.MethodHead && registry.IsJSON(resp)):
		return nil
	case method == http.MethodHead && slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}, e.Status):
		return c.askHarbor(ctx, q, http.MethodGet) // only a body shows whether Harbor sent the 404
	case e.Status == http.StatusUnauthorized && len(registry.ParseChallenges(challenges)) > 0:
		if c.Plain(ctx) {
			return c.ownChallenge(q, challenges)
		}
		if scheme, _, _ := strings.Cut(q.Authorization, " "); strings.EqualFold(scheme, "Basic") {
			refused := registry.Errorf(registry.CodeUnauthorized, "wrong user or password, or no permission to %s here", q.Action)
			refused.Challenge = `Basic realm="harbor"`
			return refused
		}
		return c.challenge(q, "insufficient_scope", "the token does not grant "+q.Action+" on this repo")
	case e.Status == http.StatusUnauthorized && method == http.MethodHead:
		return c.askHarbor(ctx, q, http.MethodGet) // an empty challenge: the body says whether the project is missing
	case e.Status == http.StatusForbidden:
		return registry.Errorf(registry.CodeDenied, "no permission to %s here", q.Action)
	}
	return outcome.MissingProject(e)
}

// send asks with the client's credentials, and with none where it has none.
func (c *Checker) send(ctx context.Context, r registry.Request, authorization string) (*http.Response, error) {
	if authorization != "" {
		return c.cfg.Harbor.Do(ctx, r, http.Header{"Authorization": {authorization}})
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.cfg.Harbor.URL().String()+r.Path(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.cfg.Harbor.Transport().RoundTrip(req)
	if err != nil {
		e := registry.Errorf(registry.CodeUnavailable, "the registry does not answer; try again")
		e.RetryAfter, e.Cause = outcome.RetryAfter, err
		return nil, e
	}
	return resp, nil
}

// ownChallenge returns a 401 with the challenges of a plain registry, as they are for the
// query: its token service is where it says, or through the edge where that is at its own address.
func (c *Checker) ownChallenge(q Query, challenges []string) *registry.Error {
	e := registry.Errorf(registry.CodeUnauthorized, "log in with an account that may %s here", q.Action)
	c.Challenged(challenges)
	front := c.cfg.Harbor.Front(q.BaseURL)
	e.Challenge = strings.Join(registry.Rewrite(challenges, func(challenge *registry.Challenge) bool {
		changed := front.Readdress(challenge)
		if q.Scope == "" || !strings.EqualFold(challenge.Scheme, "Bearer") {
			return changed
		}
		challenge.Params["scope"] = q.Scope
		return true
	}), "\n")
	return e
}
