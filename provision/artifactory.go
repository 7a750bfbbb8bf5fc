package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// maxRepositories bounds what an Artifactory lists.
const maxRepositories = 64 << 20

// artifactory is a session with the fleet's Artifactory.
type artifactory struct {
	url            string
	client         *http.Client
	user, password string
	token          string // of an administrator; "": there is none
}

func newArtifactory(a *fleet.Artifactory, user, password, token string) (*artifactory, error) {
	trust, err := tlsOf(a.CA)
	if err != nil {
		return nil, fmt.Errorf("projects.artifactory.ca: %w", err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust}
	return &artifactory{string(a.URL), &http.Client{Timeout: time.Minute, Transport: transport, CheckRedirect: unfollowed}, user, password, token}, nil
}

// ask sends one request, as the administrator where asAdmin says so. The status is 0
// where there was no answer; an answer that is no success is an error.
func (a *artifactory) ask(ctx context.Context, method, path string, asAdmin bool, body, into any) (status int, err error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, sent)
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case asAdmin:
		req.Header.Set("Authorization", "Bearer "+a.token)
	case a.user != "":
		req.SetBasicAuth(a.user, a.password)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode/100 != 2:
		return resp.StatusCode, said{"it answers " + resp.Status, resp.StatusCode}
	case into == nil:
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.NewDecoder(io.LimitReader(resp.Body, maxRepositories)).Decode(into)
}

