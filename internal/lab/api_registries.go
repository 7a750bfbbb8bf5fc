package lab

import (
	"crypto/tls"
	_ "embed" // the static answers
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

// registryRecord is another registry: one to replicate with, or a proxy cache's.
type registryRecord struct {
	ID          int
	Name        string
	Type        string
	URL         string
	Insecure    bool
	Description string
	Credential  credential
	Created     time.Time
	Updated     time.Time
}

type credential struct {
	AccessKey    string `json:"access_key,omitempty"`
	AccessSecret string `json:"access_secret,omitempty"`
	Type         string `json:"type,omitempty"`
}

//go:embed static/adapterinfos.json
var adapterInfos []byte

var (
	adapters = []string{"ali-acr", "aws-ecr", "azure-acr", "docker-hub", "docker-registry", "github-ghcr", "google-gcr", "harbor", "huawei-SWR",
		"jfrog-artifactory", "tencent-tcr", "volcengine-cr"}
	proxyTypes = []string{"harbor", "docker-hub", "docker-registry", "aws-ecr", "azure-acr", "google-gcr", "github-ghcr", "jfrog-artifactory"}
)

func (h *Harbor) registryRoutes() []route {
	return []route{
		{method: "GET", path: "/replication/adapters", check: inSystem("replication-adapter", "list"), serve: func(c *apiCall) error { return c.reply(adapters) }},
		{method: "GET", path: "/replication/adapterinfos", check: inSystem("replication-adapter", "list"),
			serve: func(c *apiCall) error { return c.reply(json.RawMessage(adapterInfos)) }},
		{method: "GET", path: "/registries", check: inSystem("registry", "list"), serve: h.listRegistries},
		{method: "POST", path: "/registries", check: inSystem("registry", "create"), serve: h.postRegistry, unlocked: true},
		{method: "POST", path: "/registries/ping", check: inSystem("registry", "read"), serve: h.pingRegistry, unlocked: true},
		{method: "GET", path: "/registries/{id}", check: inSystem("registry", "read"), serve: h.getRegistry},
		{method: "GET", path: "/registries/{id}/info", check: inSystem("registry", "read"), serve: h.getRegistryInfo},
		{method: "PUT", path: "/registries/{id}", check: inSystem("registry", "update"), serve: h.putRegistry, unlocked: true},
		{method: "DELETE", path: "/registries/{id}", check: inSystem("registry", "delete"), serve: h.deleteRegistry},
	}
}

// registry finds a registry, the database locked.
func (d *database) registry(id int) *registryRecord {
	for _, r := range d.registries {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (r *registryRecord) view() map[string]any {
	shown := r.Credential
	switch {
	case shown.AccessSecret != "":
		shown.AccessSecret = "*****"
	case shown.AccessKey == "":
		shown.Type = ""
	}
	v := map[string]any{"id": r.ID, "name": r.Name, "type": r.Type, "url": r.URL, "status": "healthy", "credential": shown,
		"creation_time": stamp(r.Created), "update_time": stamp(r.Updated)}
	if r.Insecure {
		v["insecure"] = true
	}
	if r.Description != "" {
		v["description"] = r.Description
	}
	return v
}

// source is the client that a proxy cache and a replication pull with; nil where
// the registry's address is no address.
func (h *Harbor) source(r *registryRecord) *registry.Source {
	s, err := registry.NewSource(registry.SourceConfig{URL: h.where(r.URL), Username: r.Credential.AccessKey, Password: r.Credential.AccessSecret, Trusted: true,
		TLS: &tls.Config{InsecureSkipVerify: r.Insecure}, Header: http.Header{"User-Agent": {"harbor-registry-client"}}}) //nolint:gosec // as the registry says
	if err != nil {
		return nil
	}
	return s
}

// where is the address at which a registry really is.
func (h *Harbor) where(address string) string {
	address = strings.TrimRight(address, "/")
	if local, ok := h.cfg.Registries[address]; ok {
		return local
	}
	return address
}

func (h *Harbor) listRegistries(c *apiCall) error {
	rows := []row{}
	for _, r := range h.db.registries {
		if strings.Contains(r.Name, c.r.URL.Query().Get("name")) {
			rows = append(rows, row{r.view(), map[string]any{"id": r.ID, "name": r.Name, "type": r.Type, "url": r.URL, "creation_time": r.Created}})
		}
	}
	return c.list(rows, "id")
}

// registryBody is what POST takes, and in its flat fields PUT and ping.
type registryBody struct {
	ID             *int        `json:"id"`
	Name           *string     `json:"name"`
	Type           *string     `json:"type"`
	URL            *string     `json:"url"`
	Insecure       *bool       `json:"insecure"`
	Description    *string     `json:"description"`
	Credential     *credential `json:"credential"`
	CredentialType *string     `json:"credential_type"`
	AccessKey      *string     `json:"access_key"`
	AccessSecret   *string     `json:"access_secret"`
}

// apply changes what the body has. The type is not changed by it.
func (b *registryBody) apply(r *registryRecord) {
	for _, f := range []struct{ from, to *string }{{b.Name, &r.Name}, {b.URL, &r.URL}, {b.Description, &r.Description},
		{b.CredentialType, &r.Credential.Type}, {b.AccessKey, &r.Credential.AccessKey}, {b.AccessSecret, &r.Credential.AccessSecret}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if b.Insecure != nil {
		r.Insecure = *b.Insecure
	}
}

// checkURL completes an address without a scheme.
func (r *registryRecord) checkURL() error {
	if !strings.Contains(r.URL, "://") {
		r.URL = "http://" + r.URL
	}
	r.URL = strings.TrimRight(r.URL, "/")
	if _, err := url.Parse(r.URL); err != nil {
		return badRequest("invalid URL: %v", err)
	}
	return nil
}

func (h *Harbor) postRegistry(c *apiCall) error {
	var body registryBody
	if err := c.read("registry", &body); err != nil {
		return err
	}
	r := &registryRecord{}
	body.apply(r)
	if body.Type != nil {
		r.Type = *body.Type
	}
	if body.Credential != nil {
		r.Credential = *body.Credential
	}
	if r.Name == "" {
		return badRequest("name cannot be empty")
	}
	if len(r.Name) > 64 {
		return badRequest("the max length of name is 64")
	}
	if err := r.checkURL(); err != nil {
		return err
	}
	if err := h.locked(func() error { return h.db.freeRegistryName(r.Name) }); err != nil {
		return err
	}
	if err := h.ping(c.r.Context(), r); err != nil {
		return err
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if err := h.db.freeRegistryName(r.Name); err != nil {
		return err
	}
	h.db.addRegistry(r)
	return c.created("/registries/%d", r.ID)
}

func (d *database) addRegistry(r *registryRecord) {
	r.ID, r.Created = d.id("registries"), d.now()
	r.Updated = r.Created
	d.registries = append(d.registries, r)
}

func (h *Harbor) locked(do func() error) error {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	return do()
}

func (d *database) freeRegistryName(name string) error {
	if slices.ContainsFunc(d.registries, func(o *registryRecord) bool { return o.Name == name }) {
		return conflict("registry %s already exists", name)
	}
	return nil
}

// registryOf is a copy of the registry that the path names.
func (h *Harbor) registryOf(id int) (r registryRecord, err error) {
	err = h.locked(func() error {
		found := h.db.registry(id)
		if found == nil {
			return missing("registry %d not found", id)
		}
		r = *found
		return nil
	})
	return r, err
}

func (h *Harbor) getRegistry(c *apiCall) error {
	r := h.db.registry(c.id("id"))
	if r == nil {
		return missing("registry %s not found", c.r.PathValue("id"))
	}
	return c.reply(r.view())
}

func (h *Harbor) getRegistryInfo(c *apiCall) error {
	r := h.db.registry(c.id("id"))
	if r == nil {
		return missing("registry %s not found", c.r.PathValue("id"))
	}
	input := func(kind string) map[string]any { return map[string]any{"style": "input", "type": kind, "values": nil} }
	info := map[string]any{"type": r.Type, "supported_copy_by_chunk": r.Type == "harbor", "supported_triggers": []string{"manual", "scheduled"}}
	filters := []any{input("name"), input("tag")}
	if r.Type == "harbor" {
		filters = append(filters, map[string]any{"style": "list", "type": "label", "values": nil},
			map[string]any{"style": "radio", "type": "resource", "values": []string{"image", "artifact"}})
	}
	info["supported_resource_filters"] = filters
	return c.reply(info)
}

// putRegistry tries the registry as it is to be before it changes it.
func (h *Harbor) putRegistry(c *apiCall) error {
	var body registryBody
	if err := c.read("registry", &body); err != nil {
		return err
	}
	id := c.id("id")
	r, err := h.registryOf(id)
	if err != nil {
		return err
	}
	before := r.Name
	body.apply(&r)
	if err := r.checkURL(); err != nil {
		return err
	}
	if r.Name != before {
		if err := h.locked(func() error { return h.db.freeRegistryName(r.Name) }); err != nil {
			return err
		}
	}
	if err := h.ping(c.r.Context(), &r); err != nil {
		return err
	}
	return h.locked(func() error {
		kept := h.db.registry(id)
		if kept == nil {
			return missing("registry %d not found", id)
		}
		r.Updated = h.db.now()
		*kept = r
		for _, p := range h.db.projects {
			if p.Registry == id {
				p.upstream = h.source(kept)
			}
		}
		return nil
	})
}

func (h *Harbor) deleteRegistry(c *apiCall) error {
	r := h.db.registry(c.id("id"))
	switch {
	case r == nil:
		return missing("registry %s not found", c.r.PathValue("id"))
	case slices.ContainsFunc(h.db.policies, func(p *policy) bool { return p.Source == r.ID || p.Destination == r.ID }):
		return precondition("the registry %d is referenced by replication policies, cannot delete it", r.ID)
	case slices.ContainsFunc(h.db.projects, func(p *project) bool { return p.Registry == r.ID }):
		return precondition("the registry %d is referenced by proxy cache project, cannot delete it", r.ID)
	}
	h.db.registries = slices.DeleteFunc(h.db.registries, func(o *registryRecord) bool { return o == r })
	return nil
}
