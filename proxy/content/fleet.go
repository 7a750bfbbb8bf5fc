package content

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

const (
	maxAnswer = 4 << 20
	maxPeers  = 16 // that are asked at once
)

var errDisk = errors.New("the edge's disk does not say what is remembered; try again")

// Report is what the edges of a fleet know, side by side (GET /content).
type Report struct {
	Datacenters []Datacenter `json:"datacenters"`        // this one first, the others as they are asked
	Projects    []Project    `json:"projects,omitempty"` // of the fleet file
	Repo        string       `json:"repo,omitempty"`
	Kind        string       `json:"kind,omitempty"`  // of the repo's project
	Homes       []string     `json:"homes,omitempty"` // the datacenters whose Harbors are to hold it; absent: all
	Repos       []RepoRow    `json:"repos"`
	Tags        []TagRow     `json:"tags"`
	Next        string       `json:"next,omitempty"` // after which the next page begins; absent: there is none
}

// Datacenter is one that was asked.
type Datacenter struct {
	Datacenter string `json:"datacenter"`
	Error      string `json:"error,omitempty"` // it cannot be asked
}

// Project is what the fleet file says of one.
type Project struct {
	Project string   `json:"project"`
	Kind    string   `json:"kind"`
	Homes   []string `json:"homes,omitempty"`
}

// RepoRow is a repository in the datacenters whose edges know of it.
type RepoRow struct {
	Repo string         `json:"repo"`
	Kind string         `json:"kind"`
	Tags map[string]int `json:"tags"` // by datacenter: how many are known
}

// TagRow is a tag in the datacenters whose edges know of it.
type TagRow struct {
	Tag     string          `json:"tag"`
	Digest  digest.Digest   `json:"digest,omitempty"`  // by the newest version, or the one that all agree on; "": deleted, or they differ
	Version *Version        `json:"version,omitempty"` // the newest push or delete that any of them knows of
	Differ  bool            `json:"differ"`            // not all who know the tag say the same
	In      map[string]Cell `json:"in"`                // by datacenter
}

// Cell is a tag in one datacenter.
type Cell struct {
	Tag
	// State is same, other (another digest, and no version says which is newer), deleted, or behind:
	// its edge has not heard of the newest version.
	State  string  `json:"state"`
	Behind float64 `json:"behind_seconds,omitempty"` // how long ago that version was made
}

// The states of a Cell.
const (
	Same    = "same"
	Other   = "other"
	Deleted = "deleted"
	Behind  = "behind"
)

// Fleet is what this edge and all others know.
func (c *Content) Fleet(ctx context.Context, q Query, now time.Time) Report {
	peers := c.Peers()
	all, errs := make([]Local, 1+len(peers)), make([]error, 1+len(peers))
	all[0], errs[0] = c.Local(q)
	room := make(chan struct{}, maxPeers)
	var asked sync.WaitGroup
	for i, p := range peers {
		asked.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			all[i+1], errs[i+1] = c.ask(ctx, p, q)
			all[i+1].Datacenter = p.Datacenter
		})
	}
	asked.Wait()
	r := Report{Datacenters: []Datacenter{}, Repo: q.Repo, Repos: []RepoRow{}, Tags: []TagRow{}}
	for i, local := range all {
		d := Datacenter{Datacenter: local.Datacenter}
		if errs[i] != nil {
			d.Error = errs[i].Error()
		}
		r.Datacenters = append(r.Datacenters, d)
	}
	if q.Repo != "" {
		ns := c.Namespaces.OfRepo(q.Repo)
		r.Kind, r.Homes = ns.Kind.String(), ns.Homes
		r.Tags, r.Next = tagRows(all, q.Limit, now)
		return r
	}
	for _, name := range c.Namespaces.Projects(namespace.Cache, namespace.Repl, namespace.MultiDC) {
		ns := c.Namespaces.Of(name)
		r.Projects = append(r.Projects, Project{name, ns.Kind.String(), ns.Homes})
	}
	r.Repos, r.Next = c.repoRows(all, q.Limit)
	return r
}

// repoRows are the rows of all edges, by repo.
func (c *Content) repoRows(all []Local, limit int) (rows []RepoRow, next string) {
	by := map[string]map[string]int{}
	for _, local := range all {
		for _, repo := range local.Repos {
			if by[repo.Repo] == nil {
				by[repo.Repo] = map[string]int{}
			}
			by[repo.Repo][local.Datacenter] = repo.Tags
		}
	}
	rows = []RepoRow{}
	for repo, tags := range by {
		rows = append(rows, RepoRow{repo, c.Namespaces.OfRepo(repo).Kind.String(), tags})
	}
	return page(rows, limit, all, func(r RepoRow) string { return r.Repo })
}

