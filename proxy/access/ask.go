package access

import (
	"context"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

// ask shows the client's credentials to the local Harbor, and remembers a yes.
// A no is never remembered: it costs the one who asks for it, nobody else.
func (c *Checker) ask(ctx context.Context, q Query) error {
	key := keyedHash(c.secret, q.Repos[0], q.Action, q.Authorization)
	now := c.cfg.Now()
	if until, ok := c.grants.Get(key); ok && now.Before(until) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	if err := c.askHarbor(ctx, q, http.MethodHead); err != nil {
		return err
	}
	c.grants.Add(key, now.Add(min(rememberFor, lifetime(q.Authorization, now))))
	project, _, _ := strings.Cut(q.Repos[0], "/")
	c.projects.get(ctx, project) // so that its memberships are known to be its own
	return nil
}

// nobodyHas is a digest without content. Asking for it in a repo costs Harbor
// its permission check and nothing else: a HEAD is not passed to an upstream.
const nobodyHas = digest.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000000")

// AskHarbor shows credentials to the local Harbor: may they pull from the repo? An
// error of code UNAVAILABLE says that it could not tell.
func (c *Checker) AskHarbor(ctx context.Context, repo, authorization string) error {
	return c.askHarbor(ctx, Query{Repos: []string{repo}, Action: "pull", Authorization: authorization}, http.MethodHead)
}

// askHarbor asks whether the credentials may pull from the repo. The answer is
// in how Harbor refuses: its 404 comes after its permission check. A 404 that is
// no registry's, as of an ingress whose Harbor is gone, permits nothing, nor does
// a page with status 200: there is no such content.
func (c *Checker) askHarbor(ctx context.Context, q Query, method string) error {
	r := registry.Request{Method: method, Kind: registry.KindBlob, Repo: q.Repos[0], Digest: nobodyHas}
	resp, err := c.cfg.Harbor.Do(ctx, r, http.Header{"Authorization": {q.Authorization}})
	if err != nil {
		return err
	}
	e := registry.ReadError(resp)
	switch {
	case e.Status == http.StatusNotFound && (e.Code != "" || method == http.MethodHead && isJSON(resp)):
		return nil
	case e.Status == http.StatusNotFound && method == http.MethodHead:
		return c.askHarbor(ctx, q, http.MethodGet) // the body says whose word it is
	case e.Status == http.StatusUnauthorized && len(registry.ParseChallenges(resp.Header.Values("WWW-Authenticate"))) > 0:
		if scheme, _, _ := strings.Cut(q.Authorization, " "); strings.EqualFold(scheme, "Basic") {
			refused := registry.Errorf(registry.CodeUnauthorized, "wrong user or password, or no permission to %s here", q.Action)
			refused.Challenge = `Basic realm="harbor"`
			return refused
		}
		return c.challenge(q, "insufficient_scope", "the token does not grant "+q.Action+" on this repo")
	case e.Status == http.StatusUnauthorized && method == http.MethodHead:
		return c.askHarbor(ctx, q, http.MethodGet) // an empty challenge: the body says which
	case e.Status == http.StatusForbidden:
		return registry.Errorf(registry.CodeDenied, "no permission to %s here", q.Action)
	}
	return MissingProject(e)
}

func isJSON(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
}
