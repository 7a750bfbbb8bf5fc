package fleet

import (
	"maps"
	"regexp"
	"slices"
)

// Projects are the managed Harbor projects, by kind.
type Projects struct {
	MultiDC     MultiDCs     `yaml:"multi-dc"`    // private, shared by all datacenters: multi-dc-<name> in Harbor
	Cache       Caches       `yaml:"cache"`       // proxy caches of upstreams: cache-<name>
	Repl        Repls        `yaml:"repl"`        // public images that are always held: repl-<name>
	Artifactory *Artifactory `yaml:"artifactory"` // every local Docker repository there becomes cache-<key>
}

// MultiDCs are private projects that all datacenters share: multi-dc-<name>.
type MultiDCs struct {
	Replication string              `yaml:"replication"` // per-project | grouped: whether each project has its own registries, rules and robot, or all that are replicated alike share theirs, which is far less for Harbors of many projects; grouped needs harbor.sync_robot; default per-project
	Copies      Copies              `yaml:"copies"`      // in how many Harbors each project is: 2 or more, or all; edges elsewhere fetch from those, and it takes tags: edges; default all
	Defaults    MultiDC             `yaml:"defaults"`    // for what a project does not say itself
	Items       map[string]*MultiDC `yaml:"*"`
}

// How projects that datacenters share are replicated.
const (
	PerProject = "per-project" // each by registries, rules and a robot of its own
	Grouped    = "grouped"     // those of one kind by one registry and two rules a peer, as one robot
)

// Caches are proxy caches of upstreams: cache-<name>.
type Caches struct {
	Defaults Cache             `yaml:"defaults"` // for what a cache does not say itself
	Items    map[string]*Cache `yaml:"*"`
}

// Repls are public images that are always held: repl-<name>.
type Repls struct {
	Defaults Repl             `yaml:"defaults"` // for what a project does not say itself
	Items    map[string]*Repl `yaml:"*"`
}

// Retention keeps an artifact when any of its rules does; the rest is deleted daily.
type Retention struct {
	PulledWithin       Duration `yaml:"pulled_within"`        // whole days
	PushedWithin       Duration `yaml:"pushed_within"`        // whole days
	MostRecentlyPulled int      `yaml:"most_recently_pulled"` // so many artifacts of a repository
	MostRecentlyPushed int      `yaml:"most_recently_pushed"` // so many artifacts of a repository
	Always             bool     `yaml:"always"`               // everything
}

// Member is an OIDC group in a project.
type Member struct {
	Group string `yaml:"group"` // its name at the provider; required
	Role  string `yaml:"role"`  // admin | maintainer | developer | guest | limited-guest; required
}

