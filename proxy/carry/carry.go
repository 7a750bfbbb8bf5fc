// Package carry takes to a Harbor what a manifest names and that Harbor has not: blobs by
// uploads, the manifests of an index by their digests. It knows neither where content
// comes from nor with whose credentials it is written.
package carry

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

	"example.org/breakwater/registry"
)

const (
	maxParts  = 1000 // parts of one manifest
	maxNested = 2    // an index of indexes
)

// From is where content is taken from.
type From struct {
	// Manifest returns a manifest; nil: it is not to be had, and is left out.
	Manifest func(ctx context.Context, d digest.Digest) ([]byte, error)
	// Blob opens a blob of size bytes; a nil body: it is not to be had, and is left out.
	Blob func(ctx context.Context, d digest.Digest) (body io.ReadCloser, size int64, err error)
}

// To is the repo of a Harbor that content is taken to.
type To struct {
	Repo string
	// HasBlob and HasManifest report whether the repo has it already.
	HasBlob, HasManifest func(ctx context.Context, d digest.Digest) (bool, error)
	// Send sends a write, and returns the answer's Location. Another status than
	// r.Want is an error.
	Send func(ctx context.Context, r Request) (location string, err error)
}

// Request is a write to a Harbor (OCI distribution specification, "Push").
type Request struct {
	Method, Path string // Path may have a query
	ContentType  string // "": there is no body
	Body         io.Reader
	Size         int64 // of Body, in bytes
	Want         int   // the status of success
}

// part is a blob or manifest that a manifest names.
type part struct {
	Digest digest.Digest `json:"digest"`
	Type   string        `json:"mediaType"`
	URLs   []string      `json:"urls"` // of a layer that is fetched from elsewhere
}

// Parts takes to the repo what the manifest names. What is not to be had is left out: the
// Harbor says so when it is given the manifest.
func Parts(ctx context.Context, from From, to To, manifest []byte) error {
	return parts(ctx, from, to, manifest, 0)
}

func parts(ctx context.Context, from From, to To, manifest []byte, nested int) error {
	var named struct {
		Config    part   `json:"config"`
		Layers    []part `json:"layers"`
		Manifests []part `json:"manifests"`
	}
	if json.Unmarshal(manifest, &named) != nil || len(named.Layers)+len(named.Manifests) > maxParts {
		return nil // the Harbor will say what it is
	}
	var all []error
	for _, p := range append(named.Layers, named.Config) {
		if p.Digest.Validate() == nil && len(p.URLs) == 0 {
			all = append(all, blob(ctx, from, to, p.Digest))
		}
	}
	for _, p := range named.Manifests {
		if nested < maxNested && p.Digest.Validate() == nil {
			all = append(all, child(ctx, from, to, p, nested+1))
		}
	}
	return errors.Join(all...)
}

// child takes a manifest of an index, after what it names.
func child(ctx context.Context, from From, to To, p part, nested int) error {
	if has, err := to.HasManifest(ctx, p.Digest); has || err != nil {
		return err
	}
	body, err := from.Manifest(ctx, p.Digest)
	if body == nil || err != nil {
		return err
	}
	if err := parts(ctx, from, to, body, nested); err != nil {
		return err
	}
	return Manifest(ctx, to, p.Digest.String(), p.Type, body)
}

// Manifest writes a manifest under a reference, a tag or its digest. The content type is
// what the manifest is called elsewhere, "" for nothing.
func Manifest(ctx context.Context, to To, reference, contentType string, body []byte) error {
	if t, err := registry.ManifestType(contentType, body); err == nil {
		contentType = t
	}
	_, err := to.Send(ctx, Request{http.MethodPut, "/v2/" + to.Repo + "/manifests/" + reference, contentType, bytes.NewReader(body), int64(len(body)), http.StatusCreated})
	return err
}

// blob takes a blob that the repo has not.
func blob(ctx context.Context, from From, to To, d digest.Digest) error {
	if has, err := to.HasBlob(ctx, d); has || err != nil {
		return err
	}
	body, size, err := from.Blob(ctx, d)
	if body == nil || err != nil {
		return err
	}
	defer body.Close()
	location, err := to.Send(ctx, Request{Method: http.MethodPost, Path: "/v2/" + to.Repo + "/blobs/uploads/", Want: http.StatusAccepted})
	if err != nil {
		return err
	}
	u, err := url.Parse(location)
	if err != nil {
		return fmt.Errorf("the Location of an upload session: %w", err)
	}
	query := u.Query()
	query.Set("digest", d.String())
	_, err = to.Send(ctx, Request{http.MethodPut, u.Path + "?" + query.Encode(), "application/octet-stream", body, size, http.StatusCreated})
	return err
}
