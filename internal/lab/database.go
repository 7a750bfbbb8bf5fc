package lab

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/breakwater/registry"
)

// database is what Harbor keeps in PostgreSQL. Every field below mu is guarded by it.
type database struct {
	adminPassword string

	mu         sync.Mutex
	projects   []*project
	robots     []*robot
	registries []*registryRecord
	policies   []*policyRecord
	retentions map[int]*retentionRecord
	sessions   map[string]*session // by sid
	nextID     map[string]int

	configuration map[string]any
	otherUsers    bool // there are users beside the administrator
}

type project struct {
	ID       int
	Name     string
	Public   bool
	Created  time.Time
	Registry int // of a proxy cache; 0: none
	repos    map[string]*repoRecord
	upstream *registry.Source
	hub      bool                    // the upstream is Docker Hub: bare names are library/'s
	pending  map[string]*pendingPull // manifests pulled through whose blobs are still to come

	quota     int64 // bytes; -1: unlimited
	metadata  map[string]string
	members   []*memberRecord
	immutable []map[string]any
}

// repoRecord is what is known of one repo: its artifacts by digest, its tags.
type repoRecord struct {
	artifacts map[string]*artifact
	tags      map[string]string
}

// artifact is one manifest.
type artifact struct {
	Digest, MediaType, ArtifactType string
	Size                            int64
	Subject                         string
	Annotations                     map[string]string
}

type robot struct {
	ID          int          `json:"id"`
	Name        string       `json:"name"` // in full, as robot$priv+ci
	Level       string       `json:"level"`
	Duration    int          `json:"duration"`
	Disable     bool         `json:"disable"`
	Description string       `json:"description,omitempty"`
	Permissions []permission `json:"permissions"`
	project     string       // "": of the system
	secret      string
	created     time.Time
	updated     time.Time
}

type permission struct {
	Access    []robotAccess `json:"access"`
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace"`
}

type robotAccess struct {
	Action   string `json:"action"`
	Resource string `json:"resource"`
}

type registryRecord struct {
	ID          int        `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Type        string     `json:"type"`
	URL         string     `json:"url"`
	Insecure    bool       `json:"insecure"`
	Credential  credential `json:"credential"`
	Created     time.Time  `json:"-"`
	updated     time.Time
}

type credential struct {
	AccessKey    string `json:"access_key,omitempty"`
	AccessSecret string `json:"access_secret,omitempty"`
	Type         string `json:"type,omitempty"`
}

// identity is who asks: nobody, a user, a robot, or the bearer of a token.
type identity struct {
	name    string
	admin   bool
	robot   *robot
	token   bool
	issued  time.Time
	granted map[string][]string // a token's actions by project
}

func (d *database) id(table string) int {
	if d.nextID == nil {
		d.nextID = map[string]int{}
	}
	d.nextID[table]++
	return d.nextID[table]
}

func (d *database) project(name string) *project {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.projectLocked(name)
}

func (d *database) projectLocked(name string) *project {
	for _, p := range d.projects {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// login is who the Basic credentials belong to; nobody when they are wrong.
func (d *database) login(r *http.Request) identity {
	user, password, ok := r.BasicAuth()
	if !ok {
		return identity{}
	}
	if user == "admin" && password == d.adminPassword {
		return identity{name: user, admin: true}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rb := range d.robots {
		if rb.Name == user && rb.secret == password && !rb.Disable {
			copied := *rb
			return identity{name: user, robot: &copied}
		}
	}
	return identity{}
}

// actions lists everything that the identity may do in the repo's project, as
// Harbor puts it into a token whatever was asked for.
func (d *database) actions(who identity, repo string) []string {
	name, _, ok := strings.Cut(repo, "/")
	p := d.project(name)
	if !ok || p == nil {
		return []string{}
	}
	all := []string{}
	for _, action := range []string{"pull", "push", "delete"} {
		if who.may(p, action) {
			all = append(all, action)
		}
	}
	return all
}

// may reports whether the identity may do this in the project.
func (who identity) may(p *project, action string) bool {
	switch {
	case who.admin:
		return true
	case who.token:
		granted := who.granted[p.Name]
		// A token from before the project is for another project of that name.
		return !who.issued.Add(leeway).Before(p.Created) && (slices.Contains(granted, action) || slices.Contains(granted, "*"))
	case p.Public && action == "pull":
		return true
	case who.robot == nil:
		return false
	}
	for _, perm := range who.robot.Permissions {
		if perm.Kind != "project" || perm.Namespace != p.Name && perm.Namespace != "*" {
			continue
		}
		if slices.Contains(perm.Access, robotAccess{Action: action, Resource: "repository"}) {
			return true
		}
	}
	return false
}

// record notes a manifest that is in the registry now, under its tag if it has one.
func (d *database) record(p *project, repo, tag string, a *artifact) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec := p.repos[repo]
	if rec == nil {
		rec = &repoRecord{artifacts: map[string]*artifact{}, tags: map[string]string{}}
		p.repos[repo] = rec
	}
	rec.artifacts[a.Digest] = a
	if tag != "" {
		rec.tags[tag] = a.Digest
	}
}

// find returns the artifact that a reference names; known says whether there is
// such a repo at all.
func (d *database) find(p *project, repo, reference string) (a *artifact, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec := p.repos[repo]
	if rec == nil {
		return nil, false
	}
	if dgst, ok := rec.tags[reference]; ok {
		reference = dgst
	}
	return rec.artifacts[reference], true
}

// remove forgets an artifact and its tags.
func (d *database) remove(p *project, repo, digest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec := p.repos[repo]
	delete(rec.artifacts, digest)
	for tag, dgst := range rec.tags {
		if dgst == digest {
			delete(rec.tags, tag)
		}
	}
	if len(rec.artifacts) == 0 {
		delete(p.repos, repo)
	}
}

// tags lists the repo's tags in order; nil when there is no such repo.
func (d *database) tags(p *project, repo string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec := p.repos[repo]
	if rec == nil {
		return nil
	}
	all := []string{}
	for tag := range rec.tags {
		all = append(all, tag)
	}
	slices.Sort(all)
	return all
}

// referrers lists the artifacts whose subject is the digest.
func (d *database) referrers(p *project, repo, digest string) []*artifact {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*artifact
	if rec := p.repos[repo]; rec != nil {
		for _, a := range rec.artifacts {
			if a.Subject == digest {
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, func(a, b *artifact) int { return strings.Compare(a.Digest, b.Digest) })
	return all
}

// repositories lists every repo in order.
func (d *database) repositories() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := []string{}
	for _, p := range d.projects {
		for repo := range p.repos {
			all = append(all, repo)
		}
	}
	slices.Sort(all)
	return all
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails
	return hex.EncodeToString(b)
}
