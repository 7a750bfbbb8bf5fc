package fetch

import (
	"context"
	"errors"
	"io"

	"example.org/breakwater/proxy/store"
)

// Spare brings a blob to the store before anybody asks for it, where there is room to spare
// (store.ErrNoRoom), and finds out that the repo holds it. What it returns is to be read to its
// end; it is nil where there is nothing left to do. The error is an outcome.
func (f *Fetcher) Spare(ctx context.Context, q Question) (io.ReadCloser, error) {
	repo, d := q.Request.Repo, q.Request.Digest
	if f.Store.Has(d) {
		if f.Access.Member(repo, d) {
			return nil, nil
		}
		err := f.proveMember(ctx, q)
		if !errors.Is(err, errUnproven) {
			return nil, err
		}
		b, err := f.stream(ctx, q)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
	t, sources := f.transfer(q)
	reader, err := f.Store.FetchSpare(ctx, d, sources...)
	switch {
	case err != nil && (ctx.Err() != nil || errors.Is(err, store.ErrNoRoom)):
		return nil, err
	case err != nil:
		return nil, t.verdict(err)
	}
	b, err := f.checked(ctx, q, &Blob{Reader: reader, Origin: Filled, Source: t.source()})
	if err != nil {
		return nil, err
	}
	return b, nil
}
