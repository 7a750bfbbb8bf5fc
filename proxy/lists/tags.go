package lists

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// Tags returns the tags of a repo, sorted (OCI distribution specification, "Listing
// Tags"). Harbor's list is the word for what is its own; a proxy cache's shrinks
// without a sign when the upstream is away, and is completed then.
func (l *Lists) Tags(ctx context.Context, q fetch.Question) (List[string], error) {
	repo := q.Request.Repo
	project := l.toRemember(q)
	var known []string
	if project != 0 {
		known = l.State.TagList(repo)
	}
	asked := l.tagsAsked.ask(l.Context, l.subject(q), project, func(ctx context.Context, asked *inquiry[string]) (List[string], error) {
		return l.findTags(q.InTrace(ctx), asked, q, known)
	})
	patience := l.patience(asked.begun, source.Hangs(q.Route(l.Routes), registry.KindTags))
	return asked.wait(ctx, known, patience, func() bool { return l.isStill(project, repo) }, union)
}

// findTags asks the sources. known is what is remembered.
func (l *Lists) findTags(ctx context.Context, asked *inquiry[string], q fetch.Question, known []string) (List[string], error) {
	route, repo := q.Route(l.Routes), q.Request.Repo
	own := route[0]
	var others []source.Step
	for _, s := range route[1:] {
		if s.Namespace.Project == q.Namespace.Project { // another project's tags are not this one's
			others = append(others, s)
		}
	}
	away := q.Namespace.Away
	answers := gather(ctx, l.hedge(len(known) > 0), l.Deadline, stages(q.Namespace, route[:1], others), unlessDown(route, asked.hears(l.tagsOf(q))), func(so []answer[string]) standing {
		switch own := so[0]; {
		case own.err == nil && !away, source.Final(q.Namespace, own.err):
			return done
		case away && slices.ContainsFunc(so[1:], func(a answer[string]) bool { return a.err == nil && q.Namespace.At(a.step.Datacenter) }):
			return enough
		case slices.ContainsFunc(so, func(a answer[string]) bool { return a.err == nil || source.Final(q.Namespace, a.err) }):
			return told
		}
		return open
	})
	if asked.outdated() || !l.isStill(asked.project, repo) {
		known = nil
	}
	switch tags, err := answers[0].all, answers[0].err; {
	case ctx.Err() != nil:
		return List[string]{}, ended(ctx)
	case err == nil && !away && (q.Namespace.Kind != namespace.Cache || containsAll(tags, known)):
		return l.keepTags(asked, tags, own.Name), nil
	case err == nil && !away:
		return l.completeTags(ctx, asked, q, route, tags, known), nil
	case source.Final(q.Namespace, err):
		return List[string]{}, err
	}
	return l.tagsElsewhere(asked, q, known, answers)
}

// stages are who is asked at once: first the local Harbor and, where it is not to hold the
// project, those that are. One of them may be new, and have little yet.
func stages(ns namespace.Namespace, first, others []source.Step) [][]source.Step {
	n := 0
	for ns.Away && n < len(others) && ns.At(others[n].Datacenter) {
		n++
	}
	return [][]source.Step{slices.Concat(first, others[:n]), others[n:]}
}

// unheard reports whether none of those has said anything that are to hold the project, where the
// local Harbor is not: what others have is not all.
func unheard[T any](ns namespace.Namespace, answers []answer[T]) bool {
	return ns.Away && !slices.ContainsFunc(answers, func(a answer[T]) bool {
		return a.step.Kind == source.Peer && ns.At(a.step.Datacenter) && (a.err == nil || outcome.IsNo(a.err))
	})
}

// completeTags makes a proxy cache's list whole that lacks what was there before: from
// the upstream itself or, where that is silent, from what is remembered.
func (l *Lists) completeTags(ctx context.Context, asked *inquiry[string], q fetch.Question, route []source.Step, tags, known []string) List[string] {
	for _, s := range route {
		if s.Kind != source.Upstream || !s.Usable() {
			continue
		}
		upstream, err := l.tagsOf(q)(ctx, s)
		if err == nil {
			return l.keepTags(asked, union(tags, upstream), s.Name)
		}
		if outcome.IsFirmNo(err) {
			return l.keepTags(asked, tags, route[0].Name)
		}
	}
	return List[string]{All: union(tags, known), Merged: true}
}

