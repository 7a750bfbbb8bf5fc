package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	apiJSON  = "application/json"
	coreJSON = "application/json; charset=utf-8"
)

// apiCall is one request to the management API and, once it was served, the
// answer: nothing is written while the database is locked.
type apiCall struct {
	w       http.ResponseWriter
	r       *http.Request
	who     identity
	project *project // of a path below /projects/{project}
	status  int      // 0: 200
	content string   // type of body; "": JSON
	body    any      // nil: none
}

// apiHandler serves a call, the database locked unless the route says otherwise.
type apiHandler func(c *apiCall) error

// route is one operation of the API.
type route struct {
	method, path string
	check        apiHandler // who may; nil: anybody
	serve        apiHandler
	unlocked     bool // serve goes to other machines, and locks the database itself
}

// apiError is a refusal, as Harbor words it.
type apiError struct {
	status        int
	code, message string
}

// Error implements error.
func (e *apiError) Error() string { return e.message }

var errorCodes = map[int]string{
	http.StatusBadRequest: "BAD_REQUEST", http.StatusUnauthorized: "UNAUTHORIZED", http.StatusForbidden: "FORBIDDEN", http.StatusNotFound: "NOT_FOUND",
	http.StatusMethodNotAllowed: "METHOD_NOT_ALLOWED", http.StatusConflict: "CONFLICT", http.StatusPreconditionFailed: "PRECONDITION",
	http.StatusUnprocessableEntity: "UNPROCESSABLE_ENTITY", http.StatusInternalServerError: "UNKNOWN",
}

func refusal(status int, format string, args ...any) error {
	return &apiError{status, errorCodes[status], fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return refusal(http.StatusBadRequest, format, args...)
}
func missing(format string, args ...any) error { return refusal(http.StatusNotFound, format, args...) }
func conflict(format string, args ...any) error {
	return refusal(http.StatusConflict, format, args...)
}
func precondition(format string, args ...any) error {
	return refusal(http.StatusPreconditionFailed, format, args...)
}
func invalid(format string, args ...any) error {
	return refusal(http.StatusUnprocessableEntity, "validation failure list:\n"+format, args...)
}

// broken is what Harbor says when it did not expect what happened.
func broken() error { return refusal(http.StatusInternalServerError, "internal server error") }

// newAPI returns the management API.
func (h *Harbor) newAPI() http.Handler {
	mux := http.NewServeMux()
	byPath := map[string]map[string]route{}
	for _, routes := range [][]route{h.systemRoutes(), h.projectRoutes(), h.memberRoutes(), h.robotRoutes(), h.retentionRoutes(), h.retentionRunRoutes(), h.registryRoutes(),
		h.replicationRoutes(), h.executionRoutes(), h.webhookRoutes(), h.artifactRoutes(), h.immutableRoutes(), h.preheatRoutes()} {
		for _, rt := range routes {
			if byPath[rt.path] == nil {
				byPath[rt.path] = map[string]route{}
			}
			byPath[rt.path][rt.method] = rt
		}
	}
	for path, methods := range byPath {
		mux.HandleFunc("/api/v2.0"+path, func(w http.ResponseWriter, r *http.Request) { h.serveRoute(w, r, methods) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		coreError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("path %s was not found", r.URL.Path))
	})
	return mux
}

// withoutDatabase are the paths that are answered even when the database is away.
var withoutDatabase = []string{"/health", "/ping", "/systeminfo"}

func (h *Harbor) serveRoute(w http.ResponseWriter, r *http.Request, methods map[string]route) {
	c := &apiCall{w: w, r: r}
	rt, ok := methods[r.Method]
	if !ok {
		var allowed []string
		for method := range methods {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		c.finish(refusal(http.StatusMethodNotAllowed, "method %s is not allowed, but [%s] are", r.Method, strings.Join(allowed, ",")))
		return
	}
	if !slices.Contains(withoutDatabase, rt.path) && h.faults.component(r, "db-down") {
		c.finish(broken())
		return
	}
	c.who, _ = h.identify(r)
	h.db.mu.Lock()
	err := error(nil)
	if rt.check != nil {
		err = rt.check(c)
	}
	if err == nil && !rt.unlocked {
		err = rt.serve(c)
	}
	h.db.mu.Unlock()
	if err == nil && rt.unlocked {
		err = rt.serve(c)
	}
	c.finish(err)
}

// finish writes the answer.
func (c *apiCall) finish(err error) {
	var refused *apiError
	text, plain := c.body.(string)
	switch {
	case errors.As(err, &refused):
		coreError(c.w, refused.status, refused.code, refused.message)
	case err != nil:
		coreError(c.w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
	case plain:
		c.w.Header().Set("Content-Type", c.content)
		c.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		io.WriteString(c.w, text) //nolint:errcheck // the client is gone
	case c.body != nil:
		writeJSON(c.w, max(c.status, http.StatusOK), apiJSON, c.body)
	case c.r.Method != http.MethodHead:
		c.w.Header().Set("Content-Length", "0")
		c.w.WriteHeader(max(c.status, http.StatusOK))
	}
}

// reply answers with a body.
func (c *apiCall) reply(body any) error {
	c.body = body
	return nil
}

// text answers with something else than JSON.
func (c *apiCall) text(contentType, body string) error {
	c.content, c.body = contentType, body
	return nil
}

// created answers that there is something new, and where.
func (c *apiCall) created(format string, args ...any) error {
	c.w.Header().Set("Location", "/api/v2.0"+fmt.Sprintf(format, args...))
	c.status = http.StatusCreated
	return nil
}

// id is a number in the path; 0 where it is none.
func (c *apiCall) id(name string) int {
	n, _ := strconv.Atoi(c.r.PathValue(name))
	return n
}

// read decodes the body, which is named in the messages, as go-swagger does.
func (c *apiCall) read(name string, v any) error {
	sent := c.r.Header.Get("Content-Type")
	if sent == "" {
		sent = "application/octet-stream"
	}
	if mediaType, _, err := mime.ParseMediaType(sent); err != nil || mediaType != apiJSON {
		return invalid("unsupported media type %q, only [%s] are allowed", sent, apiJSON)
	}
	err := json.NewDecoder(io.LimitReader(c.r.Body, 1<<20)).Decode(v)
	switch {
	case errors.Is(err, io.EOF):
		return invalid("%s in body is required", name)
	case err != nil:
		return invalid("parsing %s body from \"\" failed, because %s", name, err)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// loggedIn lets everybody in who is somebody.
func loggedIn(c *apiCall) error {
	if c.who.name == "" || c.who.token {
		return refusal(http.StatusUnauthorized, "unauthorized")
	}
	return nil
}

// inSystem lets administrators in, and the robots of the system that may.
func inSystem(resource, action string) apiHandler {
	return func(c *apiCall) error {
		if err := loggedIn(c); err != nil || c.who.admin || c.who.inSystem(resource, action) {
			return err
		}
		return refusal(http.StatusForbidden, "%s", c.who.name)
	}
}

// inProject finds the project of the path, and lets in who may do this there.
func (h *Harbor) inProject(resource, action string) apiHandler {
	return func(c *apiCall) error {
		p := h.db.named(c.r.PathValue("project"), c.r.Header.Get("X-Is-Resource-Name") == "true")
		switch {
		case p != nil && c.who.inProject(p, resource, action):
			c.project = p
			return nil
		case loggedIn(c) != nil:
			return loggedIn(c)
		case p == nil && c.who.admin:
			return missing("project %s not found", c.r.PathValue("project"))
		}
		return refusal(http.StatusForbidden, "forbidden")
	}
}
