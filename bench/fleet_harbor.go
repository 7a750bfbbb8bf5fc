package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

const fleetIndex = "application/vnd.oci.image.index.v1+json"

// fleetManifest is what is pushed under a tag: an index without parts, so that all that it
// costs is the manifest.
func fleetManifest(repo, tag string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"org.opencontainers.image.ref.name":%q}}`, fleetIndex, repo+":"+tag)
}

// bulk is how tags begin that every Harbor has, and that nobody has pushed: they are worked out.
const bulk = "build-"

// fleetContent is what Harbors' own replication carries: what is pushed is at all of them after
// a while, without its tags.
type fleetContent struct {
	late time.Duration

	mu  sync.Mutex
	all map[digest.Digest]fleetPushed
}

type fleetPushed struct {
	body []byte
	at   string // the datacenter
	when time.Time
	to   []string // the datacenters to which it is replicated; nil: all
}

func (c *fleetContent) put(datacenter string, body []byte, to []string) digest.Digest {
	d := digest.FromBytes(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.all[d]; !ok {
		c.all[d] = fleetPushed{body, datacenter, time.Now(), to}
	}
	return d
}

// get is a manifest, if the datacenter's Harbor has it by now.
func (c *fleetContent) get(datacenter string, d digest.Digest) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.all[d]; ok && (p.at == datacenter || (p.to == nil || slices.Contains(p.to, datacenter)) && time.Since(p.when) > c.late) {
		return p.body
	}
	return nil
}

// fleetHarbor stands in for one datacenter's Harbor. It answers what an edge asks, and keeps
// what is pushed.
type fleetHarbor struct {
	datacenter string
	content    *fleetContent
	homes      map[string][]string // of the projects that some Harbors alone hold

	mu   sync.Mutex
	tags map[string]digest.Digest // by repo:tag
	own  map[digest.Digest][]byte // that it alone has
}

func (h *fleetHarbor) tag(repo, tag string) (d digest.Digest) {
	if strings.HasPrefix(tag, bulk) {
		return digest.FromBytes(fleetManifest(repo, tag))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tags[repo+":"+tag]
}

// has puts a tag that the Harbor has and no edge has heard of. No replication takes it anywhere.
func (h *fleetHarbor) has(repo, tag string) {
	body := fleetManifest(repo, tag)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.own == nil {
		h.own = map[digest.Digest][]byte{}
	}
	d := digest.FromBytes(body)
	h.tags[repo+":"+tag], h.own[d] = d, body
}

// digestOf is what a project's tag is, once it is pushed.
func digestOf(project, tag string) string {
	return digest.FromBytes(fleetManifest(project+"/app", tag)).String()
}

// manifest is what the Harbor has under a digest, nil for nothing.
func (h *fleetHarbor) manifest(d digest.Digest) []byte {
	h.mu.Lock()
	own := h.own[d]
	h.mu.Unlock()
	if own != nil {
		return own
	}
	return h.content.get(h.datacenter, d)
}

// ServeHTTP implements http.Handler.
func (h *fleetHarbor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch {
	case r.URL.Path == "/service/token":
		io.WriteString(w, `{"token":"a-token-of-this-harbor","expires_in":1800}`) //nolint:errcheck // to memory
	case r.URL.Path == "/api/v2.0/health":
		io.WriteString(w, `{"status":"healthy","components":[{"name":"core","status":"healthy"},{"name":"database","status":"healthy"}]}`) //nolint:errcheck // as above
	case r.URL.Path == "/api/v2.0/projects":
		h.serveProjects(w, r)
	case strings.HasPrefix(r.URL.Path, "/v2/") && r.Header.Get("Authorization") == "":
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/service/token",service="harbor-registry"`, r.Host))
		registry.WriteError(w, registry.Errorf(registry.CodeUnauthorized, "unauthorized"))
	case r.URL.Path == "/v2/":
		io.WriteString(w, `{}`) //nolint:errcheck // as above
	default:
		req, err := registry.ParseRequest(r.Method, r.URL)
		if err == nil && req.Kind != registry.KindManifest {
			err = registry.Errorf(registry.CodeManifestUnknown, "there are manifests alone")
		}
		if err != nil {
			registry.WriteError(w, err)
			return
		}
		h.serveManifest(w, r, req)
	}
}

// serveProjects answers a question for one project by its name.
func (h *fleetHarbor) serveProjects(w http.ResponseWriter, r *http.Request) {
	all := []any{}
	if name, ok := strings.CutPrefix(r.URL.Query().Get("q"), "name="); ok {
		id := 1
		fmt.Sscanf(strings.TrimPrefix(name, fleetProject), "%d", &id) //nolint:errcheck // else it is the first one
		all = append(all, map[string]any{"project_id": id + 1, "name": name, "creation_time": "2020-01-01T00:00:00Z", "metadata": map[string]string{"public": "false"}})
	}
	json.NewEncoder(w).Encode(all) //nolint:errcheck // to memory
}

func (h *fleetHarbor) serveManifest(w http.ResponseWriter, r *http.Request, req registry.Request) {
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			registry.WriteError(w, registry.Errorf(registry.CodeManifestInvalid, "%v", err))
			return
		}
		d := h.content.put(h.datacenter, body, h.homes[req.Project()])
		if req.Tag != "" {
			h.mu.Lock()
			h.tags[req.Repo+":"+req.Tag] = d
			h.mu.Unlock()
		}
		w.Header().Set("Docker-Content-Digest", d.String())
		w.Header().Set("Location", "http://"+r.Host+"/v2/"+req.Repo+"/manifests/"+d.String())
		w.WriteHeader(http.StatusCreated)
		return
	}
	d, body := req.Digest, []byte(nil)
	switch {
	case strings.HasPrefix(req.Tag, bulk):
		body = fleetManifest(req.Repo, req.Tag)
		d = digest.FromBytes(body)
	case req.Tag != "":
		d = h.tag(req.Repo, req.Tag)
		fallthrough
	default:
		body = h.manifest(d)
	}
	if body == nil {
		registry.WriteError(w, registry.Errorf(registry.CodeManifestUnknown, "artifact %s:%s not found", req.Repo, req.Reference()))
		return
	}
	w.Header().Set("Content-Type", fleetIndex)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method == http.MethodGet {
		w.Write(body) //nolint:errcheck // to memory
	}
}
