package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

const worldProject = "multi-dc-demo"

// memHarbor is a Harbor in memory, for one project. It answers as recorded ones do.
type memHarbor struct {
	w    *world
	name string // of its datacenter

	mu       sync.Mutex
	repos    map[string]*memRepo // by full name
	trouble  string              // how it answers: "" well, "down", "hang", "502", "database"
	backups  []map[string]*memRepo
	retained map[string]digest.Digest // by repo:tag, what retention removed last, until it is put again
	uploads  int
}

type memRepo struct {
	artifacts map[digest.Digest]memArtifact
	tags      map[string]digest.Digest
	blobs     map[digest.Digest][]byte
}

type memArtifact struct {
	body      []byte
	mediaType string
}

func newMemHarbor(w *world, name string) *memHarbor {
	return &memHarbor{w: w, name: name, repos: map[string]*memRepo{}, retained: map[string]digest.Digest{}}
}

func (r *memRepo) clone() *memRepo {
	return &memRepo{maps.Clone(r.artifacts), maps.Clone(r.tags), maps.Clone(r.blobs)}
}

// repo returns a repo, made where it is missing; h.mu is held.
func (h *memHarbor) repo(name string) *memRepo {
	if h.repos[name] == nil {
		h.repos[name] = &memRepo{map[digest.Digest]memArtifact{}, map[string]digest.Digest{}, map[digest.Digest][]byte{}}
	}
	return h.repos[name]
}

// is returns the trouble that the Harbor is in.
func (h *memHarbor) is() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trouble
}

// get returns an artifact by tag or digest.
func (h *memHarbor) get(repo, reference string) (d digest.Digest, a memArtifact, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.repos[repo]
	if r == nil {
		return "", a, false
	}
	if d, ok = r.tags[reference]; !ok {
		d = digest.Digest(reference)
	}
	a, ok = r.artifacts[d]
	return d, a, ok
}

// list returns the tags and the artifacts of a repo, sorted.
func (h *memHarbor) list(repo string) (tags []string, digests []digest.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.repos[repo]; r != nil {
		tags, digests = slices.Sorted(maps.Keys(r.tags)), slices.Sorted(maps.Keys(r.artifacts))
	}
	return tags, digests
}

// put stores a manifest under a tag, or without one where the reference is a digest, and
// fires what follows from that: also where it was there before.
func (h *memHarbor) put(repo, reference string, a memArtifact, operator string) digest.Digest {
	d := digest.FromBytes(a.body)
	h.mu.Lock()
	r := h.repo(repo)
	r.artifacts[d] = a
	before, tag := digest.Digest(""), ""
	if reference != string(d) {
		tag = reference
		before, r.tags[tag] = r.tags[tag], d
		delete(h.retained, repo+":"+tag)
	}
	h.mu.Unlock()
	if tag != "" && before != d {
		h.w.note(repo+":"+tag, "Harbor %s: %s instead of %s, by %s", h.name, short(d), short(before), operator)
	}
	h.w.pushed(h, repo, reference, d, operator)
	return d
}

// remove deletes an artifact with its tags.
func (h *memHarbor) remove(repo string, d digest.Digest, operator string) bool {
	h.mu.Lock()
	r := h.repos[repo]
	if r == nil {
		h.mu.Unlock()
		return false
	}
	_, ok := r.artifacts[d]
	delete(r.artifacts, d)
	var gone []string
	for tag, at := range r.tags {
		if at == d {
			gone = append(gone, tag)
			delete(r.tags, tag)
		}
	}
	h.mu.Unlock()
	for _, tag := range gone {
		h.w.note(repo+":"+tag, "Harbor %s: %s deleted, by %s", h.name, short(d), operator)
	}
	if ok {
		h.w.removed(h, repo, gone, d, operator)
	}
	return ok
}

