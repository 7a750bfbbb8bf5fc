package fleet

import "slices"

// Projects are the managed Harbor projects, by kind.
type Projects struct {
	MultiDC     MultiDCs     `yaml:"multi-dc"`
	Cache       Caches       `yaml:"cache"`
	Repl        Repls        `yaml:"repl"`
	Artifactory *Artifactory `yaml:"artifactory"`
}

// MultiDCs are private projects that all datacenters share: multi-dc-<name>.
type MultiDCs struct {
	Defaults MultiDC             `yaml:"defaults"` // under what each project says itself
	Items    map[string]*MultiDC `yaml:"*"`
}

// Caches are proxy caches of upstreams: cache-<name>.
type Caches struct {
	Defaults Cache             `yaml:"defaults"`
	Items    map[string]*Cache `yaml:"*"`
}

// Repls are public images that are always held: repl-<name>.
type Repls struct {
	Defaults Repl             `yaml:"defaults"`
	Items    map[string]*Repl `yaml:"*"`
}

// Retention keeps an artifact when any of its rules does; the rest is deleted daily.
type Retention struct {
	PulledWithin       Duration `yaml:"pulled_within"`
	PushedWithin       Duration `yaml:"pushed_within"`
	MostRecentlyPulled int      `yaml:"most_recently_pulled"`
	MostRecentlyPushed int      `yaml:"most_recently_pushed"`
	Always             bool     `yaml:"always"`
}

// Member is an OIDC group in a project.
type Member struct {
	Group string `yaml:"group"`
	Role  string `yaml:"role"` // admin | maintainer | developer | guest | limited-guest
}

// MultiDC is a private project replicated between all datacenters. Defaults:
// 10GiB, kept when pulled or pushed within 180d or among the 10 most recently pulled.
type MultiDC struct {
	Description string     `yaml:"description"`
	Quota       Size       `yaml:"quota"`
	Retention   *Retention `yaml:"retention"`
	AutoScan    *bool      `yaml:"auto_scan"`
	Webhooks    *bool      `yaml:"webhooks"` // tell the local edge of pushes and deletes; default true
	Members     []Member   `yaml:"members"`
	Immutable   []string   `yaml:"immutable_tags"` // globs
	Robots      struct {
		ReadOnly  Ref `yaml:"readonly"` // secrets; {name} is the project's name here
		ReadWrite Ref `yaml:"readwrite"`
		Sync      Ref `yaml:"sync"`
	} `yaml:"robots"`
	Replication struct {
		Pull    Duration `yaml:"pull"`          // default 15m
		Push    string   `yaml:"push"`          // event | none; default event where that moves no tag back: edges own the tags, none can be moved, or one datacenter alone pushes
		Single  *bool    `yaml:"single_active"` // a pull does not begin while its last one runs; default true
		ByChunk *bool    `yaml:"copy_by_chunk"` // blobs are copied in parts; left alone unless written
		Tags    string   `yaml:"tags"`          // who moves tags: edges (Harbors replicate content alone) | harbor; default edges where every datacenter has an edge, edge.robot a secret and edge.peers a key or CA; the same in all datacenters
	} `yaml:"replication"`
	Datacenters map[string]*MultiDC `yaml:"datacenters"` // what differs in one datacenter
}

// Owners of the tags of a project that several datacenters share.
const (
	TagsEdges  = "edges"  // an edge gives its Harbor the newest version of a tag; replication brings content
	TagsHarbor = "harbor" // replication brings tags too
)

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
	Provider    string            `yaml:"provider"` // docker-hub | docker-registry | harbor | aws-ecr | azure-acr | google-gcr | github-ghcr | jfrog-artifactory; default docker-registry
	Endpoint    Endpoint          `yaml:"endpoint"` // required but for docker-hub; a path only for docker-registry and jfrog-artifactory, and then Harbor alone fetches from there
	Description string            `yaml:"description"`
	Username    Text              `yaml:"username"`
	Password    Ref               `yaml:"password"`
	Quota       Size              `yaml:"quota"`
	Retention   *Retention        `yaml:"retention"`
	Public      *bool             `yaml:"public"` // pulled without login; what mirrors of nodes without credentials need
	AutoScan    *bool             `yaml:"auto_scan"`
	Members     []Member          `yaml:"members"`
	Proxy       URL               `yaml:"proxy"` // HTTP proxy for the edge's own way to the upstream
	CA          string            `yaml:"ca"`    // file of the CA that signs the upstream's certificate
	Datacenters map[string]*Cache `yaml:"datacenters"`
}

// Host is the registry that the cache is of, as clients name it: docker.io for
// Docker Hub, whatever its addresses.
func (c *Cache) Host() string {
	if c.Provider == DockerHub {
		return "docker.io"
	}
	return c.Endpoint.Host()
}

// Repl is a project of public images pulled by pattern. Defaults: 50GiB, kept
// when pulled within 365d, pushed within 30d or among the 10 most recently pulled,
// every 24h, flatten all.
type Repl struct {
	Description string           `yaml:"description"`
	Quota       Size             `yaml:"quota"`
	Retention   *Retention       `yaml:"retention"`
	Public      *bool            `yaml:"public"`
	AutoScan    *bool            `yaml:"auto_scan"`
	Members     []Member         `yaml:"members"`
	Every       Duration         `yaml:"every"`
	Flatten     Flatten          `yaml:"flatten"`
	Single      *bool            `yaml:"single_active"` // as a multi-dc project's
	ByChunk     *bool            `yaml:"copy_by_chunk"`
	Images      []Image          `yaml:"images"`
	Datacenters map[string]*Repl `yaml:"datacenters"`
}

// Image is a rule: which tags of which image are held.
type Image struct {
	From    string   `yaml:"from"` // the cache whose upstream it comes from, by its name here
	Name    string   `yaml:"name"` // the image's name there, as library/traefik; a glob
	Tags    string   `yaml:"tags"` // a glob; default **
	Every   Duration `yaml:"every"`
	Flatten Flatten  `yaml:"flatten"`
}

// Artifactory makes every local Docker repository of an Artifactory a cache-<key>.
type Artifactory struct {
	URL        URL      `yaml:"url"`
	Domain     string   `yaml:"domain"` // repositories are https://<key>.<domain>
	Username   Text     `yaml:"username"`
	Password   Ref      `yaml:"password"`
	AdminToken Ref      `yaml:"admin_token"` // given: the read-only user is made there
	CA         string   `yaml:"ca"`
	Defaults   Cache    `yaml:"defaults"`
	Exclude    []string `yaml:"exclude"` // globs of keys
}
