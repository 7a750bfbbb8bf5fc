package proxy

import (
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/explain"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// Explain says where the reference would come from, out of what the edge knows now.
func (h *Handler) Explain(text string) (explain.Explanation, error) {
	ref, err := explain.Reader{Table: h.namespaces}.Read(text)
	if err != nil {
		return explain.Explanation{}, err
	}
	ns, freshness := ref.Namespace, h.live.Load().Freshness(ref.Namespace.Kind)
	separator := ":"
	if ref.Digest != "" {
		separator = "@"
	}
	x := explain.Explanation{Reference: ref.Repo + separator + ref.Reference(), Project: ns.Project, Kind: ns.Kind.String(), Homes: ns.Homes, Notes: ref.Notes, Freshness: freshness.Seconds()}
	switch {
	case ref.Nowhere != "":
		x.Reference, x.Project, x.Kind = ref.Nowhere+"/"+x.Reference, "", "none"
		x.Answer = "Nodes pull it from " + ref.Nowhere + " itself, past the edge."
		return x, nil
	case ns.Kind == namespace.Plain:
		x.Answer = "A plain project: the request is passed to the local Harbor, with the client's own credentials."
		x.Route = []explain.Step{h.explainStep(h.routes.Own(ns, ref.Repo)[0], ref.Tag)}
		return x, nil
	case h.cfg.Access.Unlisted(ref.Repo):
		x.Answer = "Harbor does not list this project for the edge's robot: it is gone, or was made again and is not granted to the robot (breakwater provision apply grants it). The request is passed to the local Harbor, with the client's own credentials; nothing that is held is served."
		x.Route = []explain.Step{h.explainStep(h.routes.Own(ns, ref.Repo)[0], ref.Tag)}
		return x, nil
	}
	for _, s := range h.routes.Of(ns, ref.Repo, ref.Tag) {
		x.Route = append(x.Route, h.explainStep(s, ref.Tag))
	}
	key := tags.Key{Repo: ref.Repo, Reference: ref.Reference()}
	e, known, fresh := h.tags.Get(key, freshness)
	if known {
		x.Known(e, h.fetch.Holds(e.Digest), h.cfg.Now())
		x.Kept(e, ns.Keep, namespace.Forever, h.cfg.Now())
		x.Frozen = h.stays(key)
	}
	if r, deleted := h.newestOf(version.Key(key)); r.Known() {
		x.Newest(r, h.cfg.Datacenter, deleted, h.fetch.Holds(r.Digest))
		fresh = fresh && x.Digest == e.Digest.String()
	}
	if x.Digest != "" {
		x.Touch = h.touches.Shown(ref.Repo, ref.Tag, digest.Digest(x.Digest))
	}
	if err := h.tags.Negative(tags.Question{Key: key}); err != nil {
		x.Refused = err.Error()
	}
	x.Notes = append(x.Notes, h.warm.Says(ref.Repo, ref.Reference())...)
	x.Conclude(fresh)
	return x, nil
}

// newestOf is the newest version of a reference, or the delete that took it along.
func (h *Handler) newestOf(key version.Key) (r version.Record, deleted bool) {
	d := key.Digest()
	if d == "" {
		r = h.versions.Get(key)
		if !h.versions.Deleted(key.Repo, r) || r.Deleted() {
			return r, r.Known() && r.Deleted()
		}
		return h.versions.Get(version.Buried(key.Repo, r.Digest)), true
	}
	if h.versions.Gone(key.Repo, d) {
		return h.versions.Get(version.Buried(key.Repo, d)), true
	}
	return h.versions.Get(version.Revived(key.Repo, d)), false
}

// explainStep is what is known of a source of manifests, and of the edge that it is.
func (h *Handler) explainStep(s source.Step, tag string) explain.Step {
	seen := h.neighbors.View(s.Datacenter)
	return explain.StepOf(s, registry.Request{Kind: registry.KindManifest, Tag: tag}, seen.Says, seen.Refused)
}
