package lists

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// Index is an index of what refers to a manifest (OCI image specification, "Image
// Index"). Its descriptors are kept as they came.
type Index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []json.RawMessage `json:"manifests"`
}

// Referrers returns the descriptors of what refers to a manifest (OCI distribution
// specification, "Listing Referrers"). An empty list means that nobody knows of any,
// and is returned only when somebody could tell: a verifier takes it for "not signed".
func (l *Lists) Referrers(ctx context.Context, q fetch.Question) (List[json.RawMessage], error) {
	repo, d := q.Request.Repo, q.Request.Digest
	project := l.toRemember(q)
	var known []json.RawMessage
	if l.isStill(project, repo) {
		known = l.State.Referrers(repo, d)
	}
	asked := l.referrersAsked.ask(l.Context, l.subject(q), project, func(ctx context.Context, asked *inquiry[json.RawMessage]) (List[json.RawMessage], error) {
		return l.findReferrers(q.InTrace(ctx), asked, q, known)
	})
	patience := l.patience(asked.begun, source.Hangs(q.Route(l.Routes), registry.KindReferrers))
	return asked.wait(ctx, known, patience, func() bool { return l.isStill(project, repo) }, merge)
}

// findReferrers asks the sources. known is what is remembered.
func (l *Lists) findReferrers(ctx context.Context, asked *inquiry[json.RawMessage], q fetch.Question, known []json.RawMessage) (List[json.RawMessage], error) {
	route, repo, d := q.Route(l.Routes), q.Request.Repo, q.Request.Digest
	own, peers, upstreams := byKind(q.Namespace.Project, route)
	ask := func(ctx context.Context, s source.Step) ([]json.RawMessage, error) {
		return l.referrersOf(ctx, q, s)
	}
	answers := gather(ctx, l.hedge(len(known) > 0), l.Deadline, stages(q.Namespace, append(own, upstreams...), peers), unlessDown(route, asked.hears(ask)), func(so []answer[json.RawMessage]) standing { return referrersStand(q.Namespace, so) })
	var all []json.RawMessage
	found, refusals := "", refusalsOf(answers)
	for _, a := range answers {
		if a.err != nil && len(a.all) == 0 {
			continue
		}
		if found == "" || len(all) == 0 && len(a.all) > 0 { // an empty list is nobody's find
			found = a.step.Name
		}
		all = merge(all, a.all)
	}
	if ctx.Err() != nil {
		return List[json.RawMessage]{}, ended(ctx)
	}
	if asked.outdated() || !l.isStill(asked.project, repo) {
		known = nil
	}
	no := error(nil)
	if len(refusals) > 0 {
		no = source.Verdict(refusals)
	}
	list := List[json.RawMessage]{All: all, Source: found}
	switch {
	case found == "" && (len(known) == 0 || outcome.IsFirmNo(no)):
		return List[json.RawMessage]{}, no
	case len(known) == 0 && unheard(q.Namespace, answers) && outcome.IsDontKnow(no):
		return List[json.RawMessage]{}, untold(no)
	case len(all) == 0 && len(known) == 0 && anySilent(refusals):
		return List[json.RawMessage]{}, untold(no) // Harbor's empty list says nothing of the upstream, which it does not ask
	case no != nil && outcome.IsDontKnow(no) && len(known) > 0: // a silent source may know more
		list = List[json.RawMessage]{All: merge(all, known), Merged: true}
	}
	if len(list.All) > 0 && l.isStill(asked.project, repo) {
		asked.keep(func() { l.State.PutReferrers(repo, d, list.All) })
	}
	return list, nil
}

// untold is a don't-know because of no, which says when to come back.
func untold(no error) error {
	e := outcome.DontKnow(no)
	if why := (*registry.Error)(nil); errors.As(no, &why) {
		e.RetryAfter = max(e.RetryAfter, why.RetryAfter)
	}
	return e
}

