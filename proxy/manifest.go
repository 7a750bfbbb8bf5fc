package proxy

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/proxy/writer"
)

// staleAfter: with a copy in hand, a slower source counts as not healthy.
const staleAfter = time.Second

// serveManifest answers GET and HEAD of a manifest in a managed namespace.
func (h *Handler) serveManifest(w *response, r *request) error {
	want, gone := h.newest(w, r)
	if gone {
		return w.writeGone()
	}
	r, stays := h.freeze(r)
	freshness := h.live.Load().Freshness(r.ns.Kind)
	asked := tags.Question{Key: tags.Key{Repo: r.Repo, Reference: r.Reference()}, OwnOnly: r.peer != ""}
	e, body, held, fresh := h.remembered(r, asked.Key, want, freshness)
	if held && fresh {
		w.hit()
		return w.writeManifest(r, e, body)
	}
	stale := func() error { return w.writeStale(r, e, body) }
	switch err := h.tags.Negative(asked); {
	case err != nil && held && outcome.IsDontKnow(err):
		return stale()
	case err != nil:
		w.hit("detail=negative")
		return err
	}
	q := r.question()
	if held && !source.AnyUsable(q.Route(h.routes)) { // nobody to ask; a revalidation that is under way began before that was known
		return stale()
	}
	found, joined := h.tags.Revalidate(asked, e, freshness, func(ctx context.Context, old tags.Entry) (tags.Found, error) {
		return h.ask(ctx, q, cmp.Or(old, stays))
	})
	defer found.Leave()
	var slow, vain <-chan time.Time
	if held && !e.Refused { // a slow Harbor is no way around its policy
		slow = time.After(staleAfter)
	} else if !held {
		vain = h.fetch.InVain(q)
	}
	select {
	case <-found.Done:
	case <-slow:
		return stale()
	case <-vain: // what comes yet is for those who come later
		found.Forsake()
		return outcome.DontKnow(source.ErrHangs)
	case <-r.http.Context().Done():
		return r.http.Context().Err()
	}
	switch {
	case found.Err != nil && held && outcome.IsDontKnow(found.Err):
		return stale()
	case found.Err != nil && outcome.IsDontKnow(found.Err) && h.pushes(r):
		_, _, err := h.pusher.Head(r.write())
		return err
	case found.Err != nil && held && outcome.IsNo(found.Err) && h.outlives(r):
		return stale()
	case found.Err != nil:
		return found.Err
	case h.gone(r.ns.Kind, r.Repo, found.Entry.Digest): // something has brought it back
		return w.writeGone()
	case h.answered(w, r, want, found.Entry.Digest):
		return h.serveManifest(w, r)
	}
	if e.Digest != found.Entry.Digest || !held {
		body = nil
	}
	return h.writeFound(w, r, found.Found, joined, body)
}

// writeStale serves the copy: nobody can say whether it is still right.
func (w *response) writeStale(r *request, e tags.Entry, body []byte) error {
	w.outcome = outcomeStale
	w.cacheStatus("hit", "fwd=stale", "detail=nobody-can-say")
	return w.writeManifest(r, e, body)
}

// remembered returns what is known to be under a reference, and its manifest where that is
// held. A version that is known beats what was seen, and so does a delete: something may have
// brought what was deleted back since.
func (h *Handler) remembered(r *request, key tags.Key, want version.Record, freshness time.Duration) (e tags.Entry, body []byte, held, fresh bool) {
	e, held, fresh = h.tags.Get(key, freshness)
	if held && r.Tag != "" && h.gone(r.ns.Kind, r.Repo, e.Digest) {
		e, held, fresh = tags.Entry{}, false, false
	}
	if want.Digest != "" && e.Digest != want.Digest {
		e, held, fresh = tags.Entry{Digest: want.Digest, MediaType: want.MediaType, Refused: h.refusals.Has(key.Repo, want.Digest)}, h.cfg.Access.Has(key.Repo), false
	}
	if held = held && !e.Outlived(r.ns.Keep, h.cfg.Now()); held { // what is remembered may have been evicted
		var err error
		body, err = h.fetch.Read(e.Digest)
		held = err == nil
	}
	if r.peer != "" && e.Source != h.routes.Harbor.Name { // else two edges could keep an old tag fresh for each other
		fresh = false
	}
	return e, body, held, fresh
}

// writeGone answers that a reference was deleted, whoever still has it.
func (w *response) writeGone() error {
	w.hit("detail=tombstone")
	return errDeleted()
}

// writeFound serves what a revalidation found. held is the same manifest as the request
// has read it already, nil where it has not: the store may have lost it since.
func (h *Handler) writeFound(w *response, r *request, found tags.Found, joined bool, held []byte) error {
	unchanged, body := held != nil, found.Body
	if body == nil {
		body = held
	}
	if body == nil {
		var err error
		if body, err = h.fetch.Read(found.Entry.Digest); err != nil {
			return outcome.DontKnow(fmt.Errorf("read manifest back from the store: %w", err))
		}
	}
	w.outcome = outcomeFill
	params := []string{"fwd=miss", "detail=" + found.Entry.Source}
	if unchanged {
		w.outcome, params[0] = outcomeRevalidated, "fwd=stale"
	}
	if found.Stale && r.peer != "" {
		params = append([]string{"hit"}, params...)
	}
	if joined {
		params = append(params, "collapsed")
	}
	w.cacheStatus(params...)
	return w.writeManifest(r, found.Entry, body)
}

func (w *response) writeManifest(r *request, e tags.Entry, body []byte) error {
	if err := w.hold(len(body)); err != nil {
		return err
	}
	header := w.Header()
	w.noteKept(r, e)
	writer.Set(header, "Content-Type", e.MediaType, "X-Content-Type-Options", "nosniff", "Docker-Content-Digest", e.Digest.String(), "Etag", `"`+e.Digest.String()+`"`)
	if r.http.Method == http.MethodGet && r.http.Header.Get("Range") == "" && r.http.Header.Get("If-None-Match") == "" {
		writer.Set(header, "Accept-Ranges", "bytes", "Content-Length", strconv.Itoa(len(body)))
		_, err := w.Write(body) // with its header, in one packet where it fits
		return err
	}
	http.ServeContent(w, r.http, "", time.Time{}, bytes.NewReader(body))
	return nil
}
