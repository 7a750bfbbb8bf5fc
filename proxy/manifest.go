package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/trace"

	"example.org/breakwater/registry"
)

const (
	maxManifest    = 4 << 20 // the OCI specification's advice to registries
	maxHot         = 1024    // manifests in memory
	maxHotSize     = 32 << 10
	staleAfter     = time.Second // with a copy in hand, a slower source counts as not healthy
	unavailableFor = 5 * time.Second
)

// manifestTypes is what the edge accepts: it keeps the bytes as they are, whatever they mean.
var manifestTypes = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.v1+prettyjws", "*/*",
}, ", ")

// serveManifest answers GET and HEAD of a manifest in a managed namespace.
func (h *Handler) serveManifest(x *exchange) error {
	key := tagKey{x.req.Repo, x.req.Reference()}
	e, held, fresh := h.tags.get(key, h.cfg.Freshness(x.ns.Kind))
	var body []byte
	if held { // what is remembered may have been evicted
		var err error
		body, err = h.readManifest(e.digest)
		held = err == nil
	}
	if x.peer != "" && e.source != h.harbor.name { // two edges could keep what they have of each other fresh for ever
		fresh = false
	}
	if held && fresh {
		x.outcome = "hit"
		x.cacheStatus("hit")
		return h.writeManifest(x, e, body)
	}
	asked := lookKey{key, x.peer != ""}
	stale := func() error {
		x.outcome = "stale"
		x.cacheStatus("hit", "fwd=stale", "detail=nobody-can-say")
		return h.writeManifest(x, e, body)
	}
	switch err := h.tags.refused(asked); {
	case err != nil && held && isDontKnow(err):
		return stale()
	case err != nil:
		x.outcome = "hit"
		x.cacheStatus("hit", "detail=negative")
		return err
	}
	q := question{x.ns, x.req, h.routeFor(x), x.r.Header.Get("Authorization")}
	if held && !anyUsable(q.route) { // nor is a look waited for that began before that was known
		return stale()
	}
	began := trace.SpanContextFromContext(x.r.Context())
	l, joined := h.tags.revalidate(asked, e, h.cfg.Freshness(x.ns.Kind), func(ctx context.Context, old entry) (found, error) {
		return h.lookUp(inTrace(ctx, began), q, old)
	})
	var slow <-chan time.Time
	if held && !e.refused { // a slow Harbor is no way around its policy
		timer := time.NewTimer(staleAfter)
		defer timer.Stop()
		slow = timer.C
	}
	select {
	case <-l.done:
	case <-slow:
		return stale()
	case <-x.r.Context().Done():
		return x.r.Context().Err()
	}
	if l.err != nil && held && isDontKnow(l.err) {
		return stale()
	}
	if l.err != nil && isDontKnow(l.err) && h.pushes(x) {
		return h.headForPush(x)
	}
	if l.err != nil {
		return l.err
	}
	if e.digest != l.entry.digest || !held {
		body = nil
	}
	return h.writeLook(x, l, joined, body)
}

// writeLook serves what a look at Harbor found. held is the same manifest as the
// request has read it already, nil where it has not: the store may have lost it since.
func (h *Handler) writeLook(x *exchange, l *look, joined bool, held []byte) error {
	unchanged, body := held != nil, l.body
	if body == nil {
		body = held
	}
	if body == nil {
		var err error
		if body, err = h.readManifest(l.entry.digest); err != nil {
			return dontKnow(fmt.Errorf("read manifest back from the store: %w", err))
		}
	}
	x.outcome = "fill"
	params := []string{"fwd=miss", "detail=" + l.entry.source}
	if unchanged {
		x.outcome, params[0] = "revalidated", "fwd=stale"
	}
	if l.stale && x.peer != "" {
		params = append([]string{"hit"}, params...)
	}
	if joined {
		params = append(params, "collapsed")
	}
	x.cacheStatus(params...)
	return h.writeManifest(x, l.entry, body)
}

// readManifest reads a manifest from the store; those that are asked for often
// and are small are in memory too, as long as the store has them.
func (h *Handler) readManifest(d digest.Digest) ([]byte, error) {
	if body, ok := h.hot.Get(d); ok && h.cfg.Store.Use(d) {
		return body, nil
	}
	r, err := h.cfg.Store.Get(context.Background(), d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err == nil && len(body) <= maxHotSize {
		h.hot.Add(d, body)
	}
	return body, err
}

func (h *Handler) writeManifest(x *exchange, e entry, body []byte) error {
	header := x.w.Header()
	header.Set("Content-Type", e.mediaType)
	header.Set("X-Content-Type-Options", "nosniff")
	setDigest(header, e.digest)
	if x.r.Method == http.MethodGet && x.r.Header.Get("Range") == "" && x.r.Header.Get("If-None-Match") == "" {
		header.Set("Accept-Ranges", "bytes")
		header.Set("Content-Length", strconv.Itoa(len(body)))
		_, err := x.w.Write(body) // with its header, in one packet where it fits
		return err
	}
	http.ServeContent(x.w, x.r, "", time.Time{}, bytes.NewReader(body))
	return nil
}

func setDigest(h http.Header, d digest.Digest) {
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
}

func (h *Handler) holds(d digest.Digest) bool {
	r, err := h.cfg.Store.Get(context.Background(), d)
	if err == nil {
		r.Close()
	}
	return err == nil
}

// keepManifest reads, verifies and stores a source's manifest.
func (h *Handler) keepManifest(req registry.Request, resp *http.Response) (entry, []byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return entry{}, nil, dontKnow(fmt.Errorf("read manifest: %w", err))
	}
	if len(body) > maxManifest {
		return entry{}, nil, registry.Errorf(registry.CodeManifestInvalid, "the manifest is larger than %d bytes", maxManifest)
	}
	d, err := manifestDigest(req, resp.Header.Get("Docker-Content-Digest"), body)
	if err != nil {
		return entry{}, nil, dontKnow(err)
	}
	mediaType, err := manifestType(resp.Header.Get("Content-Type"), body)
	if err != nil {
		return entry{}, nil, dontKnow(err)
	}
	if err := h.cfg.Store.Put(d, body); err != nil {
		return entry{}, nil, fmt.Errorf("keep manifest: %w", err)
	}
	h.cfg.Access.Join(req.Repo, d)
	h.learnSizes(req.Repo, body)
	return entry{digest: d, mediaType: mediaType}, body, nil
}

// manifestDigest returns the digest of body, which must be the one that was
// asked for or, by tag, the one that the source named. Harbor leaves the header
// empty on a cold tag of a proxy cache: then the digest is ours.
func manifestDigest(req registry.Request, named string, body []byte) (digest.Digest, error) {
	want := req.Digest
	if want == "" && named != "" {
		var err error
		if want, err = registry.ParseDigest(named); err != nil {
			return "", err
		}
	}
	if want == "" {
		return digest.FromBytes(body), nil
	}
	if got := want.Algorithm().FromBytes(body); got != want {
		return "", fmt.Errorf("the source sent a manifest with digest %s as %s", got, want)
	}
	return want, nil
}

// manifestType returns the media type to serve the manifest with: the source's
// word, because helm's manifests have none inside. An answer that is no
// manifest at all, as a login page with status 200, is an error.
func manifestType(contentType string, body []byte) (string, error) {
	var inside struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	if err := json.Unmarshal(body, &inside); err != nil || inside.SchemaVersion == 0 && inside.MediaType == "" {
		return "", errors.New("the source sent something that is no manifest")
	}
	switch t, _, err := mime.ParseMediaType(contentType); {
	case err == nil && t != "application/octet-stream" && t != "text/plain" && t != "text/html":
		return contentType, nil
	case inside.MediaType != "":
		return inside.MediaType, nil
	}
	return "application/vnd.oci.image.manifest.v1+json", nil
}

// named is a blob as a repo's manifests name it.
type named struct {
	repo   string
	digest digest.Digest
}

const maxSizes = 1 << 17

// learnSizes remembers how long the manifest says its blobs are: Harbor sends a
// layer that it is fetching itself without a length. It is this repo's word, and
// nobody believes it of another's.
func (h *Handler) learnSizes(repo string, manifest []byte) {
	type descriptor struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
	var inside struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}
	if json.Unmarshal(manifest, &inside) != nil {
		return
	}
	for _, blob := range append(inside.Layers, inside.Config) {
		if d, err := registry.ParseDigest(blob.Digest); err == nil && blob.Size > 0 {
			h.sizes.Add(named{repo, d}, blob.Size)
		}
	}
}
