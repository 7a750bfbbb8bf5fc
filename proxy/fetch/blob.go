package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// Origin is how the edge came by a blob.
type Origin int

// The origins of a blob.
const (
	Held     Origin = iota // it is in the store
	Joined                 // a transfer brings it that another request began
	Filled                 // a transfer brings it that this request began
	Streamed               // the repo's own source sends it, though the store has it
	Told                   // the local Harbor said how long it is, for a HEAD; nothing is read
)

// Blob is a blob that a client may read, held or on its way.
type Blob struct {
	*store.Reader // nil where it is Told
	Origin        Origin
	Source        string // the name of the source, where it is Filled, Streamed or Told
	Length        int64  // in bytes, where it is Told
}

// Blob opens the blob that q asks for, once the repo is known to hold it. The error
// is an outcome.
func (f *Fetcher) Blob(ctx context.Context, q Question) (*Blob, error) {
	reader, err := f.Store.Get(ctx, q.Request.Digest)
	switch {
	case err == nil:
		b := &Blob{Reader: reader, Origin: Held}
		if reader.Filling() {
			b.Origin = Joined
		}
		return f.checked(ctx, q, b)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case q.Request.Method == http.MethodHead:
		if size, ok, err := f.tell(ctx, q); err != nil || ok {
			return &Blob{Origin: Told, Source: f.Routes.Harbor.Name, Length: size}, err
		}
	}
	return f.fill(ctx, q)
}

// fill joins or starts the transfer of the blob into the store.
func (f *Fetcher) fill(ctx context.Context, q Question) (*Blob, error) {
	t, sources := f.transfer(q)
	get := f.Store.Fetch
	if q.OwnOnly && q.Namespace.Kind == namespace.MultiDC { // two edges that want the same would wait for each other
		get = f.Store.FetchAside
	}
	reader, err := get(ctx, q.Request.Digest, sources...)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, t.verdict(err)
	}
	b := &Blob{Reader: reader, Origin: Filled, Source: t.source()}
	if b.Source == "" {
		b.Origin = Joined
	}
	return f.checked(ctx, q, b)
}

// stream gives the client what the repo's own sources send, though the store holds
// the blob: an upstream could say that it has any digest. Once it has sent the whole,
// the repo is known to hold it.
func (f *Fetcher) stream(ctx context.Context, q Question) (*Blob, error) {
	t, sources := f.transfer(q)
	reader, err := f.Store.Stream(ctx, q.Request.Digest, sources...)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, t.verdict(err)
	}
	return &Blob{Reader: reader, Origin: Streamed, Source: t.source()}, nil
}

// checked returns the blob if the repo is known, or found, to hold it: it may have
// come, or be coming, out of another project. What comes from the project's own
// sources is theirs to give.
func (f *Fetcher) checked(ctx context.Context, q Question, b *Blob) (*Blob, error) {
	repo, d := q.Request.Repo, q.Request.Digest
	if !f.Access.Member(repo, d) && b.Owner() != f.owner(q) {
		err := f.proveMember(ctx, q)
		if err != nil {
			b.Close()
		}
		if errors.Is(err, errUnproven) {
			b, err = f.stream(ctx, q)
		}
		if err != nil {
			return nil, err
		}
	}
	if size, ok := f.sizes.Get(named{repo, d}); ok {
		b.Expect(size)
	}
	return b, nil
}

// owner names the project on whose behalf a blob is fetched: one that is made again under
// its name is another one.
func (f *Fetcher) owner(q Question) string {
	return fmt.Sprintf("%s %d", q.Namespace.Project, f.Access.Project(q.Request.Repo))
}

// tell asks the local Harbor for the blob's length alone. ok is false where its
// answer is not the last word: a proxy cache answers 404 to the HEAD of every blob
// that it has not pulled yet, and a peer may hold what Harbor does not.
func (f *Fetcher) tell(ctx context.Context, q Question) (size int64, ok bool, err error) {
	route := q.Route(f.Routes)
	own, alone := route[0], len(route) == 1
	if !own.Usable() && !alone {
		return 0, false, nil
	}
	req := own.Under(q.Request)
	req.Method = http.MethodHead
	resp, err := own.Do(ctx, req, own.Header(q.Authorization), f.Deadline)
	if err != nil {
		return 0, false, ctx.Err()
	}
	resp.Body.Close()
	switch {
	case registry.Encoded(resp.Header): // its length may be of what is sent
	case resp.StatusCode == http.StatusOK && resp.ContentLength >= 0 && resp.ContentLength <= store.MaxBlob:
		f.Access.Join(q.Request.Repo, q.Request.Digest)
		return resp.ContentLength, true, nil
	case resp.StatusCode == http.StatusNotFound && registry.IsJSON(resp) && q.Namespace.Kind != namespace.Cache && alone:
		return 0, false, registry.Errorf(registry.CodeBlobUnknown, "there is no such blob in this repo")
	}
	return 0, false, nil
}