// referrersStand is how far the answers go: a list of some tells, and an empty one where every
// upstream has said, whom Harbor does not ask. In a cache peers know no more than the upstream.
func referrersStand(ns namespace.Namespace, so []answer[json.RawMessage]) standing {
	listed, asksUpstream, none := false, false, true
	for _, a := range so {
		if len(a.all) > 0 && !unheard(ns, so) {
			return enough
		}
		listed = listed || a.err == nil
		if a.step.Kind == source.Upstream {
			asksUpstream, none = true, none && (a.err == nil || outcome.IsFirmNo(a.err))
		}
	}
	switch {
	case ns.Kind == namespace.Cache && asksUpstream && none:
		return enough
	case listed && !anySilent(refusalsOf(so)):
		return told
	}
	return open
}

// anySilent reports whether an upstream is among those who could not say.
func anySilent(refusals []source.Refusal) bool {
	return slices.ContainsFunc(refusals, func(r source.Refusal) bool {
		return r.Step.Kind == source.Upstream && outcome.IsDontKnow(r.Err) && !errors.Is(r.Err, outcome.ErrRefused)
	})
}

// byKind splits a project's route. The steps of other projects are skipped, but for upstreams.
func byKind(project string, route []source.Step) (own, peers, upstreams []source.Step) {
	for _, s := range route {
		switch {
		case s.Kind == source.Upstream:
			upstreams = append(upstreams, s)
		case s.Namespace.Project != project:
		case s.Kind == source.Peer:
			peers = append(peers, s)
		default:
			own = append(own, s)
		}
	}
	return own, peers, upstreams
}

// isList implements page. An index may leave out its type, and some write an empty one as null.
func (i Index) isList() bool { return i.Manifests != nil || i.MediaType == registry.TypeIndex }

// entries implements page.
func (i Index) entries() int { return len(i.Manifests) }

// last implements page: referrers come in no order.
func (Index) last() string { return "" }

// referrersOf asks one source for its API's answer, and for the tag that registries
// without the API are given (OCI distribution specification, "Referrers Tag Schema"). Where the
// API fails, it returns what lies under the tag and the failure.
func (l *Lists) referrersOf(ctx context.Context, q fetch.Question, s source.Step) (all []json.RawMessage, err error) {
	ctx, answered := l.over(ctx, s, registry.KindReferrers)
	defer func() { answered(err) }()
	header := s.Header(q.Authorization)
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindReferrers, Repo: s.Repo, Digest: q.Request.Digest}
	var manifests []json.RawMessage
	begun := false
	err = readPages(ctx, l, s, req, header, func(page Index) bool {
		manifests, begun = append(manifests, page.Manifests...), true
		return true
	})
	if err != nil && (begun || !lacksAPI(s, err) && !failsAPI(s, err)) {
		return nil, err
	}
	fallback := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: s.Repo, Tag: fallbackTag(q.Request.Digest)}
	var tagged atTag
	in, left := l.Bodies.Reader(s.Namespace.Project, nil), int64(maxList)
	defer in.Close()
	_, tagErr := l.getJSON(ctx, s, fallback, header, in, &left, &tagged)
	switch {
	case tagErr != nil:
	case tagged.is(q.Request.Digest):
		tagged, tagErr = atTag{}, registry.Errorf(registry.CodeManifestUnknown, "the tag %s is taken for the digest", fallback.Tag)
	case !tagged.isList() && err != nil:
		tagErr = outcome.DontKnow(fmt.Errorf("the tag %s of %s: %w", fallback.Tag, s.Name, errNoList))
	}
	switch all = merge(manifests, tagged.Manifests); {
	case err != nil && !lacksAPI(s, err): // what lies under the tag is told, and is no word on what else there is
		return all, err
	case err == nil || tagErr == nil:
		return all, nil
	}
	if e := said(err); e != nil && e.Status == http.StatusInternalServerError && e.Code != registry.CodeUnsupported && outcome.IsNo(tagErr) {
		return nil, perhaps(tagErr)
	}
	return nil, tagErr // a registry without the API: the tag is its word
}

