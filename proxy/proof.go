package proxy

import (
	"context"
	"errors"
	"net/http"

	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// errUnproven is of a blob that a place says it has, when its word is no proof.
var errUnproven = errors.New("only the bytes themselves prove that the repo holds the blob")

// checked returns the reader if the repo is known, or found, to hold the blob:
// it may have come, or be coming, out of another project. What comes from the
// project's own sources is theirs to give.
func (h *Handler) checked(x *exchange, reader *store.Reader) (*store.Reader, error) {
	if !h.cfg.Access.Member(x.req.Repo, x.req.Digest) && reader.Owner() != x.ns.Project {
		err := h.proveMember(x.r.Context(), x)
		if err != nil {
			reader.Close()
		}
		if errors.Is(err, errUnproven) {
			reader, err = h.streamBlob(x)
		}
		if err != nil {
			return nil, err
		}
	}
	if size, ok := h.sizes.Get(named{x.req.Repo, x.req.Digest}); ok {
		reader.Expect(size)
	}
	return reader, nil
}

// streamBlob gives the client what the repo's own sources send, though the store
// holds the blob: an upstream could say that it has any digest. Once it has sent
// the whole, the repo is known to hold it.
func (h *Handler) streamBlob(x *exchange) (*store.Reader, error) {
	f, sources := h.blobSources(x)
	reader, err := h.cfg.Store.Stream(x.r.Context(), x.req.Digest, sources...)
	if err != nil && x.r.Context().Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, f.verdict(err)
	}
	x.outcome = "fill"
	x.cacheStatus("fwd=miss", "detail="+f.source())
	return reader, nil
}

// believes reports whether a place's 200 for a blob is enough to serve what is
// held of it. A Harbor's own projects and other edges' are the fleet's; behind a
// cache is a registry that may say 200 to any digest, and is believed only of what
// came through the same project before.
func (h *Handler) believes(s step, req registry.Request) bool {
	return s.ns.Kind != KindCache || h.cfg.Access.ProjectHolds(req.Project(), req.Digest)
}

// proveMember asks whether this repo holds the blob that is already in the
// store, at the price of one byte.
func (h *Handler) proveMember(ctx context.Context, x *exchange) error {
	var all []said
	stages, _ := groups(h.blobRoute(x), true)
	for _, group := range stages {
		for _, s := range group {
			err := h.proveAt(ctx, x, s)
			if err == nil {
				h.cfg.Access.Join(x.req.Repo, x.req.Digest)
				return nil
			}
			if errors.Is(err, errUnproven) || final(x.ns, err) || ctx.Err() != nil {
				return err
			}
			all = append(all, said{s, err})
		}
	}
	return verdict(all)
}

// proveAt asks one place. A HEAD at Harbor asks nobody behind it: it is 404 for
// what a proxy cache does not hold itself.
func (h *Handler) proveAt(ctx context.Context, x *exchange, s step) error {
	req, header := s.under(x.req), h.headerFor(s, x.r.Header.Get("Authorization"))
	for _, method := range []string{http.MethodHead, http.MethodGet} { // a refused HEAD does not say why
		req.Method = method
		if method == http.MethodGet {
			header.Set("Range", "bytes=0-0")
		}
		resp, err := s.place.do(ctx, req, header, h.cfg.Deadline)
		if err != nil {
			return err
		}
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
			resp.Body.Close()
			if h.believes(s, x.req) || method == http.MethodHead && s.place.kind == placeHarbor {
				return nil
			}
			return errUnproven
		}
		if method == http.MethodGet {
			return s.meaning(registry.ReadError(resp))
		}
		resp.Body.Close()
	}
	return nil
}
