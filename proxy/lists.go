package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.org/breakwater/registry"
)

const (
	pageSize = 1000     // of what is asked of sources
	maxPages = 100      // of one source's list
	maxList  = 16 << 20 // bytes of one source's list
	maxKnown = 10_000   // tags of a repo that are remembered
)

// serveTags answers tags/list (OCI distribution specification, "Listing Tags").
// Harbor's list is the word for what is its own; a proxy cache's shrinks without
// a sign when the upstream is away, and is completed then.
func (h *Handler) serveTags(x *exchange) error {
	ctx, route := x.r.Context(), h.routeFor(x)
	authorization := x.r.Header.Get("Authorization")
	known := h.cfg.Memory.tagList(x.req.Repo)
	tags, err := h.listTags(ctx, route, route[0], authorization)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && (x.ns.Kind != KindCache || containsAll(tags, known)):
		x.cacheStatus("fwd=miss", "detail=harbor")
		tags = h.keepTags(x, tags)
	case err == nil:
		tags, err = h.completeTags(ctx, x, route, tags, known)
	default:
		tags, err = h.tagsElsewhere(ctx, x, route, known, said{route[0], err})
	}
	if err != nil {
		return err
	}
	x.outcome = "list"
	return writeTags(x, tags)
}

// completeTags makes a proxy cache's list whole that lacks what was there before:
// from the upstream itself or, where that is silent, from what is remembered.
func (h *Handler) completeTags(ctx context.Context, x *exchange, route []step, tags, known []string) ([]string, error) {
	for _, s := range route {
		if s.place.kind != placeUpstream || !s.place.usable() {
			continue
		}
		upstream, err := h.listTags(ctx, route, s, "")
		if err == nil {
			x.cacheStatus("fwd=miss", "detail="+s.place.name)
			return h.keepTags(x, union(tags, upstream)), nil
		}
		if isFirmNo(err) {
			x.cacheStatus("fwd=miss", "detail=harbor")
			return h.keepTags(x, tags), nil
		}
	}
	x.cacheStatus("hit", "fwd=stale", "detail=merged")
	return union(tags, known), nil
}

// tagsElsewhere asks everybody else when the local Harbor does not have the repo
// or cannot say.
func (h *Handler) tagsElsewhere(ctx context.Context, x *exchange, route []step, known []string, first said) ([]string, error) {
	if final(x.ns, first.err) {
		return nil, first.err
	}
	type answer struct {
		tags []string
		said said
	}
	answers := make(chan answer, len(route))
	asked := 0
	for _, s := range route[1:] {
		if s.ns.Project != x.ns.Project { // another project's tags are not this one's
			continue
		}
		asked++
		go func() {
			tags, err := h.listTags(ctx, route, s, "")
			answers <- answer{tags, said{s, err}}
		}()
	}
	var all []string
	refused, found := []said{first}, ""
	for range asked {
		a := <-answers
		if a.said.err != nil {
			refused = append(refused, a.said)
			continue
		}
		all, found = union(all, a.tags), a.said.step.place.name
	}
	no := verdict(refused)
	if isDontKnow(no) { // who is silent may still have what was there
		all = union(all, known)
	}
	switch {
	case found != "":
		x.cacheStatus("fwd=miss", "detail="+found)
	case isFirmNo(no) || len(known) == 0:
		return nil, no
	default:
		x.cacheStatus("hit", "fwd=stale", "detail=nobody-can-say")
	}
	return all, nil
}

// keepTags remembers a list that is known to be whole.
func (h *Handler) keepTags(x *exchange, tags []string) []string {
	if len(tags) <= maxKnown {
		h.cfg.Memory.putTagList(x.req.Repo, tags)
	}
	return tags
}

// listTags reads one place's list to its end.
func (h *Handler) listTags(ctx context.Context, route []step, s step, authorization string) ([]string, error) {
	if s.leftOut(route) {
		return nil, dontKnow(errDown)
	}
	ctx, cancel := context.WithTimeout(ctx, patience*h.cfg.Deadline)
	defer cancel()
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindTags, Repo: s.repo, Query: url.Values{"n": {strconv.Itoa(pageSize)}}}
	type tagPage struct {
		Tags []string `json:"tags"`
	}
	tags := []string{}
	err := readPages(ctx, h, s, req, authorization, func(page tagPage) { tags = append(tags, page.Tags...) })
	if err != nil {
		return nil, err
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// readPages reads a place's list to its end, each page by the query that the one
// before names, in whose words they may be: "last" is not what every registry says.
// take is given each page.
func readPages[P any](ctx context.Context, h *Handler, s step, req registry.Request, authorization string, take func(P)) error {
	left := int64(maxList)
	for range maxPages {
		var page P
		next, err := h.getJSON(ctx, s, req, authorization, &left, &page)
		if err != nil {
			return err
		}
		if take(page); len(next) == 0 || next.Encode() == req.Query.Encode() {
			break
		}
		req.Query = next
	}
	return nil
}

// getJSON reads a place's JSON, of at most left bytes, and the query of the next
// page from its Link. left is what may come after it.
func (h *Handler) getJSON(ctx context.Context, s step, req registry.Request, authorization string, left *int64, to any) (next url.Values, err error) {
	header := h.headerFor(s, authorization)
	if req.Kind == registry.KindManifest {
		header.Set("Accept", manifestTypes) // distribution 2 has no index for those who do not ask for one
	}
	resp, err := s.place.do(ctx, req, header, h.cfg.Deadline)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, s.meaning(registry.ReadError(resp))
	}
	defer resp.Body.Close()
	body := &io.LimitedReader{R: resp.Body, N: *left}
	err = json.NewDecoder(body).Decode(to)
	if *left = body.N; err != nil {
		return nil, dontKnow(fmt.Errorf("%s sent something that is no list: %w", s.place.name, err))
	}
	link, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	u, err := url.Parse(link)
	if err != nil {
		return nil, nil
	}
	return u.Query(), nil
}

// writeTags writes the part of the list that the client asks for: n after last.
func writeTags(x *exchange, tags []string) error {
	query := x.req.Query
	if last := query.Get("last"); last != "" {
		at, found := slices.BinarySearch(tags, last)
		if found {
			at++
		}
		tags = tags[at:]
	}
	if text := query.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return registry.Errorf(registry.CodePaginationInvalid, "n is to be a number, not %q", clip(text))
		}
		if n < len(tags) {
			tags = tags[:n]
			if n > 0 {
				next := url.Values{"n": {text}, "last": {tags[n-1]}}
				x.w.Header().Set("Link", "<"+x.req.Path()+"?"+next.Encode()+`>; rel="next"`)
			}
		}
	}
	return writeJSON(x, "application/json; charset=utf-8", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{x.req.Repo, append([]string{}, tags...)})
}

func writeJSON(x *exchange, contentType string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	header := x.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if x.r.Method == http.MethodHead {
		x.w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err = x.w.Write(body)
	return err
}

func clip(s string) string { return s[:min(len(s), 40)] }

// union of two sorted lists, or of a sorted one and any.
func union(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

func containsAll(sorted, some []string) bool {
	for _, s := range some {
		if _, ok := slices.BinarySearch(sorted, s); !ok {
			return false
		}
	}
	return true
}