// MultiDC is a private project replicated between datacenters, all or some (copies). Defaults:
// 10GiB, kept when pulled or pushed within 180d or among the 10 most recently pulled.
type MultiDC struct {
	Project     string     `yaml:"project"`        // its name in Harbor, of a project that is there already, as platform; the same in all datacenters; absent: multi-dc- and its name here
	Description string     `yaml:"description"`    // for people
	Quota       Size       `yaml:"quota"`          // or unlimited
	Retention   *Retention `yaml:"retention"`      // an artifact is kept when any of these rules does so
	AutoScan    *bool      `yaml:"auto_scan"`      // scan what is pushed; absent: as the datacenter's project_defaults
	Webhooks    *bool      `yaml:"webhooks"`       // tell the local edge of pushes and deletes; default true
	Members     []Member   `yaml:"members"`        // groups of the OpenID provider
	Immutable   []string   `yaml:"immutable_tags"` // globs of tags that cannot be moved or deleted
	Robots      struct {
		ReadOnly  Ref `yaml:"readonly"`  // the secret of one that pulls; {name} is the project's name here
		ReadWrite Ref `yaml:"readwrite"` // the secret of one that pulls and pushes
		Sync      Ref `yaml:"sync"`      // the secret of the one that replicates; absent: nothing is replicated; not used with replication: grouped, which takes every project
	} `yaml:"robots"` // multi-dc-<name>+readonly and so on, or <project>+readonly; absent ones are not made
	Replication struct {
		Pull    Duration `yaml:"pull"`          // how often each Harbor takes what it lacks from the others; default 15m
		Push    string   `yaml:"push"`          // event | none; absent: event where that moves no tag back: edges own the tags, none can be moved, or one datacenter alone pushes
		Single  *bool    `yaml:"single_active"` // a pull does not begin while its last one runs; default true
		ByChunk *bool    `yaml:"copy_by_chunk"` // blobs are copied in parts; left alone unless written
		Tags    string   `yaml:"tags"`          // edges | harbor: who moves tags; with edges Harbors replicate content alone; absent: edges where every datacenter has an edge, edge.robot a secret and edge.peers a key or CA; the same in all datacenters
	} `yaml:"replication"` // between the Harbors of the fleet
	Warm        []Warm              `yaml:"warm"`        // what edges have in their stores before it is asked for
	Preheat     *Preheat            `yaml:"preheat"`     // a preheat policy in each Harbor, by which it has its edge bring images
	Copies      Copies              `yaml:"copies"`      // in how many Harbors it is: 2 or more, or all; absent: as projects.multi-dc.copies; the same in all datacenters
	Datacenters map[string]*MultiDC `yaml:"datacenters"` // what differs in one datacenter
}

// Warm is a set of images that edges bring to their stores before anybody asks for them.
type Warm struct {
	Images      []string `yaml:"images"`      // names below the project, as library/nginx; globs with on_push alone; required
	Tags        []string `yaml:"tags"`        // tags, or globs of them; with on_push absent: all
	Platforms   []string `yaml:"platforms"`   // as linux/amd64; absent: all
	Datacenters []string `yaml:"datacenters"` // whose edges warm it; absent: all
	OnPush      bool     `yaml:"on_push"`     // what is pushed, anywhere in the fleet; multi-dc projects only
	Every       Duration `yaml:"every"`       // how often edges look whether tags have moved; 1m or more; absent: not at all
}

// Preheat is a policy of Harbor's own (P2P Preheat), which its portal shows too. Harbor takes what of
// an image's signature and vulnerabilities counts from the project's settings.
type Preheat struct {
	Repos   []string `yaml:"repos"`   // globs of names below the project; absent: all
	Tags    []string `yaml:"tags"`    // globs; absent: all
	Labels  []string `yaml:"labels"`  // names of Harbor's labels, all of which an image has to have
	Trigger string   `yaml:"trigger"` // push | schedule | manual: when it is pushed, scanned or labelled; every so often; by the portal's button alone; absent: push
	Every   Duration `yaml:"every"`   // with schedule: minutes that divide an hour, hours that divide a day, 1d or 7d; absent: 1d
}

// Owners of the tags of a project that several datacenters share.
const (
	TagsEdges  = "edges"  // an edge gives its Harbor the newest version of a tag; replication brings content
	TagsHarbor = "harbor" // replication brings tags too
)

// Grouped reports whether projects that datacenters share are replicated in groups.
func (f *Fleet) Grouped() bool {
	return f.Projects.MultiDC.Replication == Grouped && len(f.Datacenters) > 1
}

// Replicated reports whether a multi-dc project is replicated between datacenters.
func (f *Fleet) Replicated(name string) bool {
	m := f.Projects.MultiDC.Items[name]
	return m != nil && len(f.Datacenters) > 1 && (f.Grouped() || !m.Robots.Sync.IsZero())
}

// AllImmutable reports whether no tag can be moved, in any datacenter.
func (m *MultiDC) AllImmutable() bool {
	all := func(patterns []string) bool { return slices.Contains(patterns, "**") || slices.Contains(patterns, "*") }
	for _, over := range m.Datacenters {
		if over.Immutable != nil && !all(over.Immutable) {
			return false
		}
	}
	return all(m.Immutable)
}

