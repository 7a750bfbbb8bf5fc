package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// replicationAgent is the name under which Harbor reads and writes other
// registries; what it reads does not count as pulled.
const replicationAgent = "harbor-registry-client"

// copyArtifact copies a manifest and what it names, unless it is there.
func (r *replication) copyArtifact(ctx context.Context, from, to, reference string) error {
	body, mediaType, err := r.from.manifest(ctx, from, reference)
	if err != nil {
		return err
	}
	a := describe(mediaType, body)
	there, err := r.to.digestOf(ctx, to, reference)
	switch {
	case err != nil:
		return err
	case there == a.Digest, there != "" && !r.policy.Override:
		return nil
	}
	for _, c := range a.children {
		if err := r.copyArtifact(ctx, from, to, c.Digest); err != nil {
			return err
		}
	}
	for d, size := range a.blobs {
		if err := r.copyBlob(ctx, from, to, d, size); err != nil {
			return err
		}
	}
	if err := r.step(ctx, ReplicationStep{Put: true, Repo: to, Reference: reference, Digest: a.Digest}); err != nil {
		return err
	}
	return r.to.push(ctx, to, reference, mediaType, body)
}

func (r *replication) copyBlob(ctx context.Context, from, to, digest string, size int64) error {
	resp, err := r.to.do(ctx, http.MethodHead, "/v2/"+to+"/blobs/"+digest, nil, nil, 0)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	source, err := r.from.expect(ctx, http.StatusOK, http.MethodGet, "/v2/"+from+"/blobs/"+digest, nil, nil, 0)
	if err != nil {
		return err
	}
	defer source.Body.Close()
	upload, err := r.to.expect(ctx, http.StatusAccepted, http.MethodPost, "/v2/"+to+"/blobs/uploads/", nil, nil, 0)
	if err != nil {
		return err
	}
	upload.Body.Close()
	location, err := url.Parse(upload.Header.Get("Location"))
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", digest)
	content := io.Reader(source.Body)
	if r.policy.Speed > 0 {
		content = &throttled{ctx: ctx, from: content, rate: int(r.policy.Speed) << 10}
	}
	done, err := r.to.expect(ctx, http.StatusCreated, http.MethodPut, location.EscapedPath()+"?"+query.Encode(),
		http.Header{"Content-Type": {"application/octet-stream"}}, content, size)
	if err != nil {
		return err
	}
	return done.Body.Close()
}

// throttled reads no more than rate bytes a second.
type throttled struct {
	ctx  context.Context
	from io.Reader
	rate int
}

// Read implements io.Reader.
func (t *throttled) Read(b []byte) (int, error) {
	n, err := t.from.Read(b[:min(len(b), max(1, t.rate/10))])
	if !pause(t.ctx, time.Duration(n)*time.Second/time.Duration(t.rate)) {
		return n, t.ctx.Err()
	}
	return n, err
}

// endpoint is one side of a replication: this Harbor, or a registry.
type endpoint struct {
	h        *Harbor
	registry *registryRecord // nil: this Harbor
	client   *http.Client
}

// endpoint returns a side, the database locked.
func (h *Harbor) endpoint(id int) *endpoint {
	if r := h.db.registry(id); r != nil {
		copied := *r
		return &endpoint{h, &copied, registryClient(&copied, 0)}
	}
	return h.inside(identity{name: "harbor-jobservice", admin: true})
}

// inside is this Harbor as a side: asked in process, as this or that identity.
func (h *Harbor) inside(who identity) *endpoint {
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.serveV2(w, r.WithContext(context.WithValue(r.Context(), insideKey{}, who)))
	})
	return &endpoint{h, nil, &http.Client{Transport: inProcess{serve}}}
}

func (e *endpoint) address() string {
	if e.registry == nil {
		return e.h.URL()
	}
	return e.registry.URL
}

func (e *endpoint) isHarbor() bool { return e.registry == nil || e.registry.Type == "harbor" }

// connect asks another Harbor for its version.
func (e *endpoint) connect(ctx context.Context) error {
	if e.registry == nil || e.registry.Type != "harbor" {
		return nil
	}
	_, err := e.h.adapterVersion(ctx, e.client, e.registry)
	var failed *url.Error
	if errors.As(err, &failed) {
		return &url.Error{Op: "Get", URL: e.registry.URL + "/api/version", Err: failed.Err} // where it was told to go, not where it went
	}
	return err
}

