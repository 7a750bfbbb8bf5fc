package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

// pendingPull is a manifest that was pulled through: Harbor keeps it only once
// its blobs are there.
type pendingPull struct {
	repo, tag string
	artifact  *artifact
	body      []byte
}

// upstreamRequest is the call as the project's upstream is to hear it.
func (c *call) upstreamRequest(method string, kind registry.Kind) registry.Request {
	_, repo, _ := strings.Cut(c.repo, "/")
	if c.project.hub && !strings.Contains(repo, "/") {
		repo = "library/" + repo
	}
	r := registry.Request{Method: method, Kind: kind, Repo: repo}
	if d, err := digest.Parse(c.reference); err == nil {
		r.Digest = d
	} else {
		r.Tag = c.reference
	}
	return r
}

var acceptAll = http.Header{"Accept": {"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json"}}

// proxyManifest answers as Harbor's proxy cache does: a digest that is held asks
// nobody, everything else asks the upstream by HEAD, and whatever goes wrong
// there looks as if only the local copy existed. A limit is passed on for what is not
// held; but an upstream that limits its root too is held for unwell, and asked nothing.
func (h *Harbor) proxyManifest(c *call) {
	local, _ := h.db.find(c.project, c.repo, c.reference)
	byDigest := strings.Contains(c.reference, ":")
	if local != nil && byDigest {
		h.localManifest(c)
		return
	}
	ctx := c.r.Context()
	head, err := c.upstream.Do(ctx, c.upstreamRequest(http.MethodHead, registry.KindManifest), acceptAll)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		head.Body.Close()
	}
	switch {
	case err == nil && head.StatusCode == http.StatusNotFound && local != nil && h.db.keepsDeleted(c.project):
		h.localManifest(c)
	case err == nil && head.StatusCode == http.StatusNotFound:
		tag := c.reference
		if byDigest {
			tag = ""
		}
		notFound(c, "resource not found: repo %s, tag %s not found", c.repo, tag)
	case err == nil && head.StatusCode == http.StatusTooManyRequests && local == nil && !c.rootLimited():
		coreError(c.w, http.StatusTooManyRequests, "TOO_MANY_REQUEST", "too many requests to upstream registry")
	case err != nil || head.StatusCode != http.StatusOK:
		h.localManifest(c)
	case local != nil && head.Header.Get("Docker-Content-Digest") == local.Digest:
		h.localManifest(c)
	case c.r.Method == http.MethodHead:
		coldHeaders(c.w, head.Header.Get("Docker-Content-Digest"))
		c.w.Header().Set("Content-Type", head.Header.Get("Content-Type"))
		c.w.Header().Set("Content-Length", fmt.Sprint(head.ContentLength))
	default:
		h.pullManifest(c, byDigest)
	}
}

// keepsDeleted reports whether a proxy cache serves what its upstream has deleted (since
// 2.15.1; not recorded, but that projects have the setting).
func (d *database) keepsDeleted(p *project) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return p.Metadata["proxy_cache_local_on_not_found"] == "true"
}

// rootLimited reports whether the upstream wants no requests at all.
func (c *call) rootLimited() bool {
	resp, err := c.upstream.Do(c.r.Context(), registry.Request{Method: http.MethodGet, Kind: registry.KindBase}, nil)
	if err != nil {
		return true
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusTooManyRequests
}

// coldHeaders are those of a manifest that Harbor does not hold: the ETag
// without its quotes.
func coldHeaders(w http.ResponseWriter, digest string) {
	w.Header()["Docker-Content-Digest"] = []string{digest}
	w.Header()["Etag"] = []string{digest}
}

func (h *Harbor) pullManifest(c *call, byDigest bool) {
	resp, err := c.upstream.Do(c.r.Context(), c.upstreamRequest(http.MethodGet, registry.KindManifest), acceptAll)
	if err != nil {
		h.localManifest(c)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest))
	if err != nil || resp.StatusCode != http.StatusOK {
		h.localManifest(c)
		return
	}
	a := describe(resp.Header.Get("Content-Type"), body)
	p := &pendingPull{repo: c.repo, artifact: a, body: body}
	named := ""
	if byDigest {
		named = c.reference
	} else {
		p.tag = c.reference
	}
	h.db.mu.Lock()
	c.project.pending[c.repo+" "+c.reference] = p
	h.db.mu.Unlock()
	h.keepPending(c.project)
	coldHeaders(c.w, named)
	c.w.Header().Set("Content-Type", a.MediaType)
	c.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	c.w.Write(body) //nolint:errcheck // the client is gone
}

