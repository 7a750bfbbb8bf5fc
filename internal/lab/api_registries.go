package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

func (h *Harbor) routeRegistries(admin apiRoute) {
	admin("POST /api/v2.0/registries", h.postRegistry)
	admin("GET /api/v2.0/registries", h.listRegistries)
	admin("GET /api/v2.0/registries/{id}", h.getRegistry)
	admin("PUT /api/v2.0/registries/{id}", h.putRegistry)
	admin("DELETE /api/v2.0/registries/{id}", h.deleteRegistry)
	admin("POST /api/v2.0/registries/ping", h.pingRegistry)
}

var registryTypes = []string{"harbor", "docker-hub", "docker-registry", "github-ghcr", "quay", "aws-ecr", "azure-acr", "google-gcr", "jfrog-artifactory", "ali-acr", "gitlab", "dtr"}

func (d *database) registry(id int) *registryRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.registryLocked(id)
}

func (d *database) registryLocked(id int) *registryRecord {
	for _, r := range d.registries {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// loginTimeout bounds a login at another registry.
const loginTimeout = 10 * time.Second

// reach is how another registry is: Harbor logs in there on create, update and ping.
func (h *Harbor) reach(w http.ResponseWriter, r *http.Request, rec *registryRecord) bool {
	if _, err := url.Parse(rec.URL); err != nil {
		badRequest(w, "invalid URL: %v", err)
		return false
	}
	said := strings.TrimRight(rec.URL, "/")
	base := cmp.Or(h.cfg.Registries[said], said)
	ctx, cancel := context.WithTimeout(r.Context(), loginTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v2/", nil)
	if err == nil {
		if rec.Credential.AccessKey != "" {
			req.SetBasicAuth(rec.Credential.AccessKey, rec.Credential.AccessSecret)
		}
		var resp *http.Response
		if resp, err = h.outgoing.Do(req); err == nil {
			resp.Body.Close()
			if rec.Credential.AccessKey == "" || resp.StatusCode == http.StatusOK {
				return true
			}
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		unknown(w)
		return false
	}
	badRequest(w, "the registry is unhealthy")
	return false
}

func (h *Harbor) postRegistry(w http.ResponseWriter, r *http.Request) {
	var rec registryRecord
	if !readBody(w, r, &rec) {
		return
	}
	if rec.Name == "" {
		badRequest(w, "name cannot be empty")
		return
	}
	if h.db.registryNamed(rec.Name, 0) {
		conflict(w, "registry %s already exists", rec.Name)
		return
	}
	if !slices.Contains(registryTypes, rec.Type) {
		unknown(w)
		return
	}
	if !h.reach(w, r, &rec) {
		return
	}
	rec.Created = time.Now()
	rec.updated = rec.Created
	if rec.Credential.AccessKey == "" && rec.Credential.AccessSecret == "" {
		rec.Credential = credential{}
	}
	h.db.mu.Lock()
	rec.ID = h.db.id("registry")
	h.db.registries = append(h.db.registries, &rec)
	h.db.mu.Unlock()
	created(w, fmt.Sprintf("/api/v2.0/registries/%d", rec.ID))
}

// registryNamed reports whether another registry has the name.
func (d *database) registryNamed(name string, but int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.registries, func(o *registryRecord) bool { return o.Name == name && o.ID != but })
}

func (r *registryRecord) view() map[string]any {
	shown := r.Credential
	if shown.AccessSecret != "" {
		shown.AccessSecret = "*****"
	}
	v := map[string]any{"id": r.ID, "name": r.Name, "type": r.Type, "url": r.URL, "status": "healthy",
		"credential": shown, "creation_time": stamp(r.Created), "update_time": stamp(r.updated)}
	if r.Insecure {
		v["insecure"] = true
	}
	if r.Description != "" {
		v["description"] = r.Description
	}
	return v
}

func (h *Harbor) listRegistries(w http.ResponseWriter, r *http.Request) {
	part, name := r.URL.Query().Get("name"), filters(r)["name"]
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, rec := range h.db.registries {
		if matches(name, rec.Name) && strings.Contains(rec.Name, part) {
			views = append(views, rec.view())
		}
	}
	h.db.mu.Unlock()
	writePage(w, r, views)
}

func (h *Harbor) registryOf(w http.ResponseWriter, id int) *registryRecord {
	rec := h.db.registry(id)
	if rec == nil {
		missing(w, "registry %d not found", id)
	}
	return rec
}

func (h *Harbor) getRegistry(w http.ResponseWriter, r *http.Request) {
	if rec := h.registryOf(w, pathID(r, "id")); rec != nil {
		h.db.mu.Lock()
		view := rec.view()
		h.db.mu.Unlock()
		writeJSON(w, http.StatusOK, apiJSON, view)
	}
}

// registryFields is what PUT and ping take, flat.
type registryFields struct {
	ID           *int    `json:"id"`
	Name         *string `json:"name"`
	Type         *string `json:"type"`
	URL          *string `json:"url"`
	Description  *string `json:"description"`
	Insecure     *bool   `json:"insecure"`
	AccessKey    *string `json:"access_key"`
	AccessSecret *string `json:"access_secret"`
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (f *registryFields) over(rec registryRecord) registryRecord {
	set(&rec.Name, f.Name)
	set(&rec.URL, f.URL)
	set(&rec.Description, f.Description)
	set(&rec.Insecure, f.Insecure)
	set(&rec.Credential.AccessKey, f.AccessKey)
	set(&rec.Credential.AccessSecret, f.AccessSecret)
	if rec.Credential.AccessKey != "" {
		rec.Credential.Type = "basic"
	}
	return rec
}

// putRegistry ignores a change of type.
func (h *Harbor) putRegistry(w http.ResponseWriter, r *http.Request) {
	var body registryFields
	rec := h.registryOf(w, pathID(r, "id"))
	if rec == nil || !readBody(w, r, &body) {
		return
	}
	h.db.mu.Lock()
	next := body.over(*rec)
	h.db.mu.Unlock()
	if h.db.registryNamed(next.Name, rec.ID) {
		conflict(w, "registry %s already exists", next.Name)
		return
	}
	if !h.reach(w, r, &next) {
		return
	}
	next.updated = time.Now()
	h.db.mu.Lock()
	*rec = next
	h.db.mu.Unlock()
}

func (h *Harbor) pingRegistry(w http.ResponseWriter, r *http.Request) {
	var body registryFields
	if !readBody(w, r, &body) {
		return
	}
	rec := registryRecord{}
	if body.ID != nil {
		known := h.registryOf(w, *body.ID)
		if known == nil {
			return
		}
		h.db.mu.Lock()
		rec = *known
		h.db.mu.Unlock()
	}
	set(&rec.Type, body.Type)
	if rec = body.over(rec); rec.Type == "" || rec.URL == "" {
		badRequest(w, "type or url cannot be empty")
		return
	}
	h.reach(w, r, &rec)
}

func (h *Harbor) deleteRegistry(w http.ResponseWriter, r *http.Request) {
	rec := h.registryOf(w, pathID(r, "id"))
	if rec == nil {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if slices.ContainsFunc(h.db.policies, func(p *policyRecord) bool { return p.from() == rec.ID || p.to() == rec.ID }) {
		precondition(w, "the registry %d is referenced by replication policies, cannot delete it", rec.ID)
		return
	}
	if slices.ContainsFunc(h.db.projects, func(p *project) bool { return p.Registry == rec.ID }) {
		precondition(w, "the registry %d is referenced by proxy cache project, cannot delete it", rec.ID)
		return
	}
	h.db.registries = slices.DeleteFunc(h.db.registries, func(o *registryRecord) bool { return o == rec })
}
