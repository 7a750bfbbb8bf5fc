package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

const (
	maxBrought = 1000 // parts of one manifest
	maxNested  = 2    // an index of indexes
)

// part is a blob or manifest that a manifest names.
type part struct {
	Digest digest.Digest `json:"digest"`
	Type   string        `json:"mediaType"`
}

// bring takes to a peer's Harbor what a manifest names and that Harbor has not: the
// push began at the local Harbor, which has died since, and this edge has what went
// through it. What is not here, the client has to push again.
func (w *Write) bring(ctx context.Context, t target, manifest []byte, nested int) error {
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
		all = append(all, w.bringBlob(ctx, t, p.Digest))
	}
	for _, p := range named.Manifests {
		if nested < maxNested && w.p.Access.Member(w.Parsed.Repo, p.Digest) {
			all = append(all, w.bringManifest(ctx, t, p, nested+1))
		}
	}
	return errors.Join(all...)
}

// bringManifest pushes a manifest of an index by its digest, after what it names.
func (w *Write) bringManifest(ctx context.Context, t target, p part, nested int) error {
	body, err := w.p.Manifests.Read(p.Digest)
	if err != nil {
		return err
	}
	if err := w.bring(ctx, t, body, nested); err != nil {
		return err
	}
	path := "/v2/" + w.Parsed.Repo + "/manifests/" + p.Digest.String()
	_, err = w.send(ctx, t, http.MethodPut, path, p.Type, bytes.NewReader(body), int64(len(body)), http.StatusCreated)
	return err
}

// bringBlob uploads one blob, if the repo's pusher has brought it here.
func (w *Write) bringBlob(ctx context.Context, t target, d digest.Digest) error {
	if d.Validate() != nil || !w.p.Access.Member(w.Parsed.Repo, d) {
		return nil
	}
	s := source.Step{Source: t.Source, Repo: w.Parsed.Repo, Namespace: w.Namespace}
	header := s.Header("")
	header.Set(peer.PushHeader, "true")
	head := registry.Request{Method: http.MethodHead, Kind: registry.KindBlob, Repo: w.Parsed.Repo, Digest: d}
	resp, err := t.Do(ctx, head, header, w.p.Deadline)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	blob, err := w.p.Store.Get(ctx, d)
	if err != nil {
		return nil // it is not here
	}
	defer blob.Close()
	size, ok := blob.Size()
	if !ok {
		return nil
	}
	location, err := w.send(ctx, t, http.MethodPost, "/v2/"+w.Parsed.Repo+"/blobs/uploads/", "", nil, 0, http.StatusAccepted)
	if err != nil {
		return err
	}
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	query := u.Query()
	query.Set("digest", d.String())
	_, err = w.send(ctx, t, http.MethodPut, u.Path+"?"+query.Encode(), "application/octet-stream", blob, size, http.StatusCreated)
	return err
}

// send sends a write to a peer's Harbor through its edge, with the credentials of the
// client who pushes. size is of the body, in bytes; want is the status of success.
func (w *Write) send(ctx context.Context, t target, method, path, contentType string, body io.Reader, size int64, want int) (location string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, t.Registry.URL().String()+peer.Path+path, body)
	if err != nil {
		return "", err
	}
	req.ContentLength = size
	req.Header.Set(peer.ClientHeader, w.HTTP.Header.Get("Authorization"))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return "", fmt.Errorf("%s answers %s", t.Name, resp.Status)
	}
	return resp.Header.Get("Location"), nil
}
