package push

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/carry"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// bring takes to a peer's Harbor what a manifest names and that Harbor has not: the
// push began at the local Harbor, which has died since, and this edge has what went
// through it. What is not here, the client has to push again.
func (w *Write) bring(ctx context.Context, t target, manifest []byte) error {
	repo := w.Parsed.Repo
	from := carry.From{
		Manifest: func(_ context.Context, d digest.Digest) ([]byte, error) {
			if !w.p.Access.Member(repo, d) {
				return nil, nil
			}
			return w.p.Manifests.Read(d)
		},
		Blob: func(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
			blob, size := w.p.stored(ctx, d)
			if blob == nil { // the repo has it elsewhere, so its client did push it
				return nil, 0, fmt.Errorf("%s is not in this edge's store", d)
			}
			return blob, size, nil
		},
	}
	to := carry.To{
		Repo:        repo,
		HasManifest: func(context.Context, digest.Digest) (bool, error) { return false, nil }, // to put it again does no harm
		HasBlob: func(ctx context.Context, d digest.Digest) (bool, error) {
			if !w.p.Access.Member(repo, d) {
				return true, nil // nobody has pushed it here
			}
			return w.hasBlob(ctx, t, d)
		},
		Send: func(ctx context.Context, r carry.Request) (string, error) { return w.send(ctx, t, r) },
	}
	return carry.Parts(ctx, from, to, manifest)
}

// stored returns a blob that is whole in the edge's store, and its length in bytes; nil for none.
func (p *Pusher) stored(ctx context.Context, d digest.Digest) (*store.Reader, int64) {
	blob, err := p.Store.Get(ctx, d)
	if err != nil {
		return nil, 0
	}
	size, ok := blob.Size()
	if !ok {
		blob.Close()
		return nil, 0
	}
	return blob, size
}

// brings reports whether the edge takes a blob to a target that lacks it, when a manifest is
// pushed there that names it (bring), and the blob's length in bytes.
func (p *Pusher) brings(ctx context.Context, t target, r registry.Request) (size int64, ok bool) {
	if t.Kind != source.Peer || !p.Access.Member(r.Repo, r.Digest) {
		return 0, false
	}
	blob, size := p.stored(ctx, r.Digest)
	if blob == nil {
		return 0, false
	}
	blob.Close()
	return size, true
}

// hasBlob asks a peer's Harbor, through its edge. An answer that is neither yes nor no is an error.
func (w *Write) hasBlob(ctx context.Context, t target, d digest.Digest) (bool, error) {
	s := source.Step{Source: t.Source, Repo: w.Parsed.Repo, Namespace: w.Namespace}
	header := s.Header("")
	header.Set(peer.PushHeader, "true")
	head := registry.Request{Method: http.MethodHead, Kind: registry.KindBlob, Repo: w.Parsed.Repo, Digest: d}
	resp, err := s.Await(ctx, head, header, w.p.Deadline)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return false, fmt.Errorf("%s answers %s", t.Name, resp.Status)
	}
	return resp.StatusCode == http.StatusOK, nil
}

// send sends a write to a peer's Harbor through its edge, with the credentials of the
// client who pushes.
func (w *Write) send(ctx context.Context, t target, r carry.Request) (location string, err error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, t.Registry.URL().String()+peer.Path+r.Path, r.Body)
	if err != nil {
		return "", err
	}
	req.ContentLength = r.Size
	req.Header.Set(peer.ClientHeader, w.HTTP.Header.Get("Authorization"))
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != r.Want {
		return "", fmt.Errorf("%s answers %s", t.Name, resp.Status)
	}
	return resp.Header.Get("Location"), nil
}
