package fetch

import (
	"context"
	"errors"
	"net/http"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// errUnproven is of a blob that a source says it has, when its word is no proof.
var errUnproven = errors.New("only the bytes themselves prove that the repo holds the blob")

// believes reports whether a source's 200 for a blob is enough to serve what the
// store holds of it. A Harbor's own projects and other edges' are the fleet's. Behind
// a cache is a registry that may say 200 to any digest: it is believed only of what
// came through the same project before.
func (f *Fetcher) believes(s source.Step, req registry.Request) bool {
	return s.Namespace.Kind != namespace.Cache || f.Access.ProjectHolds(req.Project(), req.Digest)
}

// proveMember asks whether the repo holds the blob that is already in the store, at
// the price of one byte.
func (f *Fetcher) proveMember(ctx context.Context, q Question) error {
	var all []source.Refusal
	stages, _ := source.Stages(f.Routes.ForBlobs(q.Request.Repo, q.Route(f.Routes)), true)
	for _, stage := range stages {
		for _, s := range stage {
			err := f.proveAt(ctx, q, s)
			if err == nil {
				f.Access.Join(q.Request.Repo, q.Request.Digest)
				return nil
			}
			if errors.Is(err, errUnproven) || source.Final(q.Namespace, err) || ctx.Err() != nil {
				return err
			}
			all = append(all, source.Refusal{Step: s, Err: err})
		}
	}
	return source.Verdict(all)
}

// proveAt asks one source. A HEAD at Harbor is passed to nobody behind it: it is 404
// for what a proxy cache does not hold itself.
func (f *Fetcher) proveAt(ctx context.Context, q Question, s source.Step) error {
	req, header := s.Under(q.Request), s.Header(q.Authorization)
	for _, method := range []string{http.MethodHead, http.MethodGet} { // a refused HEAD does not say why
		req.Method = method
		if method == http.MethodGet {
			header.Set("Range", "bytes=0-0")
		}
		resp, err := s.Do(ctx, req, header, f.Deadline)
		if err == nil && source.IsPage(resp) { // nothing of its body is looked at here
			resp.Body.Close()
			err = outcome.DontKnow(source.ErrPage)
		}
		if errors.Is(err, source.ErrPage) && s.Kind == source.Upstream && q.Request.Method == http.MethodGet { // it may be a blob that it calls so
			return errUnproven
		}
		if err != nil {
			return err
		}
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
			resp.Body.Close()
			if f.believes(s, q.Request) || method == http.MethodHead && s.Kind == source.Harbor {
				return nil
			}
			return errUnproven
		}
		if method == http.MethodGet {
			return s.Meaning(registry.ReadError(resp))
		}
		resp.Body.Close()
	}
	return nil
}