// ServeHTTP answers as Harbor does. The network in front of it, which the world makes, may
// drop a request or its answer.
func (h *memHarbor) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	authorization := r.Header.Get("Authorization")
	rw.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	switch trouble := h.is(); {
	case trouble == "502":
		rw.Header().Set("Content-Type", "text/html")
		rw.WriteHeader(http.StatusBadGateway)
		io.WriteString(rw, "<html><head><title>502 Bad Gateway</title></head></html>") //nolint:errcheck // a test's answer
	case r.URL.Path == "/api/v2.0/health":
		status := map[bool]string{true: "healthy", false: "unhealthy"}[trouble == ""]
		writeMem(rw, http.StatusOK, map[string]any{"status": status, "components": []any{map[string]string{"name": "core", "status": "healthy"}, map[string]string{"name": "database", "status": status}}})
	case r.URL.Path == "/service/token":
		writeMem(rw, http.StatusOK, map[string]any{"token": h.w.tokenFor(access.Claimed(authorization)), "access_token": "", "expires_in": 1800})
	case r.URL.Path == "/v2/" && authorization == "", trouble == "" && authorization == "" && strings.HasPrefix(r.URL.Path, "/v2/"):
		rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/service/token",service="harbor-registry"`, r.Host))
		memError(rw, http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized")
	case r.URL.Path == "/v2/":
		writeMem(rw, http.StatusOK, map[string]any{})
	case trouble == "database" && strings.HasPrefix(r.URL.Path, "/v2/"):
		rw.Header().Set("WWW-Authenticate", "")
		memError(rw, http.StatusUnauthorized, "UNAUTHORIZED", "failed to connect to `user=postgres database=registry`")
	case trouble == "database":
		memError(rw, http.StatusInternalServerError, "UNKNOWN", "unknown")
	case strings.HasPrefix(r.URL.Path, "/api/v2.0/projects"):
		h.serveAPI(rw, r, access.Claimed(authorization))
	default:
		h.serveRegistry(rw, r, access.Claimed(authorization))
	}
}

// serveRegistry answers below /v2/.
func (h *memHarbor) serveRegistry(rw http.ResponseWriter, r *http.Request, user string) {
	req, err := registry.ParseRequest(r.Method, r.URL)
	if err != nil {
		registry.WriteError(rw, err)
		return
	}
	switch req.Kind {
	case registry.KindManifest:
		h.serveManifest(rw, r, req, user)
	case registry.KindTags:
		tags, _ := h.list(req.Repo)
		if len(tags) == 0 {
			memError(rw, http.StatusNotFound, "NOT_FOUND", "repository "+req.Repo+" not found")
			return
		}
		writeMem(rw, http.StatusOK, map[string]any{"name": req.Repo, "tags": tags})
	case registry.KindReferrers:
		writeMem(rw, http.StatusOK, map[string]any{"schemaVersion": 2, "mediaType": worldIndexType, "manifests": []any{}})
	default:
		h.serveBlob(rw, r, req)
	}
}

const worldIndexType = "application/vnd.oci.image.index.v1+json"

