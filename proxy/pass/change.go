package pass

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"example.org/breakwater/registry"
)

// Change is what a request of Harbor's API, as the portal makes it, does to what a tag is.
type Change struct {
	Repo      string
	Reference string // of the artifact; "": of the whole repo
	Tag       string // that is deleted or added; "": the artifact is deleted
	Added     bool
	Copied    bool // from another repo, with its tags
}

const maxTagBody = 64 << 10

// ChangeOf reads a request of Harbor's API: DELETE /api/v2.0/projects/{project}/repositories/
// {repository}[/artifacts/{reference}[/tags/{tag}]], and POST …/artifacts?from= and …/tags, in
// the projects that count. ok is false for another request. in is the request that is to be
// passed on: what was read of its body is put back.
func ChangeOf(r *http.Request, counts func(project string) bool) (c Change, in *http.Request, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v2.0/projects/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 3 || parts[1] != "repositories" || !counts(parts[0]) {
		return c, r, false
	}
	repo, err := url.PathUnescape(parts[2]) // slashes come as %252F
	if c.Repo = parts[0] + "/" + repo; err != nil || !registry.ValidRepo(c.Repo) {
		return c, r, false
	}
	if from := r.URL.Query().Get("from"); r.Method == http.MethodPost && len(parts) == 4 && parts[3] == "artifacts" && from != "" {
		c.Reference, c.Copied = from[strings.LastIndexAny(from, ":@")+1:], true
		if at := strings.Index(from, "@"); at >= 0 {
			c.Reference = from[at+1:]
		}
		return c, r, true
	}
	isTags := len(parts) >= 6 && parts[3] == "artifacts" && parts[5] == "tags"
	switch {
	case r.Method == http.MethodDelete && len(parts) == 3:
		return c, r, true
	case r.Method == http.MethodDelete && len(parts) == 5 && parts[3] == "artifacts":
		c.Reference = parts[4]
		return c, r, true
	case r.Method == http.MethodDelete && len(parts) == 7 && isTags:
		c.Reference, c.Tag = parts[4], parts[6]
		return c, r, registry.ValidTag(c.Tag)
	case r.Method == http.MethodPost && len(parts) == 6 && isTags:
		c.Reference, c.Added = parts[4], true
		c.Tag, r = namedTag(r)
		return c, r, registry.ValidTag(c.Tag)
	}
	return c, r, false
}

// namedTag reads the name of the tag that is to be added, and puts the body back.
func namedTag(r *http.Request) (name string, in *http.Request) {
	var body struct{ Name string }
	head, whole, err := registry.Peek(r.Body, maxTagBody)
	again := *r
	again.Body = whole
	if err != nil || json.Unmarshal(head, &body) != nil {
		return "", &again
	}
	return body.Name, &again
}

// ChangesProjects reports whether a request of Harbor's API makes or deletes a project, or
// changes what robots are shown.
func ChangesProjects(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v2.0/")
	of, name, _ := strings.Cut(strings.Trim(rest, "/"), "/")
	read := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	return ok && !read && (of == "projects" || of == "robots") && !strings.Contains(name, "/")
}
