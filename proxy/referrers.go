package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

const indexType = "application/vnd.oci.image.index.v1+json"

// referrerIndex is an index of what refers to a manifest; its descriptors are
// kept as they came.
type referrerIndex struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []json.RawMessage `json:"manifests"`
}

// serveReferrers answers the referrers API (OCI distribution specification,
// "Listing Referrers"). An empty list means that nobody knows of any, and is said
// only when somebody could tell: a verifier takes it for "not signed".
func (h *Handler) serveReferrers(x *exchange) error {
	ctx, route := x.r.Context(), h.routeFor(x)
	authorization := x.r.Header.Get("Authorization")
	var all []json.RawMessage
	var refused []said
	found := ""
	ask := func(steps []step) {
		for _, a := range h.referrersAt(ctx, x, route, steps, authorization) {
			if a.said.err != nil {
				refused = append(refused, a.said)
				continue
			}
			all, found = mergeReferrers(all, a.manifests), a.said.step.place.name
		}
	}
	own, peers, upstreams := byKind(x, route)
	ask(append(own, upstreams...))
	if len(all) == 0 || found == "" {
		ask(peers)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	known := h.cfg.Memory.referrers(x.req.Repo, x.req.Digest)
	no := error(nil)
	if len(refused) > 0 {
		no = verdict(refused)
	}
	switch {
	case found == "" && (len(known) == 0 || isFirmNo(no)):
		return no
	case len(all) == 0 && len(known) == 0 && anySilent(refused):
		return dontKnow(no) // Harbor's empty list says nothing of the upstream, which it does not ask
	case no != nil && isDontKnow(no) && len(known) > 0: // somebody who may know more is silent
		all = mergeReferrers(all, known)
		x.cacheStatus("hit", "fwd=stale", "detail=merged")
	default:
		x.cacheStatus("fwd=miss", "detail="+found)
	}
	if len(all) > 0 {
		h.cfg.Memory.putReferrers(x.req.Repo, x.req.Digest, all)
	}
	x.outcome = "list"
	return writeReferrers(x, all)
}

// anySilent reports whether an upstream is among those who could not say.
func anySilent(refused []said) bool {
	return slices.ContainsFunc(refused, func(s said) bool {
		return s.step.place.kind == placeUpstream && isDontKnow(s.err) && !errors.Is(s.err, errRefused)
	})
}

// byKind splits a route; the steps of other projects are left out.
func byKind(x *exchange, route []step) (own, peers, upstreams []step) {
	for _, s := range route {
		switch {
		case s.place.kind == placeUpstream:
			upstreams = append(upstreams, s)
		case s.ns.Project != x.ns.Project:
		case s.place.kind == placePeer:
			peers = append(peers, s)
		default:
			own = append(own, s)
		}
	}
	return own, peers, upstreams
}

type referrersAnswer struct {
	manifests []json.RawMessage
	said      said
}

// referrersAt asks places at once, each for its API's answer and for the tag that
// registries without the API are given.
func (h *Handler) referrersAt(ctx context.Context, x *exchange, route, steps []step, authorization string) (all []referrersAnswer) {
	answers := make(chan referrersAnswer, len(steps))
	for _, s := range steps {
		if s.leftOut(route) {
			answers <- referrersAnswer{nil, said{s, dontKnow(errDown)}}
			continue
		}
		go func() {
			manifests, err := h.referrersOf(ctx, x, s, authorization)
			answers <- referrersAnswer{manifests, said{s, err}}
		}()
	}
	for range steps {
		all = append(all, <-answers)
	}
	return all
}

func (h *Handler) referrersOf(ctx context.Context, x *exchange, s step, authorization string) ([]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, patience*h.cfg.Deadline)
	defer cancel()
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindReferrers, Repo: s.repo, Digest: x.req.Digest}
	var manifests []json.RawMessage
	err := readPages(ctx, h, s, req, authorization, func(page referrerIndex) {
		manifests = append(manifests, page.Manifests...)
	})
	if err != nil && !saidNotFound(err) { // a registry without the API says 404 in its own way
		return nil, err
	}
	fallback := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: s.repo, Tag: strings.Replace(x.req.Digest.String(), ":", "-", 1)}
	var tagged referrerIndex
	left := int64(maxList)
	_, tagErr := h.getJSON(ctx, s, fallback, authorization, &left, &tagged)
	if err == nil || tagErr == nil {
		return mergeReferrers(manifests, tagged.Manifests), nil
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

// described is what the edge reads of a descriptor.
type described struct {
	Digest       digest.Digest `json:"digest"`
	ArtifactType string        `json:"artifactType"`
}

// mergeReferrers adds those descriptors of b that a does not have.
func mergeReferrers(a, b []json.RawMessage) []json.RawMessage {
	seen := map[digest.Digest]bool{}
	var all []json.RawMessage
	for _, raw := range append(a[:len(a):len(a)], b...) {
		var d described
		if json.Unmarshal(raw, &d) != nil || d.Digest.Validate() != nil || seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		all = append(all, raw)
	}
	return all
}

func writeReferrers(x *exchange, all []json.RawMessage) error {
	manifests := []json.RawMessage{}
	filter := x.req.Query.Get("artifactType")
	for _, raw := range all {
		var d described
		if filter == "" || json.Unmarshal(raw, &d) == nil && d.ArtifactType == filter {
			manifests = append(manifests, raw)
		}
	}
	if filter != "" {
		x.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return writeJSON(x, indexType, referrerIndex{2, indexType, manifests})
}
