// Package fetch brings content from the sources of a repo into the store: manifests,
// which are verified and kept whole, and blobs, whose transfers are shared. It also
// finds out whether a repo holds a blob that the store has because of another one.
package fetch

import (
	"context"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/trace"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// Question is what content is asked for, and where. It may outlive the request that
// it came with.
type Question struct {
	Request       registry.Request
	Namespace     namespace.Namespace
	OwnOnly       bool              // a peer's: no other datacenter is asked for it
	Only          string            // the datacenter whose edge alone is asked, where it is a peer of this one; "": all are
	HomesOnly     bool              // of the others only those are asked whose Harbors are to hold the project
	Authorization string            // the client's, for a source that relays it
	Span          trace.SpanContext // of the request: what is done for it belongs to its trace
	// Want is the newest version of the tag that this edge knows of: no other digest is an
	// answer. Zero: what the sources have is.
	Want version.Record
}

// Route returns the sources to ask, in order. The local Harbor's own step comes first, unless Only is another.
func (q Question) Route(routes *source.Routes) []source.Step {
	if q.OwnOnly {
		return routes.Own(q.Namespace, q.Request.Repo)
	}
	route := routes.Of(q.Namespace, q.Request.Repo, q.Request.Tag)
	if i := slices.IndexFunc(route, func(s source.Step) bool { return q.Only != "" && s.Kind == source.Peer && s.Datacenter == q.Only }); i >= 0 {
		return route[i : i+1]
	}
	if q.HomesOnly {
		return source.Homes(route)
	}
	return route
}

// Fetcher brings content into one store. Safe for concurrent use.
type Fetcher struct {
	Routes   *source.Routes
	Store    *store.Store
	Access   *access.Checker
	Deadline time.Duration // for an answer of a source where there is another one to ask
	// Accepts is told of a tag that the local Harbor has otherwise than the version that is
	// wanted, "" for not at all, and reports whether that is newer.
	Accepts func(key version.Key, has digest.Digest) bool
	// Heard is told of the versions that peers say their answers have. nil: nobody is.
	Heard func(datacenter string, key version.Key, r version.Record)
	Now   func() time.Time

	// Bodies are the bytes of manifests and lists that sources are sending, by project: who
	// has a project's upstream in hand gets no more memory than that.
	Bodies *share.Shares

	started time.Time

	hot   *lru.Cache[digest.Digest, []byte]
	sizes *lru.Cache[named, int64]          // of the blobs that a repo's manifests name
	comes *lru.Cache[digest.Digest, string] // for which repo a blob was asked for last
}

// RepoOf is the repo for which a source was last asked for a blob, "" where that was long ago.
func (f *Fetcher) RepoOf(d digest.Digest) string {
	repo, _ := f.comes.Peek(d)
	return repo
}

const (
	maxBodies    = 128 << 20
	maxBodiesOne = 64 << 20 // of one project

	maxHot     = 1024 // manifests in memory
	maxHotSize = 32 << 10
	maxSizes   = 1 << 17
	maxComes   = 4096 // blobs
)

// New returns a Fetcher.
func New(routes *source.Routes, blobs *store.Store, permission *access.Checker, deadline time.Duration, now func() time.Time) *Fetcher {
	f := &Fetcher{Routes: routes, Store: blobs, Access: permission, Deadline: deadline, Now: now, started: now(), Bodies: share.New(maxBodies, maxBodiesOne)}
	f.hot, _ = lru.New[digest.Digest, []byte](maxHot) // the sizes are positive: no error
	f.sizes, _ = lru.New[named, int64](maxSizes)
	f.comes, _ = lru.New[digest.Digest, string](maxComes)
	return f
}

// InTrace puts work that outlives its request, and may serve others too, into the
// trace of the request that began it.
func (q Question) InTrace(ctx context.Context) context.Context {
	if !q.Span.IsValid() {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, q.Span)
}