// Cache is a proxy cache of one upstream. Defaults: 1TiB, kept when pulled or
// pushed within 30d, private.
type Cache struct {
	Project     string            `yaml:"project"`      // its name in Harbor, of a project that is there already, as dockerhub; the same in all datacenters; absent: cache- and its name here, which its registry has in any case
	Provider    string            `yaml:"provider"`     // docker-hub | docker-registry | harbor | aws-ecr | azure-acr | google-gcr | github-ghcr | jfrog-artifactory; default docker-registry
	Endpoint    Endpoint          `yaml:"endpoint"`     // of the upstream; for docker-hub it may be left out; a path, below which the registry is, only for docker-registry and jfrog-artifactory; docs/upstreams.md has what to write for whom
	Description string            `yaml:"description"`  // for people
	Username    Text              `yaml:"username"`     // at the upstream; absent: anonymous
	Password    Ref               `yaml:"password"`     // at the upstream; {name} is the cache's name here
	Realms      []string          `yaml:"realms"`       // hosts of token services of another domain than the upstream's that the edge may show its login, wherever they are; others are asked anonymously, and not at private addresses
	Quota       Size              `yaml:"quota"`        // or unlimited
	Retention   *Retention        `yaml:"retention"`    // an artifact is kept when any of these rules does so
	Public      *bool             `yaml:"public"`       // pulled without login: what mirrors of nodes without credentials need; default false
	AutoScan    *bool             `yaml:"auto_scan"`    // scan what is fetched; absent: as the datacenter's project_defaults
	Members     []Member          `yaml:"members"`      // groups of the OpenID provider
	Proxy       URL               `yaml:"proxy"`        // HTTP proxy for the edge's own way to the upstream
	CA          string            `yaml:"ca"`           // file of the CA that signs the upstream's certificate; absent: the system's
	Redirects   []Destination     `yaml:"redirects"`    // where inside your networks the upstream may send the edge for blobs, as to a storage of your own: hosts, *.domain, addresses, networks; absent: to private addresses, if the upstream is at one itself; public ones need no word
	Keep        *Keeping          `yaml:"keep_deleted"` // how long the edge serves on what the upstream has deleted, from when it first hears so, as long as the store has it: 30d, forever, or 0 for not at all; Harbors from 2.15.1 are told not to lose theirs; default 0
	Freeze      []string          `yaml:"freeze"`       // tags that stay as this datacenter's edge first sees them: image:tag, globs of the image's name at the upstream and of its tag, as library/nginx:1.29*; breakwater purge lets one go
	Warm        []Warm            `yaml:"warm"`         // what edges have in their stores before it is asked for
	Preheat     *Preheat          `yaml:"preheat"`      // a preheat policy in each Harbor, by which it has its edge bring images
	Datacenters map[string]*Cache `yaml:"datacenters"`  // what differs in one datacenter
}

// Host is the registry that the cache is of, as clients name it: docker.io for
// Docker Hub, whatever its addresses; "" where the cache is of a part of a registry, whose
// images have other names there.
func (c *Cache) Host() string {
	switch {
	case c.Provider == DockerHub:
		return "docker.io"
	case c.Endpoint.path() != "":
		return ""
	}
	return c.Endpoint.Host()
}

// AWS is the provider whose login is an account's keys.
const AWS = "aws-ecr"

// ecr is how Harbor tells an address of Amazon's Elastic Container Registry: of the API of a
// region, or of an account's registry there.
var ecr = regexp.MustCompile(`^https://(api|\d+\.dkr)\.ecr(-fips)?\.([\w-]+)\.(amazonaws\.com(?:\.cn)?|sc2s\.sgov\.gov|c2s\.ic\.gov)$`)

