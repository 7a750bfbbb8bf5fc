package lab

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/breakwater/registry"
)

// database is what Harbor keeps in PostgreSQL and Redis.
type database struct {
	adminPassword string
	now           func() time.Time

	mu     sync.Mutex
	tables // guarded by mu
}

// tables are what a backup has.
type tables struct {
	config     map[string]any
	users      []*user
	groups     []*userGroup
	sessions   map[string]*session
	projects   []*project
	robots     []*robot
	registries []*registryRecord
	retentions []*retention
	policies   []*policy
	executions []*execution
	labels     []*label
	preheaters []*preheatInstance
	gc         *gcSchedule
	nextID     map[string]int // by the word that the API's paths have for it
}

// newTables are those of a fresh Harbor. Numbers of quotas are not those of their
// projects, users begin with the administrator and a nameless one.
func newTables() tables {
	return tables{config: defaultConfig(), sessions: map[string]*session{}, nextID: map[string]int{"quotas": 100, "users": 2}}
}

type project struct {
	ID         int
	Name       string
	Created    time.Time
	Updated    time.Time
	Owner      string
	Metadata   map[string]string // as the API shows it: public, auto_scan …, retention_id
	Registry   int               // of a proxy cache; 0: none
	members    []*member
	quota      quota
	immutables []*immutableRule
	webhooks   []*webhook
	preheats   []*preheatPolicy
	repos      map[string]*repoRecord
	blobs      map[string]int64 // by digest, manifests too: what counts against the quota
	upstream   *registry.Source
	hub        bool                    // the upstream is Docker Hub: bare names are library/'s
	pending    map[string]*pendingPull // manifests pulled through whose blobs are still to come
}

func (p *project) public() bool { return p.Metadata["public"] == "true" }

// identity is who asks: nobody, a user, a robot, or the bearer of a token.
type identity struct {
	name    string
	admin   bool
	user    int // 0: none
	robot   *robot
	token   bool
	issued  time.Time
	granted map[string][]string // a token's actions by project
}

func (d *database) id(table string) int {
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

// named finds a project by its name or, unless told that it is a name, by its
// number; what looks like a number is one.
func (d *database) named(s string, isName bool) *project {
	id, err := strconv.Atoi(s)
	if isName || err != nil {
		return d.projectLocked(s)
	}
	for _, p := range d.projects {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// login is who the name and password belong to; nobody when they are wrong.
func (d *database) login(name, password string) identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name == "admin" && password == d.adminPassword {
		return identity{name: name, admin: true, user: 1}
	}
	for _, u := range d.users {
		if u.Name == name && u.password == password {
			return identity{name: name, user: u.ID}
		}
	}
	for _, rb := range d.robots {
		if d.fullName(rb) == name && rb.secret == password && !rb.Disable && !rb.expired(d.now()) {
			copied := *rb
			return identity{name: name, robot: &copied}
		}
	}
	return identity{}
}

// actions lists everything that the identity may do in the repo's project, as
// Harbor puts it into a token whatever was asked for.
func (d *database) actions(who identity, repo string) []string {
	name, _, ok := strings.Cut(repo, "/")
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.projectLocked(name)
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

// may reports whether the identity may do this in the project's repos.
func (who identity) may(p *project, action string) bool {
	if who.token {
		granted := who.granted[p.Name]
		// A token from before the project is for another project of that name.
		return !who.issued.Add(leeway).Before(p.Created) && (slices.Contains(granted, action) || slices.Contains(granted, "*"))
	}
	return who.inProject(p, "repository", action)
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails
	return hex.EncodeToString(b)
}
