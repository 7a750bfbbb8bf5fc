package proxy

import (
	"log/slog"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/traffic"
	"example.org/breakwater/registry"
)

// who is whose request it was, if it was answered: "anonymous" where that is not proven.
func (h *Handler) who(w *response, r *request) string {
	switch {
	case r.peer != "" || w.Status == 0 || w.Status >= 400:
		return ""
	case w.outcome == outcomePass && r.Repo != "":
		w.who = h.cfg.Access.Proven(r.http.Context(), r.query.Authorization, r.Repo, !r.Read())
	case w.outcome == outcomePass && r.endpoint == registry.KindBase.String(): // a login
		w.who = access.Claimed(r.query.Authorization)
	}
	if w.who == "" && r.Repo != "" {
		return "anonymous"
	}
	return w.who
}

// brief is what is logged of what others choose.
func brief(s string) string { return s[:min(len(s), 2<<10)] }

// finish counts the request and writes its log line, also when the handler panics.
func (h *Handler) finish(w *response, r *request) {
	status, took := w.Status, h.cfg.Now().Sub(w.begun)
	if w.err != nil && aborted(r.http, w.err) {
		w.outcome = outcomeGone
	}
	endSpan(w, r)
	hit, content := fromStore[w.outcome]
	h.metrics.Answered(traffic.Answer{Endpoint: r.endpoint, Kind: r.ns.Kind.String(), Outcome: w.outcome, Status: status, Bytes: w.Bytes,
		Took: took, Headed: w.Headed.Sub(w.begun), Peer: r.peer != "", Content: content})
	if content && r.peer == "" {
		h.hits.Add(h.cfg.Now(), hit)
	}
	if r.endpoint == endpointHealth || r.endpoint == endpointHello {
		return
	}
	attrs := append(make([]slog.Attr, 0, 13), // as many as there can be
		slog.String("method", r.http.Method), slog.String("endpoint", r.endpoint), slog.String("repo", r.Repo),
		slog.String("reference", r.Reference()), slog.Int("status", status), slog.String("outcome", w.outcome),
		slog.Int64("bytes", w.Bytes), slog.Float64("seconds", took.Seconds()), slog.String("client", w.client))
	if who := h.who(w, r); who != "" {
		attrs = append(attrs, slog.String("who", who))
	}
	if r.peer != "" {
		attrs = append(attrs, slog.String("peer", r.peer))
	}
	if r.Repo == "" {
		attrs = append(attrs, slog.String("path", brief(r.http.URL.Path)))
	}
	if w.err != nil {
		attrs = append(attrs, slog.String("err", brief(w.err.Error())))
	}
	h.cfg.Log.LogAttrs(r.http.Context(), slog.LevelInfo, "request", attrs...)
}
