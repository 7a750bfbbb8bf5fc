package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

const (
	maxBrought = 1000 // parts of one manifest
	maxNested  = 2    // an index of indexes
)

// bring takes to a peer's Harbor what a manifest names and that Harbor has not:
// the push began at the local Harbor, which has died since, and this edge has what
// went through it. What is not here, the client has to push again.
func (h *Handler) bring(ctx context.Context, x *exchange, t taker, manifest []byte, nested int) error {
	type part struct {
		Digest digest.Digest `json:"digest"`
		Type   string        `json:"mediaType"`
	}
	var named struct {
		Config    part   `json:"config"`
		Layers    []part `json:"layers"`
		Manifests []part `json:"manifests"`
	}
	if json.Unmarshal(manifest, &named) != nil || len(named.Layers)+len(named.Manifests) > maxBrought {
		return nil // Harbor will say what it is
	}
	var all []error
	for _, p := range append(named.Layers, named.Config) {
		if err := h.bringBlob(ctx, x, t, p.Digest); err != nil {
			all = append(all, err)
		}
	}
	for _, p := range named.Manifests {
		if nested < maxNested && h.cfg.Access.Member(x.req.Repo, p.Digest) {
			body, err := h.readManifest(p.Digest)
			if err == nil {
				err = h.bring(ctx, x, t, body, nested+1)
			}
			if err == nil {
				_, err = h.sendTo(ctx, x, t, http.MethodPut, "/v2/"+x.req.Repo+"/manifests/"+p.Digest.String(), p.Type, strings.NewReader(string(body)), int64(len(body)), http.StatusCreated)
			}
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// bringBlob uploads one blob, if the repo's pusher has brought it here.
func (h *Handler) bringBlob(ctx context.Context, x *exchange, t taker, d digest.Digest) error {
	if d.Validate() != nil || !h.cfg.Access.Member(x.req.Repo, d) {
		return nil
	}
	s := step{t.place, x.req.Repo, x.ns}
	header := h.headerFor(s, "")
	header.Set(pushHeader, "true")
	head := registry.Request{Method: http.MethodHead, Kind: registry.KindBlob, Repo: x.req.Repo, Digest: d}
	resp, err := t.place.do(ctx, head, header, h.cfg.Deadline)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	blob, err := h.cfg.Store.Get(ctx, d)
	if err != nil {
		return nil // it is not here
	}
	defer blob.Close()
	size, ok := blob.Size()
	if !ok {
		return nil
	}
	location, err := h.sendTo(ctx, x, t, http.MethodPost, "/v2/"+x.req.Repo+"/blobs/uploads/", "", nil, 0, http.StatusAccepted)
	if err != nil {
		return err
	}
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	query := u.Query()
	query.Set("digest", d.String())
	_, err = h.sendTo(ctx, x, t, http.MethodPut, u.Path+"?"+query.Encode(), "application/octet-stream", blob, size, http.StatusCreated)
	return err
}

// sendTo sends a write to a peer's Harbor through its edge, with the credentials of
// the client who pushes.
func (h *Handler) sendTo(ctx context.Context, x *exchange, t taker, method, path, contentType string, body io.Reader, size int64, want int) (location string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, t.place.registry.URL().String()+PeerPath+path, body)
	if err != nil {
		return "", err
	}
	req.ContentLength = size
	if err := t.place.showKey(req.Header); err != nil {
		return "", err
	}
	req.Header.Set(clientHeader, x.r.Header.Get("Authorization"))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := t.place.registry.Transport().RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	h.metrics.askedOf(t.place.name, resp)
	if resp.StatusCode != want {
		return "", fmt.Errorf("%s answers %s", t.place.name, resp.Status)
	}
	return resp.Header.Get("Location"), nil
}