// keepPending stores the manifests that were pulled through and whose blobs
// have all come.
func (h *Harbor) keepPending(p *project) {
	h.db.mu.Lock()
	waiting := map[string]*pendingPull{}
	for k, pull := range p.pending {
		waiting[k] = pull
	}
	h.db.mu.Unlock()
	for key, pull := range waiting {
		if !h.complete(pull) {
			continue
		}
		r, _ := http.NewRequest(http.MethodPut, "/v2/"+pull.repo+"/manifests/"+pull.artifact.Digest, bytes.NewReader(pull.body))
		r.Header.Set("Content-Type", pull.artifact.MediaType)
		w := httptest.NewRecorder()
		h.registry.ServeHTTP(w, r)
		if w.Code == http.StatusCreated {
			h.db.record(p, pull.repo, pull.tag, pull.artifact)
			h.happened(event{kind: pushed, project: p, repo: pull.repo, digest: pull.artifact.Digest, operator: "harbor#proxy-cache-service"})
			h.db.mu.Lock()
			delete(p.pending, key)
			h.db.mu.Unlock()
		}
	}
}

// complete reports whether the blobs that a manifest names are in its repo.
func (h *Harbor) complete(pull *pendingPull) bool {
	var m struct {
		Config *struct {
			Digest string `json:"digest"`
		} `json:"config"`
		Layers []struct {
			Digest string `json:"digest"`
		} `json:"layers"`
	}
	if json.Unmarshal(pull.body, &m) != nil {
		return false
	}
	if m.Config != nil && !h.holdsBlob(pull.repo, m.Config.Digest) {
		return false
	}
	for _, l := range m.Layers {
		if !h.holdsBlob(pull.repo, l.Digest) {
			return false
		}
	}
	return true
}

func (h *Harbor) holdsBlob(repo, digest string) bool {
	w := httptest.NewRecorder()
	r, err := http.NewRequest(http.MethodHead, "/v2/"+repo+"/blobs/"+url.PathEscape(digest), nil)
	if err != nil {
		return false
	}
	h.registry.ServeHTTP(w, r)
	return w.Code == http.StatusOK
}

// proxyBlob answers a blob of a proxy cache: held ones as any other, cold ones
// streamed from the upstream, without length or digest, while they are kept.
func (h *Harbor) proxyBlob(c *call) {
	switch {
	case h.holdsBlob(c.repo, c.reference):
		h.serveDistribution(c.w, c.r)
		return
	case c.r.Method == http.MethodHead:
		coreError(c.w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("blob %s not found", c.reference))
		return
	}
	resp, err := c.upstream.Do(c.r.Context(), c.upstreamRequest(http.MethodGet, registry.KindBlob), nil)
	if err != nil {
		if c.r.Context().Err() == nil {
			coreError(c.w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
		}
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		blobRefused(c.w, resp)
		return
	}
	file, err := os.CreateTemp(h.cfg.Dir, "pull-")
	if err != nil {
		coreError(c.w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
		return
	}
	defer os.Remove(file.Name())
	defer file.Close()
	n, err := io.Copy(io.MultiWriter(file, flushing{c.w}), resp.Body)
	if err != nil || resp.ContentLength >= 0 && n != resp.ContentLength {
		panic(http.ErrAbortHandler)
	}
	if _, err := file.Seek(0, io.SeekStart); err == nil && h.storeBlob(c.repo, c.reference, file, n) == nil {
		h.keepPending(c.project)
	}
}

type flushing struct{ http.ResponseWriter }

// Write implements io.Writer.
func (w flushing) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if len(b) > 4<<10 { // what is smaller leaves with its length, as from Harbor
		http.NewResponseController(w.ResponseWriter).Flush() //nolint:errcheck // the client is gone
	}
	return n, err
}

func blobRefused(w http.ResponseWriter, resp *http.Response) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	message := fmt.Sprintf("http status code: %d, body: %s", resp.StatusCode, body)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		coreError(w, resp.StatusCode, "UNAUTHORIZED", message)
	case http.StatusForbidden:
		coreError(w, resp.StatusCode, "FORBIDDEN", message)
	case http.StatusNotFound:
		coreError(w, resp.StatusCode, "NOT_FOUND", message)
	case http.StatusTooManyRequests:
		coreError(w, resp.StatusCode, "TOO_MANY_REQUEST", message)
	default:
		coreError(w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
	}
}

// storeBlob puts a blob into the registry behind core's back.
func (h *Harbor) storeBlob(repo, digest string, content io.Reader, size int64) error {
	w := httptest.NewRecorder()
	post, err := http.NewRequest(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	h.registry.ServeHTTP(w, post)
	location, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusAccepted {
		return fmt.Errorf("store blob: upload not opened: %d", w.Code)
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	put, err := http.NewRequest(http.MethodPut, location.RequestURI(), content)
	if err != nil {
		return err
	}
	put.ContentLength = size
	w = httptest.NewRecorder()
	h.registry.ServeHTTP(w, put)
	if w.Code != http.StatusCreated {
		return fmt.Errorf("store blob: %d %s", w.Code, w.Body)
	}
	return nil
}

// upstreamTags lists the upstream's tags; none when it does not answer, which
// is how Harbor's lists shrink.
func (h *Harbor) upstreamTags(c *call) []string {
	r := c.upstreamRequest(http.MethodGet, registry.KindTags)
	resp, err := c.upstream.Do(c.r.Context(), r, nil)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var body struct{ Tags []string }
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&body) != nil {
		return nil
	}
	return body.Tags
}
