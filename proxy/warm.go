package proxy

import (
	"cmp"
	"context"
	"errors"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/preheat"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/proxy/warm"
	"example.org/breakwater/registry"
)

// newWarmer makes what brings content before it is asked for.
func (h *Handler) newWarmer() {
	h.warm = warm.New(warm.Config{Datacenter: h.cfg.Datacenter, Namespaces: h.namespaces, Sets: func() []warm.Set { return h.live.Load().Warm }, Peers: h.routes.Peers,
		Fetch: h.fetch, Lists: h.lists, Resolve: h.resolve, Deadline: h.cfg.Deadline, Pace: h.cfg.Pace, Log: h.cfg.Log, Metrics: h.cfg.Metrics, Now: h.cfg.Now})
	h.preheat = &preheat.Handler{Secrets: func() []string { return h.live.Load().PreheatSecrets }, Full: func(err error) bool { return errors.Is(err, warm.ErrFull) },
		Queue: func(repo, reference string) error {
			_, err := h.warm.Add(warm.Preheat, warm.Image{Repo: repo, Reference: reference})
			return err
		}}
}

// resolve finds out what a reference is now, and remembers it, as if a client had asked. anew: what
// is remembered may be old, however fresh it is.
func (h *Handler) resolve(ctx context.Context, q fetch.Question, anew bool) (tags.Entry, []byte, error) {
	if h.cfg.Access.Look(ctx, q.Request.Repo); h.cfg.Access.Unlisted(q.Request.Repo) {
		return tags.Entry{}, nil, registry.Errorf(registry.CodeNameUnknown, "Harbor does not list this project for the edge's robot")
	}
	want, gone := h.newestOf(version.Key{Repo: q.Request.Repo, Reference: q.Request.Reference()})
	if q.Request.Tag == "" {
		want = version.Record{}
	}
	if gone {
		return tags.Entry{}, nil, errDeleted()
	}
	r, stays := h.freeze(&request{Request: q.Request, ns: q.Namespace})
	q.Request, q.Namespace = r.Request, r.ns
	asked, freshness := tags.Question{Key: tags.Key{Repo: r.Repo, Reference: r.Reference()}}, h.live.Load().Freshness(r.ns.Kind)
	if anew {
		freshness = 0
	}
	e, body, held, fresh := h.remembered(r, asked.Key, want, freshness)
	if held && fresh {
		return e, body, nil
	}
	found, _ := h.tags.Revalidate(asked, e, freshness, func(ctx context.Context, old tags.Entry) (tags.Found, error) {
		found, err := h.ask(ctx, q, cmp.Or(old, stays))
		if err != nil && q.Only != "" { // a client may be waiting for this, too
			q.Only = ""
			found, err = h.ask(ctx, q, cmp.Or(old, stays))
		}
		return found, err
	})
	defer found.Leave()
	select {
	case <-found.Done:
	case <-ctx.Done():
		return tags.Entry{}, nil, ctx.Err()
	}
	if body = found.Body; body == nil && found.Err == nil {
		body, found.Err = h.fetch.Read(found.Entry.Digest)
	}
	return found.Entry, body, found.Err
}
