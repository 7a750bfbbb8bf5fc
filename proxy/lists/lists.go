// Package lists answers tags/list and referrers with whole lists: each source's is
// read to its end, and what several say is merged. A list that lacks what was there
// before, because a source is silent, is completed by what is remembered.
package lists

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// State keeps lists across restarts, and returns none that was put while the name of the
// repo's project was another project's.
type State interface {
	TagList(repo string) []string // sorted
	PutTagList(repo string, tags []string)
	Referrers(repo string, d digest.Digest) []json.RawMessage
	PutReferrers(repo string, d digest.Digest, all []json.RawMessage)
}

// Lists answers with whole lists. Safe for concurrent use.
type Lists struct {
	Routes *source.Routes
	State  State // not nil
	// Project returns the id of the repo's project, 0 where that is not known: nothing is
	// remembered then. nil: projects are not told apart.
	Project  func(repo string) int64
	Deadline time.Duration // for an answer of a source
	Bodies   *share.Shares // the bytes that sources are sending, by project
}

// List is a whole list, and how the edge came by it.
type List[T any] struct {
	All    []T
	Source string // the name of the source that gave it; "" where it is Merged or Stale
	Merged bool   // it is completed by what is remembered
	Stale  bool   // it is what is remembered: nobody can say
}

const (
	pageSize = 1000     // of what is asked of sources
	maxPages = 100      // of one source's list
	maxList  = 16 << 20 // bytes of one source's list
	maxKnown = 10_000   // tags of a repo that are remembered
)

// noneApart is the id of every project where projects are not told apart.
const noneApart = -1

func (l *Lists) project(repo string) int64 {
	if l.Project == nil {
		return noneApart
	}
	return l.Project(repo)
}

// isStill reports whether the repo's project is the one with the id, so that its lists may
// be remembered.
func (l *Lists) isStill(project int64, repo string) bool {
	return project != 0 && project == l.project(repo)
}

// answer is what one source gave.
type answer[T any] struct {
	all  []T
	step source.Step
	err  error
}

// askAll asks the sources at once, each for its whole list.
func askAll[T any](route, steps []source.Step, ask func(source.Step) ([]T, error)) <-chan answer[T] {
	answers := make(chan answer[T], len(steps))
	for _, s := range steps {
		go func() {
			all, err := askOne(route, s, ask)
			answers <- answer[T]{all, s, err}
		}()
	}
	return answers
}

// askOne asks a source of the route. One that is known to be down is not waited for
// where another one can be asked.
func askOne[T any](route []source.Step, s source.Step, ask func(source.Step) ([]T, error)) ([]T, error) {
	if s.Skipped(route) {
		return nil, outcome.DontKnow(source.ErrDown)
	}
	return ask(s)
}

// asked is a source, and how long each of its answers has.
type asked struct {
	source.Step
	deadline time.Duration // 0: as long as it lives
}

// await asks a source. Where something is remembered that can be given instead, it has
// Deadline for each answer; else it is waited for as long as it lives.
func (l *Lists) await(ctx context.Context, s source.Step, remembered bool, ask func(context.Context, asked) error) error {
	if remembered {
		ctx, cancel := context.WithTimeout(ctx, source.Patience(l.Deadline))
		defer cancel()
		return ask(ctx, asked{s, l.Deadline})
	}
	ctx, answered := source.NewVigil(l.Deadline).Over(ctx, s)
	err := ask(ctx, asked{s, 0})
	answered(err)
	return err
}

// readPages reads a source's list to its end, each page by the query that the one
// before names, in whose words they may be: "last" is not what every registry says.
// take is given each page.
func readPages[P any](ctx context.Context, l *Lists, s asked, req registry.Request, header http.Header, take func(P)) error {
	in := l.Bodies.Reader(s.Namespace.Project, nil)
	defer in.Close()
	left := int64(maxList)
	for range maxPages {
		var page P
		next, err := l.getJSON(ctx, s, req, header, in, &left, &page)
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

// getJSON reads a source's JSON through in, of at most left bytes, and the query of the
// next page from its Link. left is what may come after it.
func (l *Lists) getJSON(ctx context.Context, s asked, req registry.Request, header http.Header, in *share.Reader, left *int64, to any) (next url.Values, err error) {
	header = header.Clone()
	if req.Kind == registry.KindManifest {
		header.Set("Accept", fetch.ManifestTypes) // distribution 2 has no index for those who do not ask for one
	}
	resp, err := s.Do(ctx, req, header, s.deadline)
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
	if *left = body.N; err != nil {
		return nil, outcome.DontKnow(fmt.Errorf("%s sent something that is no list: %w", s.Name, err))
	}
	link, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	u, err := url.Parse(link)
	if err != nil {
		return nil, nil
	}
	return u.Query(), nil
}

// union of two lists, sorted.
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
