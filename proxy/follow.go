package proxy

import (
	"context"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/carry"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// contentOf is where what the local Harbor lacks of a repo is taken from: the store, and
// the sources of the repo.
func (h *Handler) contentOf(repo string) carry.From {
	return carry.From{
		Manifest: func(ctx context.Context, d digest.Digest) ([]byte, error) {
			if body, err := h.fetch.Read(d); err == nil {
				return body, nil
			}
			found, err := h.fetch.Manifest(ctx, h.questionOf(registry.KindManifest, repo, d), tags.Entry{})
			return found.Body, err
		},
		Blob: func(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
			blob, err := h.fetch.Blob(ctx, h.questionOf(registry.KindBlob, repo, d))
			if err != nil {
				return nil, 0, err
			}
			size, known := blob.Size()
			if !known {
				size = -1
			}
			return blob, size, nil
		},
	}
}

// questionOf is the edge's own question for content of a repo.
func (h *Handler) questionOf(kind registry.Kind, repo string, d digest.Digest) fetch.Question {
	return fetch.Question{Request: registry.Request{Method: http.MethodGet, Kind: kind, Repo: repo, Digest: d}, Namespace: h.namespaces.OfRepo(repo)}
}

// elsewhere reports whether another datacenter's Harbor has a manifest.
func (h *Handler) elsewhere(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	_, err := h.fetch.Elsewhere(ctx, h.questionOf(registry.KindManifest, repo, d))
	if outcome.IsNo(err) {
		return false, nil
	}
	return err == nil, err
}
