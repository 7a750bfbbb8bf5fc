// Package lists answers tags/list and referrers with whole lists: each source's is
// read to its end, and what several say is merged. A list that lacks what was there
// before, because a source is silent, is completed by what is remembered. All who ask
// the same share one question.
package lists

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
)

// State keeps lists across restarts, and returns none that was put while the name of the
// repo's project was another project's.
type State interface {
	TagList(repo string) []string // sorted; nil: none was put
	PutTagList(repo string, tags []string)
	Referrers(repo string, d digest.Digest) []json.RawMessage
	PutReferrers(repo string, d digest.Digest, all []json.RawMessage)
}

// Lists answers with whole lists. Safe for concurrent use.
type Lists struct {
	Context context.Context // of every question, which no single request owns
	Routes  *source.Routes
	State   State // not nil
	// Project returns the id of the repo's project, 0 where that is not known: nothing is
	// remembered then. nil: projects are not told apart.
	Project  func(repo string) int64
	Deadline time.Duration // for an answer of a source
	Bodies   *share.Shares // the bytes that sources are sending, by project

	tagsAsked      inquiries[string]
	referrersAsked inquiries[json.RawMessage]

	sizes sync.Map // which of pageSizes a source took that refused larger ones, by sized
}

// sized is what takes pages of one size: a source may have another registry behind each project.
type sized struct{ source, project string }

// List is a whole list, and how the edge came by it.
type List[T any] struct {
	All    []T
	Source string // the name of the source that gave it; "" where it is Merged or Stale
	Merged bool   // it is completed by what is remembered
	Stale  bool   // it is what is remembered: nobody can say
}

const (
	maxPages   = 1000     // of one source's list
	maxEntries = 100_000  // of one source's list
	maxList    = 16 << 20 // bytes of one source's list
	maxKnown   = 10_000   // tags of a repo that are remembered
)

// pageSizes are those of what is asked of sources, in the order in which they are tried
// where one is refused: many registries have a limit of their own, which none tells. 0
// leaves it to the source.
var pageSizes = [...]int{1000, 100, 0}

// noneApart is the id of every project where projects are not told apart.
const noneApart = -1

func (l *Lists) project(repo string) int64 {
	if l.Project == nil {
		return noneApart
	}
	return l.Project(repo)
}

// toRemember is the project of a question, 0 of a peer's where the local Harbor is not to hold the
// project: its list is a part of what clients are told.
func (l *Lists) toRemember(q fetch.Question) int64 {
	if q.OwnOnly && q.Namespace.Away {
		return 0
	}
	return l.project(q.Request.Repo)
}

// isStill reports whether the repo's project is the one with the id, so that its lists may
// be remembered.
func (l *Lists) isStill(project int64, repo string) bool {
	return project != 0 && project == l.project(repo)
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