// ECR is where a registry of the Elastic Container Registry has its API, and its region. ok is
// false where it is none of an account's.
func (c *Cache) ECR() (api, region string, ok bool) {
	m := ecr.FindStringSubmatch(string(c.Endpoint))
	if m == nil || m[1] == "api" {
		return "", "", false
	}
	host := "api.ecr."
	if m[2] != "" {
		host = "ecr-fips."
	}
	return "https://" + host + m[3] + "." + m[4], m[3], true
}

// OpenEverywhere reports whether the cache is pulled from without a login in every datacenter.
func (c *Cache) OpenEverywhere() bool {
	for _, over := range c.Datacenters {
		if over.Public != nil && !*over.Public {
			return false
		}
	}
	return c.Public != nil && *c.Public
}

// Names are the caches in the order in which they stand for a registry that several are
// of: those that need no login first, then by name.
func (c *Caches) Names() []string {
	names := slices.Sorted(maps.Keys(c.Items))
	slices.SortStableFunc(names, func(a, b string) int {
		switch open := c.Items[a].OpenEverywhere(); {
		case open == c.Items[b].OpenEverywhere():
			return 0
		case open:
			return -1
		}
		return 1
	})
	return names
}

// Repl is a project of public images pulled by pattern. Defaults: 50GiB, kept
// when pulled within 365d, pushed within 30d or among the 10 most recently pulled,
// every 24h, flatten all.
type Repl struct {
	Project     string           `yaml:"project"`       // its name in Harbor, of a project that is there already, as kubernetes; the same in all datacenters; absent: repl- and its name here
	Description string           `yaml:"description"`   // for people
	Quota       Size             `yaml:"quota"`         // or unlimited
	Retention   *Retention       `yaml:"retention"`     // an artifact is kept when any of these rules does so
	Public      *bool            `yaml:"public"`        // pulled without login; default false
	AutoScan    *bool            `yaml:"auto_scan"`     // scan what is fetched; absent: as the datacenter's project_defaults
	Members     []Member         `yaml:"members"`       // groups of the OpenID provider
	Every       Duration         `yaml:"every"`         // how often upstreams are looked at: minutes that divide an hour, hours that divide a day, 1d or 7d; default 1d
	Flatten     Flatten          `yaml:"flatten"`       // how many leading elements of an image's path are dropped: all (but the last), none, or a number; default all
	Single      *bool            `yaml:"single_active"` // a run does not begin while the last one goes on; default true
	ByChunk     *bool            `yaml:"copy_by_chunk"` // blobs are copied in parts; left alone unless written
	Images      []Image          `yaml:"images"`        // what is held
	Warm        []Warm           `yaml:"warm"`          // what edges have in their stores before it is asked for
	Preheat     *Preheat         `yaml:"preheat"`       // a preheat policy in each Harbor, by which it has its edge bring images
	Datacenters map[string]*Repl `yaml:"datacenters"`   // what differs in one datacenter
}

// Image is a rule: which tags of which image are held.
type Image struct {
	From    string   `yaml:"from"`    // the cache whose upstream it comes from, by its name here; required
	Name    string   `yaml:"name"`    // the image's name there, as library/traefik; a glob; required
	Tags    string   `yaml:"tags"`    // a glob; default **
	Every   Duration `yaml:"every"`   // absent: the project's
	Flatten Flatten  `yaml:"flatten"` // absent: the project's
}

// Artifactory makes every local Docker repository of an Artifactory a cache-<key>.
type Artifactory struct {
	URL        URL      `yaml:"url"`         // scheme and host, without /artifactory; required
	Domain     string   `yaml:"domain"`      // repositories are https://<key>.<domain>; required
	Username   Text     `yaml:"username"`    // who lists repositories and pulls from them
	Password   Ref      `yaml:"password"`    // of that user
	AdminToken Ref      `yaml:"admin_token"` // given: that user is made there, read-only
	CA         string   `yaml:"ca"`          // file of the CA that signs its certificate; absent: the system's
	Defaults   Cache    `yaml:"defaults"`    // of the caches that are made
	Exclude    []string `yaml:"exclude"`     // globs of keys
}