// keys lists the local Docker repositories of an Artifactory, without those that are
// excluded: by its repositories API (GET
// /artifactory/api/repositories?type=local&packageType=docker), else by the one of its
// user interface. notes say what was left out. Keys that cannot be projects, or that
// are declared caches already, are errors: two caches would be one.
func (a *artifactory) keys(ctx context.Context, exclude, declared []string) (keys, notes []string, err error) {
	all, err := listRepositories(func(path string, v any) (int, error) { return a.ask(ctx, http.MethodGet, path, a.token != "", nil, v) })
	if err != nil {
		return nil, nil, fmt.Errorf("list the repositories of %s: %w", a.url, err)
	}
	slices.Sort(all)
	for _, key := range slices.Compact(all) {
		switch {
		case slices.ContainsFunc(exclude, func(pattern string) bool { return naming.Match(pattern, key) }):
		case !naming.ValidProject(naming.Cache + key):
			return nil, nil, fmt.Errorf("repository %q of Artifactory cannot be a Harbor project: rename it there, or write it into projects.artifactory.exclude", key)
		case slices.Contains(declared, key):
			return nil, nil, fmt.Errorf("repository %q of Artifactory is a cache of projects.cache too: exclude it in projects.artifactory.exclude, or remove the cache", key)
		default:
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		notes = append(notes, fmt.Sprintf("%s lists no local Docker repository; nothing is made of it, and nothing is deleted for it", a.url))
	}
	return keys, notes, nil
}

// keepUnlisted lets the edge's robot keep what it may in caches of repositories that
// Artifactory does not list now. Their projects stay, so pulls from them do: a list that
// shrank, or an account there that sees less, takes nothing away. Those that
// projects.artifactory.exclude names are meant to go.
func (w *wanting) keepUnlisted(d *wanted, have map[string]*having) {
	a := w.fleet.Projects.Artifactory
	if a == nil || w.fleet.Edge.Robot.Secret.IsZero() {
		return
	}
	for datacenter, h := range have {
		k, rb := w.edgeRobot(datacenter)
		e := h.get(k.Kind, k.Name)
		if e == nil {
			continue
		}
		if wants, ok := d.objects[k].(*robot); ok {
			rb = wants
		}
		for _, g := range e.object.(*robot).grants {
			at := Key{datacenter, kindProject, g.namespace}
			if d.objects[at] == nil && h.cachesArtifactory(at.Name, a) {
				rb.grants = append(rb.grants, g)
			}
		}
		if d.objects[k] == nil && len(rb.grants) > 0 {
			d.add(k, rb)
			d.secrets[k] = w.secret(w.fleet.Edge.Robot.Secret, "")
		}
	}
}

// cachesArtifactory reports whether a project is the cache of one of Artifactory's
// repositories, as breakwater makes them.
func (h *having) cachesArtifactory(name string, a *fleet.Artifactory) bool {
	e := h.get(kindProject, name)
	if e == nil {
		return false
	}
	key := e.object.(*project).registry
	at := h.get(kindRegistry, key)
	return at != nil && name == naming.Cache+key && strings.TrimRight(at.object.(*registry).url, "/") == string(artifactoryCache(a, key).Endpoint) &&
		!slices.ContainsFunc(a.Exclude, func(pattern string) bool { return naming.Match(pattern, key) })
}

// atArtifactory stands where a datacenter's name does: none can be called so.
const atArtifactory = "(artifactory)"

// reader is the user at Artifactory as whom Harbors pull.
type reader struct {
	name   string
	email  string
	groups []string
}

func (r *reader) fields() []field { return []field{{"groups", set(r.groups)}} }

// read is whether the user is there, and logs in with the fleet file's password (GET
// /artifactory/api/security/users/<name>).
func (a *artifactory) read(ctx context.Context) (*having, error) {
	have := &having{datacenter: atArtifactory, entries: map[Key]*entry{}}
	var got struct{ Groups []string }
	status, err := a.ask(ctx, http.MethodGet, a.userPath(), true, nil, &got)
	switch {
	case status == http.StatusNotFound:
		return have, nil
	case err != nil:
		return nil, fmt.Errorf("look for user %s: %w", a.user, err)
	}
	e := &entry{object: &reader{name: a.user, groups: got.Groups}}
	status, err = a.ask(ctx, http.MethodGet, "/artifactory/api/repositories?type=local", false, nil, nil)
	e.found(err == nil, nil)
	if err != nil && status != http.StatusUnauthorized {
		e.found(false, err)
	}
	have.put(kindUser, a.user, e)
	return have, nil
}

func (a *artifactory) userPath() string {
	return "/artifactory/api/security/users/" + url.PathEscape(a.user)
}

// write makes the user (PUT) or mends it (POST).
func (a *artifactory) write(ctx context.Context, c Change) error {
	r := c.want.(*reader)
	method := http.MethodPut
	if c.Action == Update {
		method = http.MethodPost
	}
	body := map[string]any{"name": r.name, "email": r.email, "password": c.secret, "admin": false, "profileUpdatable": false, "disableUIAccess": true, "groups": r.groups}
	if _, err := a.ask(ctx, method, a.userPath(), true, body, nil); err != nil {
		return fmt.Errorf("write user %s at %s: %w", r.name, a.url, err)
	}
	return nil
}

func listRepositories(get func(path string, v any) (int, error)) ([]string, error) {
	var plain []struct{ Key string }
	status, err := get("/artifactory/api/repositories?type=local&packageType=docker", &plain)
	if err == nil {
		var keys []string
		for _, r := range plain {
			keys = append(keys, r.Key)
		}
		return keys, nil
	}
	if status != http.StatusNotFound && status != http.StatusForbidden && status != http.StatusUnauthorized && status != http.StatusBadRequest {
		return nil, err // it is not well: an empty answer would look like a deletion
	}
	var interfaceOf struct {
		RepoTypesList []struct {
			RepoKey, RepoType string
			IsLocal           bool
		}
	}
	if _, e := get("/ui/api/v1/ui/repodata?packageSearch=true", &interfaceOf); e != nil {
		return nil, fmt.Errorf("%w; by the user interface's API: %w", err, e)
	}
	var keys []string
	for _, r := range interfaceOf.RepoTypesList {
		if r.RepoType == "Docker" && r.IsLocal {
			keys = append(keys, r.RepoKey)
		}
	}
	return keys, nil
}