// tagsElsewhere makes a list of what everybody else says, where the local Harbor does not have
// the repo, is not to hold all of it, or cannot say.
func (l *Lists) tagsElsewhere(asked *inquiry[string], q fetch.Question, known []string, answers []answer[string]) (List[string], error) {
	all, found := []string{}, ""
	for _, a := range answers {
		if a.err == nil {
			all, found = union(all, a.all), a.step.Name
		}
	}
	refusals := refusalsOf(answers)
	no := source.Verdict(refusals)
	if last := source.LastWord(q.Namespace, refusals); last != nil && found == "" {
		no = last // who is silent could not change it
	}
	if len(refusals) > 0 && outcome.IsDontKnow(no) { // a silent source may still have what was there
		all = union(all, known)
	}
	switch {
	case known == nil && len(refusals) > 0 && unheard(q.Namespace, answers) && outcome.IsDontKnow(no):
		return List[string]{}, no
	case found != "":
		return l.keepTags(asked, all, found), nil
	case outcome.IsFirmNo(no) || known == nil:
		return List[string]{}, no
	}
	return List[string]{All: all, Stale: true}, nil
}

// keepTags remembers a project's list that is as whole as anybody knows.
func (l *Lists) keepTags(asked *inquiry[string], tags []string, from string) List[string] {
	if len(tags) <= maxKnown && l.isStill(asked.project, asked.of.repo) {
		asked.keep(func() { l.State.PutTagList(asked.of.repo, tags) })
	}
	return List[string]{All: tags, Source: from}
}

// tagPage is a part of a list of tags.
type tagPage struct {
	Name string          `json:"name"`
	Raw  json.RawMessage `json:"tags"`
	tags []string
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *tagPage) UnmarshalJSON(b []byte) error {
	type plain tagPage
	err := json.Unmarshal(b, (*plain)(p))
	if err == nil && p.Raw != nil {
		err = json.Unmarshal(p.Raw, &p.tags)
	}
	return err
}

func (p tagPage) isList() bool { return p.Name != "" || p.Raw != nil }

func (p tagPage) entries() int { return len(p.tags) }

func (p tagPage) last() string {
	if len(p.tags) == 0 {
		return ""
	}
	return p.tags[len(p.tags)-1]
}

// tagsOf reads one source's list to its end, in pages of a size that the source takes.
func (l *Lists) tagsOf(q fetch.Question) func(context.Context, source.Step) ([]string, error) {
	return func(ctx context.Context, s source.Step) (_ []string, err error) {
		ctx, answered := l.over(ctx, s, registry.KindTags)
		defer func() { answered(err) }()
		at, of := 0, sized{s.Name, s.Namespace.Project}
		if known, ok := l.sizes.Load(of); ok {
			at = known.(int)
		}
		tags, err := l.readTags(ctx, q, s, pageSizes[at])
		for first := err; err != nil && len(tags) == 0 && refusesSize(s, err); {
			if at++; at == len(pageSizes) {
				return nil, first
			}
			refused := said(err).Status < http.StatusInternalServerError
			if tags, err = l.readTags(ctx, q, s, pageSizes[at]); err == nil && refused {
				l.sizes.Store(of, at)
			}
		}
		if err != nil {
			return nil, err
		}
		all := slices.AppendSeq([]string{}, maps.Keys(tags))
		slices.Sort(all)
		return all, nil
	}
}

// readTags reads one source's list in pages of n tags. Those that came before an error are
// returned too.
func (l *Lists) readTags(ctx context.Context, q fetch.Question, s source.Step, n int) (map[string]bool, error) {
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindTags, Repo: s.Repo, Query: url.Values{}}
	if n > 0 {
		req.Query.Set("n", strconv.Itoa(n))
	}
	tags := map[string]bool{}
	err := readPages(ctx, l, s, req, s.Header(q.Authorization), func(p tagPage) bool {
		before := len(tags)
		for _, tag := range p.tags {
			tags[tag] = true
		}
		return len(tags) > before || len(p.tags) == 0
	})
	return tags, err
}

// refusesSize reports whether a refusal may be of the page's size alone. An upstream that
// says 500 may mean that, or be broken.
func refusesSize(s source.Step, err error) bool {
	e := said(err)
	if e == nil {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity:
		return true
	case http.StatusInternalServerError, http.StatusNotImplemented:
		return s.Kind == source.Upstream
	}
	return e.Code == registry.CodePaginationInvalid
}
