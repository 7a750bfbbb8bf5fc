package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

// call is one request to core's registry API, with what its middlewares found.
type call struct {
	w         http.ResponseWriter
	r         *http.Request
	who       identity
	project   *project
	upstream  *registry.Source // of a proxy cache
	repo      string
	kind      string // manifests, blobs, uploads, tags, referrers
	reference string
	action    string
}

// splitPath splits a path below /v2/ as core does, from the end.
func splitPath(method, path string) (c call, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	n := len(parts)
	c.action = map[string]string{"GET": "pull", "HEAD": "pull", "DELETE": "delete"}[method]
	if c.action == "" {
		c.action = "push"
	}
	switch {
	case n >= 3 && parts[n-2] == "tags" && parts[n-1] == "list", n >= 3 && slices.Contains([]string{"manifests", "referrers"}, parts[n-2]):
		c.repo, c.kind, c.reference = strings.Join(parts[:n-2], "/"), parts[n-2], parts[n-1]
	case n >= 3 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		c.repo, c.kind, c.reference, c.action = strings.Join(parts[:n-3], "/"), "uploads", parts[n-1], "push"
	case n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads":
		c.repo, c.kind, c.action = strings.Join(parts[:n-2], "/"), "uploads", "push"
	case n >= 3 && parts[n-2] == "blobs":
		c.repo, c.kind, c.reference = strings.Join(parts[:n-2], "/"), "blobs", parts[n-1]
	default:
		return c, false
	}
	return c, c.repo != ""
}

const apiVersion = "Docker-Distribution-Api-Version"

func (h *Harbor) serveV2(w http.ResponseWriter, r *http.Request) {
	who, sent := h.identify(r)
	switch r.URL.Path {
	case "/v2/":
		h.serveRoot(w, r, who, sent)
		return
	case "/v2/_catalog":
		if who.token || !who.admin {
			unauthorized(w, `Basic realm="harbor"`, "unauthorized to list catalog")
			return
		}
		h.serveCatalog(w, r)
		return
	}
	c, ok := splitPath(r.Method, r.URL.Path)
	c.w, c.r, c.who = w, r, who
	if !ok {
		unauthorized(w, "", fmt.Sprintf("un-recognized request: %s %s", r.Method, r.URL.Path))
		return
	}
	if h.permit(&c, sent) {
		h.dispatch(&c)
	}
}

// identify reads the credentials; sent says whether there were any at all.
func (h *Harbor) identify(r *http.Request) (who identity, sent bool) {
	if who, ok := r.Context().Value(insideKey{}).(identity); ok {
		return who, true
	}
	authorization := r.Header.Get("Authorization")
	if s, _ := r.Context().Value(sessionKey{}).(*session); authorization == "" {
		return s.who, s.who.name != ""
	}
	if raw, ok := strings.CutPrefix(authorization, "Bearer "); ok {
		who, _ = h.bearer(raw)
		return who, true
	}
	if h.faults.component(r, "db-down") {
		return identity{}, true
	}
	name, password, _ := r.BasicAuth()
	if who = h.db.login(name, password); who.name == "" {
		s, _ := r.Context().Value(sessionKey{}).(*session)
		who = s.who
	}
	return who, true
}

func unauthorized(w http.ResponseWriter, challenge, message string) {
	w.Header().Set(apiVersion, "registry/2.0")
	w.Header()["Www-Authenticate"] = []string{challenge}
	coreError(w, http.StatusUnauthorized, "UNAUTHORIZED", message+": "+message)
}

func (h *Harbor) realm(r *http.Request) string {
	return fmt.Sprintf(`Bearer realm="%s://%s/service/token",service="%s"`, h.scheme(r), r.Host, tokenService)
}

// AsAsked is the Scheme of a Harbor that is reached with TLS and without.
const AsAsked = "*"

func (h *Harbor) scheme(r *http.Request) string {
	switch {
	case h.cfg.Scheme != AsAsked:
		return h.cfg.Scheme
	case r.TLS != nil:
		return "https"
	}
	return "http"
}

func (h *Harbor) serveRoot(w http.ResponseWriter, r *http.Request, who identity, sent bool) {
	switch {
	case who.name == "" && !sent:
		unauthorized(w, h.realm(r), "unauthorized")
	case who.name == "":
		unauthorized(w, `Basic realm="harbor"`, "unauthorized")
	case h.faults.component(r, "registry-down"):
		badGateway(w)
	default:
		w.Header().Set(apiVersion, "registry/2.0")
		w.Header().Set("Content-Type", coreJSON)
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "{}") //nolint:errcheck // the client is gone
	}
}