// do sends a request to a path of the registry, with its credentials.
func (e *endpoint) do(ctx context.Context, method, path string, header http.Header, body io.Reader, size int64) (*http.Response, error) {
	if e.h.down.Load() {
		return nil, errStopped
	}
	base := e.h.URL()
	if e.registry != nil {
		base = e.h.where(e.registry.URL)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if req.ContentLength <= 0 {
		req.ContentLength = size
	}
	if strings.HasPrefix(path, "/v2/") {
		req.Header.Set("User-Agent", replicationAgent)
	}
	if e.registry != nil && e.registry.Credential.AccessKey != "" {
		req.SetBasicAuth(e.registry.Credential.AccessKey, e.registry.Credential.AccessSecret)
	}
	return e.client.Do(req)
}

// expect is do for requests of which only one answer will do.
func (e *endpoint) expect(ctx context.Context, status int, method, path string, header http.Header, body io.Reader, size int64) (*http.Response, error) {
	resp, err := e.do(ctx, method, path, header, body, size)
	if err != nil || resp.StatusCode == status {
		return resp, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return nil, fmt.Errorf("http error: code %d, message %s", resp.StatusCode, text)
}

func (e *endpoint) manifest(ctx context.Context, repo, reference string) (body []byte, mediaType string, err error) {
	resp, err := e.expect(ctx, http.StatusOK, http.MethodGet, "/v2/"+repo+"/manifests/"+reference, acceptAll, nil, 0)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest))
	return body, resp.Header.Get("Content-Type"), err
}

// digestOf is the digest of what is there; "" when nothing is.
func (e *endpoint) digestOf(ctx context.Context, repo, reference string) (string, error) {
	resp, err := e.do(ctx, http.MethodHead, "/v2/"+repo+"/manifests/"+reference, acceptAll, nil, 0)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.Header.Get("Docker-Content-Digest"), nil
	case http.StatusNotFound:
		return "", nil
	}
	return "", fmt.Errorf("http status code: %d", resp.StatusCode)
}

func (e *endpoint) push(ctx context.Context, repo, reference, mediaType string, body []byte) error {
	resp, err := e.expect(ctx, http.StatusCreated, http.MethodPut, "/v2/"+repo+"/manifests/"+reference, http.Header{"Content-Type": {mediaType}}, bytes.NewReader(body), 0)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// delete deletes an artifact, or a tag alone. What is not there is deleted.
func (e *endpoint) delete(ctx context.Context, repo, reference string, tagOnly bool) error {
	project, name, _ := strings.Cut(repo, "/")
	path := "/api/v2.0/projects/" + project + "/repositories/" + url.PathEscape(url.PathEscape(name)) + "/artifacts/" + reference
	if tagOnly {
		path += "/tags/" + reference
	}
	resp, err := e.do(ctx, http.MethodDelete, path, nil, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("http status code: %d", resp.StatusCode)
	}
	return nil
}

// prepare makes the project that content goes into: an administrator can, a
// project's robot cannot.
func (e *endpoint) prepare(ctx context.Context, repo string, public bool) error {
	project, _, _ := strings.Cut(repo, "/")
	if e.registry == nil {
		e.h.CreateProject(project, public)
		return nil
	}
	if !e.isHarbor() {
		return nil
	}
	query := url.Values{"q": {"name={'" + project + "'}"}, "with_detail": {"false"}}
	var there []struct{ Name string }
	if err := e.json(ctx, "/api/v2.0/projects?"+query.Encode(), &there); err != nil || len(there) > 0 {
		return err
	}
	body := fmt.Sprintf(`{"project_name":%q,"metadata":{"public":"%t"}}`, project, public)
	resp, err := e.do(ctx, http.MethodPost, "/api/v2.0/projects", http.Header{"Content-Type": {apiJSON}}, strings.NewReader(body), 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusConflict {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return fmt.Errorf("http error: code %d, message %s", resp.StatusCode, text)
	}
	return nil
}

func (e *endpoint) json(ctx context.Context, path string, v any) error {
	resp, err := e.do(ctx, http.MethodGet, path, nil, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return fmt.Errorf("http status code: %d, body: %s", resp.StatusCode, text)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}