// tagRows are the same, by tag.
func tagRows(all []Local, limit int, now time.Time) (rows []TagRow, next string) {
	by := map[string]map[string]Cell{}
	for _, local := range all {
		for _, tag := range local.Tags {
			if by[tag.Tag] == nil {
				by[tag.Tag] = map[string]Cell{}
			}
			by[tag.Tag][local.Datacenter] = Cell{Tag: tag}
		}
	}
	rows = []TagRow{}
	for tag, cells := range by {
		rows = append(rows, compare(tag, cells, now))
	}
	return page(rows, limit, all, func(r TagRow) string { return r.Tag })
}

// compare says which datacenter has what, by the newest version that one of them knows.
func compare(tag string, cells map[string]Cell, now time.Time) TagRow {
	row := TagRow{Tag: tag, In: cells}
	for _, c := range cells {
		if c.Version != nil && (row.Version == nil || c.Version.Order.Newer(row.Version.Order)) {
			row.Version, row.Digest = c.Version, c.Digest
		}
	}
	digests := map[digest.Digest]bool{}
	for _, c := range cells {
		digests[c.Digest] = true
		if row.Version == nil {
			row.Digest = c.Digest
		}
	}
	if row.Differ = len(digests) > 1; row.Differ && row.Version == nil {
		row.Digest = ""
	}
	for datacenter, c := range cells {
		known := version.Version{}
		if c.Version != nil {
			known = c.Version.Order
		}
		switch {
		case row.Version != nil && row.Version.Order.Newer(known):
			c.State, c.Behind = Behind, max(0, now.Sub(row.Version.At).Seconds())
		case c.Digest == "":
			c.State = Deleted
		case row.Differ && c.Digest != row.Digest:
			c.State = Other
		default:
			c.State = Same
		}
		cells[datacenter] = c
	}
	return row
}

// ask asks a peer (GET peer.ContentPath).
func (c *Content) ask(ctx context.Context, p *source.Source, q Query) (local Local, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Registry.URL().String()+peer.ContentPath+"?"+q.values().Encode(), nil)
	if err != nil {
		return local, err
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		return local, fmt.Errorf("it does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return local, fmt.Errorf("it answers: %w", registry.ReadError(resp))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&local); err != nil {
		return Local{}, fmt.Errorf("what it answers cannot be read: %w", err)
	}
	return c.sound(local, q), nil
}

// sound is what a peer says, without what no edge can know: what is no name, no digest, or not of
// what was asked for.
func (c *Content) sound(said Local, q Query) Local {
	var local Local
	for _, repo := range said.Repos {
		if q.Repo == "" && registry.ValidRepo(repo.Repo) && repo.Repo > q.After && c.managed(repo.Repo) && repo.Tags >= 0 && len(local.Repos) < q.Limit {
			local.Repos = append(local.Repos, repo)
		}
	}
	for _, tag := range said.Tags {
		if q.Repo != "" && registry.ValidTag(tag.Tag) && tag.Tag > q.After && (tag.Digest == "" || tag.Digest.Validate() == nil) && tag.Owed >= 0 && len(local.Tags) < q.Limit {
			local.Tags = append(local.Tags, tag)
		}
	}
	if said.Until > q.After && (registry.ValidRepo(said.Until) || registry.ValidTag(said.Until)) {
		local.Until = said.Until
	}
	return local
}

// ServePeer answers another edge, which has shown that it is one: GET, Parse's parameters.
func (c *Content) ServePeer(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return registry.Errorf(registry.CodeUnsupported, "what is known is a GET")
	}
	q, err := Parse(r.URL.Query())
	if err != nil {
		return registry.Errorf(registry.CodeUnsupported, "%v", err)
	}
	local, err := c.Local(q)
	if err != nil {
		return registry.Errorf(registry.CodeUnavailable, "%v", err)
	}
	registry.WriteJSON(w, local)
	return nil
}

// Admin adds what operators ask to the admin listener:
//
//	GET /content?project=&match=&after=&limit=   the repos that edges know of (Report)
//	GET /content?repo=…&match=&after=&limit=     the tags of one, in each datacenter
func (c *Content) Admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /content", func(w http.ResponseWriter, r *http.Request) {
		q, err := Parse(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		registry.WriteJSON(w, c.Fleet(r.Context(), q, time.Now()))
	})
}
