package lists

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
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
	route, repo, d := q.Route(l.Routes), q.Request.Repo, q.Request.Digest
	project := l.project(repo)
	var known []json.RawMessage
	if l.isStill(project, repo) {
		known = l.State.Referrers(repo, d)
	}
	var all []json.RawMessage
	var refusals []source.Refusal
	found := ""
	ask := func(steps []source.Step) {
		answers := askAll(route, steps, func(s source.Step) ([]json.RawMessage, error) { return l.referrersOf(ctx, q, s, len(known) > 0) })
		for range steps {
			a := <-answers
			if a.err != nil {
				refusals = append(refusals, source.Refusal{Step: a.step, Err: a.err})
				continue
			}
			if all = merge(all, a.all); found == "" || len(a.all) > 0 { // an empty list is nobody's find
				found = a.step.Name
			}
		}
	}
	own, peers, upstreams := byKind(q.Namespace.Project, route)
	ask(append(own, upstreams...))
	if len(all) == 0 || found == "" {
		ask(peers)
	}
	if ctx.Err() != nil {
		return List[json.RawMessage]{}, ctx.Err()
	}
	if !l.isStill(project, repo) {
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
	case len(all) == 0 && len(known) == 0 && anySilent(refusals):
		return List[json.RawMessage]{}, outcome.DontKnow(no) // Harbor's empty list says nothing of the upstream, which it does not ask
	case no != nil && outcome.IsDontKnow(no) && len(known) > 0: // a silent source may know more
		list = List[json.RawMessage]{All: merge(all, known), Merged: true}
	}
	if len(list.All) > 0 && l.isStill(project, repo) {
		l.State.PutReferrers(repo, d, list.All)
	}
	return list, nil
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

// referrersOf asks one source for its API's answer, and for the tag that registries
// without the API are given (OCI distribution specification, "Referrers Tag Schema").
func (l *Lists) referrersOf(ctx context.Context, q fetch.Question, s source.Step, remembered bool) (all []json.RawMessage, err error) {
	err = l.await(ctx, s, remembered, func(ctx context.Context, s asked) error {
		all, err = l.readReferrers(ctx, q, s)
		return err
	})
	return all, err
}

func (l *Lists) readReferrers(ctx context.Context, q fetch.Question, s asked) ([]json.RawMessage, error) {
	header := s.Header(q.Authorization)
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindReferrers, Repo: s.Repo, Digest: q.Request.Digest}
	var manifests []json.RawMessage
	err := readPages(ctx, l, s, req, header, func(page Index) { manifests = append(manifests, page.Manifests...) })
	if err != nil && !saidNotFound(err) { // a registry without the API says 404 in its own way
		return nil, err
	}
	fallback := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: s.Repo, Tag: strings.Replace(q.Request.Digest.String(), ":", "-", 1)}
	var tagged Index
	in, left := l.Bodies.Reader(s.Namespace.Project, nil), int64(maxList)
	defer in.Close()
	_, tagErr := l.getJSON(ctx, s, fallback, header, in, &left, &tagged)
	if err == nil || tagErr == nil {
		return merge(manifests, tagged.Manifests), nil
	}
	return nil, tagErr // a registry without the API: the tag is its word
}

func saidNotFound(err error) bool {
	var e *registry.Error
	for errors.As(err, &e) {
		if e.Status == http.StatusNotFound {
			return true
		}
		err = e.Cause
	}
	return false
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