func (h *memHarbor) serveManifest(rw http.ResponseWriter, r *http.Request, req registry.Request, user string) {
	switch r.Method {
	case http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil || req.Digest != "" && req.Digest != digest.FromBytes(body) {
			memError(rw, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
			return
		}
		d := h.put(req.Repo, req.Reference(), memArtifact{body, r.Header.Get("Content-Type")}, user)
		rw.Header().Set("Docker-Content-Digest", d.String())
		rw.Header().Set("Location", "http://"+r.Host+"/v2/"+req.Repo+"/manifests/"+d.String())
		rw.WriteHeader(http.StatusCreated)
	case http.MethodDelete:
		switch {
		case req.Tag != "":
			memError(rw, http.StatusBadRequest, "UNSUPPORTED", "unsupported digest "+req.Tag+": invalid checksum digest format")
		case !h.remove(req.Repo, req.Digest, user):
			memError(rw, http.StatusNotFound, "NOT_FOUND", "artifact "+req.Repo+"@"+req.Digest.String()+" not found")
		default:
			rw.WriteHeader(http.StatusAccepted)
		}
	default:
		d, a, ok := h.get(req.Repo, req.Reference())
		if !ok {
			memError(rw, http.StatusNotFound, "NOT_FOUND", "artifact "+req.Repo+":"+req.Reference()+" not found")
			return
		}
		header := rw.Header()
		header.Set("Content-Type", a.mediaType)
		header.Set("Docker-Content-Digest", d.String())
		header.Set("Etag", `"`+d.String()+`"`)
		header.Set("Content-Length", fmt.Sprint(len(a.body)))
		if r.Method == http.MethodGet {
			rw.Write(a.body) //nolint:errcheck // a test's answer
		}
	}
}

// serveBlob answers for blobs and uploads, of which the fleet's manifests need none.
func (h *memHarbor) serveBlob(rw http.ResponseWriter, r *http.Request, req registry.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	blobs := h.repo(req.Repo).blobs
	switch {
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		d := digest.FromBytes(body)
		blobs[d] = body
		rw.Header().Set("Location", "/v2/"+req.Repo+"/blobs/"+d.String())
		rw.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPost:
		h.uploads++
		rw.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%d", req.Repo, h.uploads))
		rw.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodGet && blobs[req.Digest] != nil, r.Method == http.MethodHead && blobs[req.Digest] != nil:
		rw.Header().Set("Content-Length", fmt.Sprint(len(blobs[req.Digest])))
		rw.Write(blobs[req.Digest]) //nolint:errcheck // a test's answer
	default:
		memError(rw, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
	}
}

// serveAPI answers below /api/v2.0/projects: the project, artifacts and their tags.
func (h *memHarbor) serveAPI(rw http.ResponseWriter, r *http.Request, user string) {
	path, _ := url.PathUnescape(strings.TrimPrefix(r.URL.Path, "/api/v2.0/projects"))
	parts := strings.Split(strings.Trim(path, "/"), "/")
	project := map[string]any{"project_id": 7, "name": worldProject, "creation_time": "1999-01-01T00:00:00Z"}
	switch {
	case parts[0] == "":
		writeMem(rw, http.StatusOK, []any{project})
		return
	case len(parts) == 1:
		writeMem(rw, http.StatusOK, project)
		return
	case len(parts) < 4 || parts[1] != "repositories" || parts[3] != "artifacts":
		memError(rw, http.StatusNotFound, "NOT_FOUND", "path not found")
		return
	}
	repo := parts[0] + "/" + strings.ReplaceAll(parts[2], "%2F", "/")
	if len(parts) == 4 {
		_, digests := h.list(repo)
		all := []any{}
		for _, d := range digests {
			all = append(all, h.viewOf(repo, d))
		}
		writeMem(rw, http.StatusOK, all)
		return
	}
	d, _, ok := h.get(repo, parts[4])
	switch tag := strings.Join(parts[min(6, len(parts)):], ""); {
	case !ok:
		memError(rw, http.StatusNotFound, "NOT_FOUND", "artifact "+repo+":"+parts[4]+" not found")
	case len(parts) == 5 && r.Method == http.MethodDelete:
		h.remove(repo, d, user)
		rw.WriteHeader(http.StatusOK)
	case len(parts) == 5:
		writeMem(rw, http.StatusOK, h.viewOf(repo, d))
	case r.Method == http.MethodGet:
		writeMem(rw, http.StatusOK, h.viewOf(repo, d)["tags"])
	case r.Method == http.MethodDelete:
		h.untag(rw, repo, tag, d, user)
	default:
		memError(rw, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "not in this test")
	}
}

// untag takes a tag from an artifact. It fires no event.
func (h *memHarbor) untag(rw http.ResponseWriter, repo, tag string, d digest.Digest, user string) {
	h.mu.Lock()
	at := h.repo(repo).tags[tag]
	if at == d {
		delete(h.repos[repo].tags, tag)
	}
	h.mu.Unlock()
	if at != d {
		memError(rw, http.StatusNotFound, "NOT_FOUND", "tag "+tag+" attached to artifact "+string(d)+" not found")
		return
	}
	h.w.note(repo+":"+tag, "Harbor %s: the tag is taken from %s, by %s", h.name, short(d), user)
	rw.WriteHeader(http.StatusOK)
}

// viewOf is an artifact as the API shows it.
func (h *memHarbor) viewOf(repo string, d digest.Digest) map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	tags := []any{}
	for tag, at := range h.repo(repo).tags {
		if at == d {
			tags = append(tags, map[string]any{"name": tag})
		}
	}
	return map[string]any{"digest": d, "media_type": h.repos[repo].artifacts[d].mediaType, "tags": tags}
}

func writeMem(rw http.ResponseWriter, status int, value any) {
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	rw.WriteHeader(status)
	json.NewEncoder(rw).Encode(value) //nolint:errcheck // a test's answer
}

func memError(rw http.ResponseWriter, status int, code, message string) {
	writeMem(rw, status, map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
}
