package lists

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// page is a part of a list.
type page interface {
	isList() bool // else it is JSON of something else
	entries() int
	last() string // the entry that the next page comes after, "" where pages have no such
}

// errNoList is of a page of HTML and the like, and of JSON that says something else.
var errNoList = errors.New("it is no list")

// errTooLong is of a list that is not read to its end: a part of it is not told for the whole.
var errTooLong = fmt.Errorf("its list is longer than %d entries or %d pages", maxEntries, maxPages)

// over is the context in which a source is asked: it is waited for as long as it lives.
// answered is to be called with what came of it.
func (l *Lists) over(ctx context.Context, s source.Step, kind registry.Kind) (_ context.Context, answered func(error)) {
	v := source.NewVigil(l.Deadline)
	v.Kind = kind
	return v.Over(ctx, s)
}

// readPages reads a source's list to its end, each page by the query that the one
// before names, in whose words they may be: "last" is not what every registry says.
// take is given each page, and returns false where that has nothing new.
func readPages[P page](ctx context.Context, l *Lists, s source.Step, req registry.Request, header http.Header, take func(P) bool) error {
	in := l.Bodies.Reader(s.Namespace.Project, nil)
	defer in.Close()
	left := int64(maxList)
	asked := map[string]bool{}
	for pages, entries := 1, 0; ; pages++ {
		asked[req.Query.Encode()] = true
		var p P
		links, err := l.getJSON(ctx, s, req, header, in, &left, &p)
		switch {
		case err != nil:
			return err
		case !p.isList():
			return outcome.DontKnow(fmt.Errorf("%s sent JSON of something else: %w", s.Name, errNoList))
		}
		if entries += p.entries(); entries > maxEntries {
			return outcome.DontKnow(fmt.Errorf("%s: %w", s.Name, errTooLong))
		}
		more := take(p)
		query, named := next(links)
		if named && (!saysWhere(query) || asked[query.Encode()]) { // what it comes after is for us to say
			if len(query) == 0 {
				query = maps.Clone(req.Query)
			}
			if named = p.last() != ""; named {
				query.Set("last", p.last())
			}
		}
		if !named || !more || asked[query.Encode()] {
			return nil
		}
		if pages == maxPages {
			return outcome.DontKnow(fmt.Errorf("%s: %w", s.Name, errTooLong))
		}
		req.Query = query
	}
}

// getJSON reads a source's JSON through in, of at most left bytes, and returns its Link
// headers. left is what may come after it.
func (l *Lists) getJSON(ctx context.Context, s source.Step, req registry.Request, header http.Header, in *share.Reader, left *int64, to any) (links []string, err error) {
	header = header.Clone()
	if req.Kind == registry.KindManifest {
		header.Set("Accept", fetch.ManifestTypes) // distribution 2 has no index for those who do not ask for one
	}
	resp, err := s.Do(ctx, req, header, 0)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, s.Meaning(registry.ReadError(resp))
	}
	defer resp.Body.Close()
	in.Reader = resp.Body
	body := &io.LimitedReader{R: in, N: *left}
	err = json.NewDecoder(body).Decode(to)
	*left = body.N
	var syntax *json.SyntaxError
	var other *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.As(err, &other), errors.Is(err, io.EOF) && body.N > 0: // nothing at all
		return nil, outcome.DontKnow(fmt.Errorf("%s: %w: %w", s.Name, errNoList, err))
	case err != nil:
		return nil, outcome.DontKnow(fmt.Errorf("%s sent something that is no list: %w", s.Name, err))
	}
	return resp.Header.Values("Link"), nil
}

// next is the query of the page that comes next by an answer's Link headers (RFC 8288).
// Whatever scheme, host and path they name, it is asked for where this one was. named is
// false where there is none.
func next(links []string) (query url.Values, named bool) {
	for _, links := range links {
		for links != "" {
			var target, params string
			if target, links, named = strings.Cut(links, ">"); !named { // some leave out the brackets
				target, links, _ = strings.Cut(target, ";")
			}
			params, links = untilComma(links)
			if !isNext(params) {
				continue
			}
			_, target, _ = strings.Cut(target, "?")
			target, _, _ = strings.Cut(target, "#")
			query, _ = url.ParseQuery(strings.TrimSpace(target)) // what of it can be read
			return query, true
		}
	}
	return nil, false
}

// saysWhere reports whether a query says more than how large a page is.
func saysWhere(query url.Values) bool {
	return len(query) > 1 || len(query) == 1 && !query.Has("n")
}

// untilComma splits behind a link's parameters. A comma in a quoted value is a part of it.
func untilComma(s string) (params, rest string) {
	quoted := false
	for i, c := range s {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// isNext reports whether a link leads to the next page: its relations are next among
// others, or it names none.
func isNext(params string) bool {
	unnamed := true
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		unnamed = false
		for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"'`)) {
			if strings.EqualFold(rel, "next") {
				return true
			}
		}
	}
	return unnamed
}

// said is a source's own refusal that an outcome was made of, nil where it was none.
func said(err error) *registry.Error {
	var e, last *registry.Error
	for errors.As(err, &e) {
		last, err = e, e.Cause
	}
	return last
}

// Page is the part of a list of tags that a client's query asks for: n of them after last
// (OCI distribution specification, "Listing Tags"). next is the query of the part that
// follows, nil where there is none, or none is asked for.
func Page(tags []string, query url.Values) (part []string, next url.Values, err error) {
	if last := query.Get("last"); last != "" {
		at, found := slices.BinarySearch(tags, last)
		if found {
			at++
		}
		tags = tags[at:]
	}
	text := query.Get("n")
	if text == "" {
		return tags, nil, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < 0:
		return nil, nil, registry.Errorf(registry.CodePaginationInvalid, "n is to be a number, not %q", text[:min(len(text), 40)])
	case n >= len(tags):
		return tags, nil, nil
	case n == 0:
		return nil, nil, nil
	}
	return tags[:n], url.Values{"n": {text}, "last": {tags[n-1]}}, nil
}