// badGateway is core's answer when the registry behind it is away.
func badGateway(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusBadGateway)
}

const databaseGone = "failed to connect to `user=postgres database=dc3`: 127.0.0.1:55432 (127.0.0.1): dial error: dial tcp 127.0.0.1:55432: connect: connection refused"

// permit is Harbor's v2 authorization: it writes the refusal and returns false,
// or fills in the project.
func (h *Harbor) permit(c *call, sent bool) bool {
	if !sent {
		message := "authorize header needed to send HEAD to repository"
		scope := "repository:" + c.repo + ":" + c.action
		if c.action != "pull" {
			message = fmt.Sprintf("unauthorized to access repository: %s, action: %s", c.repo, c.action)
		}
		if c.action == "push" {
			scope = "repository:" + c.repo + ":pull,push"
			if from := c.r.URL.Query().Get("from"); from != "" {
				scope += " repository:" + from + ":pull"
			}
		}
		unauthorized(c.w, h.realm(c.r)+`,scope="`+scope+`"`, message)
		return false
	}
	if h.faults.component(c.r, "db-down") {
		unauthorized(c.w, "", databaseGone)
		return false
	}
	name, _, ok := strings.Cut(c.repo, "/")
	if !ok {
		coreError(c.w, http.StatusBadRequest, "BAD_REQUEST", "bad request: invalid repository name: "+c.repo)
		return false
	}
	h.db.mu.Lock()
	c.project = h.db.projectLocked(name)
	may := c.project != nil && c.who.may(c.project, c.action) && h.mayMount(c)
	if may {
		c.upstream = c.project.upstream
	}
	h.db.mu.Unlock()
	if c.project == nil {
		unauthorized(c.w, "", fmt.Sprintf("project %s not found", name))
		return false
	}
	if !may {
		unauthorized(c.w, `Basic realm="harbor"`, fmt.Sprintf("unauthorized to access repository: %s, action: %s", c.repo, c.action))
		return false
	}
	return true
}

// mayMount checks the other repo of a cross-repo mount.
func (h *Harbor) mayMount(c *call) bool {
	from := c.r.URL.Query().Get("from")
	if c.kind != "uploads" || from == "" || !c.r.URL.Query().Has("mount") {
		return true
	}
	name, _, _ := strings.Cut(from, "/")
	p := h.db.projectLocked(name)
	return p != nil && c.who.may(p, "pull")
}

func (h *Harbor) dispatch(c *call) {
	proxied := c.upstream != nil
	switch {
	case proxied && c.action == "push":
		coreError(c.w, http.StatusForbidden, "DENIED", "denied: can not push artifact to a proxy project: "+c.project.Name)
	case c.kind == "tags":
		h.serveTags(c)
	case c.kind == "referrers":
		h.serveReferrers(c)
	case h.faults.component(c.r, "registry-down"):
		badGateway(c.w)
	case proxied && c.kind == "manifests" && c.action == "pull":
		h.proxyManifest(c)
	case proxied && c.kind == "blobs" && c.action == "pull":
		h.proxyBlob(c)
	case c.kind == "manifests" && c.action == "pull":
		h.localManifest(c)
	case c.kind == "manifests" && c.r.Method == http.MethodPut:
		h.putManifest(c)
	case c.kind == "manifests" && c.r.Method == http.MethodDelete:
		h.deleteManifest(c)
	case c.kind == "blobs" && digest.Digest(c.reference).Validate() != nil:
		c.w.Header().Set(apiVersion, "registry/2.0")
		writeJSON(c.w, http.StatusBadRequest, coreJSON, json.RawMessage(`{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content","detail":{}}]}`))
	case c.kind == "uploads":
		h.serveUpload(c)
	default:
		h.serveDistribution(c.w, c.r)
	}
}

// serveDistribution lets the registry answer, in the dress of the older one
// that Harbor has inside.
func (h *Harbor) serveDistribution(w http.ResponseWriter, r *http.Request) {
	h.registry.ServeHTTP(charsetWriter{w}, r)
}

// charsetWriter names the charset of JSON, as distribution 2.8 did.
type charsetWriter struct{ http.ResponseWriter }

// Unwrap is for http.ResponseController.
func (w charsetWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w charsetWriter) WriteHeader(status int) {
	if w.Header().Get("Content-Type") == "application/json" {
		w.Header().Set("Content-Type", coreJSON)
	}
	w.ResponseWriter.WriteHeader(status)
}

func notFound(c *call, format string, args ...any) {
	coreError(c.w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf(format, args...))
}