// atTag is what a source has under the tag of the fallback scheme.
type atTag struct {
	Index
	text []byte
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *atTag) UnmarshalJSON(text []byte) error {
	a.text = slices.Clone(text)
	return json.Unmarshal(text, &a.Index)
}

// is reports whether it is the manifest itself, whose own list is none of referrers: there are
// registries that take the tag for the digest that it is made of.
func (a *atTag) is(d digest.Digest) bool {
	return d.Algorithm().FromBytes(a.text) == d || d.Algorithm().FromBytes(append(a.text, '\n')) == d
}

// fallbackTag is the tag of what refers to a digest, cut to what a tag may be.
func fallbackTag(d digest.Digest) string {
	algorithm, encoded := d.Algorithm().String(), d.Encoded()
	return algorithm[:min(len(algorithm), 32)] + "-" + encoded[:min(len(encoded), 64)]
}

// lacksAPI reports whether a source's answer to the referrers API is of a registry that has
// none, each of which says so in its own way: it refuses the request, or answers something
// else. A silence, 429, 502 and the like say nothing of that.
func lacksAPI(s source.Step, err error) bool {
	e := said(err)
	switch {
	case errors.Is(err, errNoList), errors.Is(err, registry.ErrRedirected) && s.Kind == source.Upstream: // as to a login page elsewhere
		return true
	case e == nil:
		return false
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusPreconditionFailed, http.StatusInternalServerError:
		return s.Kind == source.Upstream || e.Code == registry.CodeUnsupported // the fleet's own have the API: they are broken, or forbid it
	}
	return e.Status < http.StatusInternalServerError || e.Status == http.StatusNotImplemented
}

// failsAPI reports whether an upstream has refused the referrers API, or another host has to
// which it led, in words that do not say whether there is one. A silence is no refusal; a pause
// that the upstream has asked for is, of the API alone.
func failsAPI(s source.Step, err error) bool {
	var meant *registry.Error // what the edge makes of it
	return s.Kind == source.Upstream && errors.As(err, &meant) && (meant != said(err) || meant.Status == http.StatusTooManyRequests)
}

// perhaps is a no of somebody who may be broken: good enough where nothing is remembered,
// and no reason to forget what is.
func perhaps(no error) error {
	e := registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest")
	e.Cause = errors.Join(outcome.ErrRefused, no)
	return e
}

// descriptor is what the edge reads of one.
type descriptor struct {
	Digest       digest.Digest `json:"digest"`
	ArtifactType string        `json:"artifactType"`
}

// merge adds those descriptors of b that a does not have. Those that name no digest
// are dropped.
func merge(a, b []json.RawMessage) []json.RawMessage {
	seen := map[digest.Digest]bool{}
	var all []json.RawMessage
	for _, raw := range append(a[:len(a):len(a)], b...) {
		var d descriptor
		if json.Unmarshal(raw, &d) != nil || d.Digest.Validate() != nil || seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		all = append(all, raw)
	}
	return all
}

// Without returns the descriptors but those of digests that are gone.
func Without(all []json.RawMessage, gone func(digest.Digest) bool) []json.RawMessage {
	return slices.DeleteFunc(all, func(raw json.RawMessage) bool {
		var of struct{ Digest digest.Digest }
		return json.Unmarshal(raw, &of) == nil && gone(of.Digest)
	})
}

// OfType returns the descriptors of one artifact type (the API's filter); "" is every.
func OfType(all []json.RawMessage, artifactType string) []json.RawMessage {
	manifests := []json.RawMessage{}
	for _, raw := range all {
		var d descriptor
		if artifactType == "" || json.Unmarshal(raw, &d) == nil && d.ArtifactType == artifactType {
			manifests = append(manifests, raw)
		}
	}
	return manifests
}
