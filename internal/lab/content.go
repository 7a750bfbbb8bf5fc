package lab

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// repoRecord is what is known of one repo: its artifacts by digest, its tags.
type repoRecord struct {
	ID          int
	Description string
	created     time.Time
	updated     time.Time
	pulls       int
	artifacts   map[string]*artifact
	tags        map[string]*tagRecord
}

type tagRecord struct {
	ID             int
	Digest         string
	pushed, pulled time.Time
}

// artifact is one manifest. What is above blobs does not change.
type artifact struct {
	ID, Accessory                           int
	Digest, MediaType, ArtifactType, Config string
	Size                                    int64 // of the manifest
	Subject                                 string
	Annotations                             map[string]string
	blobs                                   map[string]int64 // config and layers
	children                                []child
	labels                                  []*label
	pushed, pulled                          time.Time
}

// child is an entry of an index.
type child struct {
	Digest   string          `json:"digest"`
	Platform json.RawMessage `json:"platform"`
}

// describe reads a manifest (OCI image manifest, "artifactType" falls back to the
// config's media type).
func describe(mediaType string, body []byte) *artifact {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	var m struct {
		MediaType    string            `json:"mediaType"`
		ArtifactType string            `json:"artifactType"`
		Config       descriptor        `json:"config"`
		Layers       []descriptor      `json:"layers"`
		Manifests    []child           `json:"manifests"`
		Subject      descriptor        `json:"subject"`
		Annotations  map[string]string `json:"annotations"`
	}
	json.Unmarshal(body, &m) //nolint:errcheck // distribution refuses what is no JSON
	if mediaType == "" {
		mediaType = m.MediaType
	}
	if m.ArtifactType == "" {
		m.ArtifactType = m.Config.MediaType
	}
	a := &artifact{Digest: digest.FromBytes(body).String(), MediaType: mediaType, ArtifactType: m.ArtifactType, Config: m.Config.MediaType,
		Size: int64(len(body)), Subject: m.Subject.Digest, Annotations: m.Annotations, blobs: map[string]int64{}, children: m.Manifests}
	for _, d := range append(m.Layers, m.Config) {
		if d.Digest != "" {
			a.blobs[d.Digest] = d.Size
		}
	}
	return a
}

// record notes a manifest that is in the registry now, under its tag if it has one.
func (d *database) record(p *project, repo, tag string, a *artifact) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	rec := p.repos[repo]
	if rec == nil {
		rec = &repoRecord{ID: d.id("repositories"), created: now, artifacts: map[string]*artifact{}, tags: map[string]*tagRecord{}}
		p.repos[repo] = rec
	}
	rec.updated = now
	if known := rec.artifacts[a.Digest]; known != nil {
		known.pushed = now
	} else {
		if a.ID, a.pushed = d.id("artifacts"), now; a.Subject != "" {
			a.Accessory = d.id("accessories")
		}
		rec.artifacts[a.Digest] = a
	}
	p.blobs[a.Digest] = a.Size
	maps.Copy(p.blobs, a.blobs)
	if tag == "" {
		return
	}
	if old := rec.tags[tag]; old != nil {
		old.Digest, old.pushed = a.Digest, now
	} else {
		rec.tags[tag] = &tagRecord{ID: d.id("tags"), Digest: a.Digest, pushed: now}
	}
}

// findLocked is find, the database locked.
func (p *project) find(repo, reference string) (a *artifact, known bool) {
	rec := p.repos[repo]
	if rec == nil {
		return nil, false
	}
	if tag := rec.tags[reference]; tag != nil {
		reference = tag.Digest
	}
	return rec.artifacts[reference], true
}

// find returns the artifact that a reference names; known says whether there is
// such a repo at all.
func (d *database) find(p *project, repo, reference string) (a *artifact, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return p.find(repo, reference)
}

// newestFirst lists the tags of an artifact as those who hear of its end are told.
func (rec *repoRecord) newestFirst(digest string) []string {
	names := rec.tagsOf(digest)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(rec.tags[b].ID, rec.tags[a].ID) })
	return names
}

// tagsOf lists the tags of an artifact in order.
func (rec *repoRecord) tagsOf(digest string) (names []string) {
	for name, tag := range rec.tags {
		if tag.Digest == digest {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// forget removes an artifact and its tags, the database locked. What no other
// artifact of the project needs no longer counts.
func (p *project) forget(repo, digest string) {
	rec := p.repos[repo]
	delete(rec.artifacts, digest)
	maps.DeleteFunc(rec.tags, func(_ string, tag *tagRecord) bool { return tag.Digest == digest })
	if len(rec.artifacts) == 0 {
		delete(p.repos, repo)
	}
	p.blobs = map[string]int64{}
	for _, rec := range p.repos {
		for _, a := range rec.artifacts {
			p.blobs[a.Digest] = a.Size
			maps.Copy(p.blobs, a.blobs)
		}
	}
}

// deleteArtifact deletes an artifact, unless one of its tags must stay or another
// artifact needs it, and tells who is to know.
func (h *Harbor) deleteArtifact(p *project, repo string, a *artifact, operator string) error {
	h.db.mu.Lock()
	rec := p.repos[repo]
	if rec == nil || rec.artifacts[a.Digest] == nil {
		h.db.mu.Unlock()
		return missing("artifact %s not found", artifactName(repo, a.Digest))
	}
	tags := rec.newestFirst(a.Digest)
	err := p.deletable(repo, a.Digest, tags)
	if err == nil {
		p.forget(repo, a.Digest)
	}
	h.db.mu.Unlock()
	if err != nil {
		return err
	}
	r, _ := http.NewRequest(http.MethodDelete, (&url.URL{Path: "/v2/" + repo + "/manifests/" + a.Digest}).String(), nil)
	h.registry.ServeHTTP(httptest.NewRecorder(), r)
	for _, attached := range h.db.referrers(p, repo, a.Digest) {
		if err := h.deleteArtifact(p, repo, attached, operator); err != nil {
			return err
		}
	}
	h.happened(event{kind: deleted, project: p, repo: repo, digest: a.Digest, tags: tags, operator: operator})
	return nil
}

func (p *project) deletable(repo, digest string, tags []string) error {
	for _, tag := range tags {
		if p.immutable(repo, tag) {
			return precondition("the tag %s configured as immutable, cannot be deleted", tag)
		}
	}
	for _, other := range p.repos[repo].artifacts {
		if slices.ContainsFunc(other.children, func(c child) bool { return c.Digest == digest }) {
			return &apiError{http.StatusPreconditionFailed, "VIOLATE_FOREIGN_KEY_CONSTRAINT", "the deleting artifact is referenced by others"}
		}
	}
	return nil
}

// tags lists the repo's tags in order; nil when there is no such repo.
func (d *database) tags(p *project, repo string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec := p.repos[repo]
	if rec == nil {
		return nil
	}
	return append([]string{}, slices.Sorted(maps.Keys(rec.tags))...)
}

// referrers lists the artifacts whose subject is the digest.
func (d *database) referrers(p *project, repo, digest string) []*artifact {
	d.mu.Lock()
	defer d.mu.Unlock()
	return p.referrers(repo, digest)
}

func (p *project) referrers(repo, digest string) (all []*artifact) {
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

// references lists a repo's tags, and the digests of its artifacts that have none and
// belong to no other.
func (rec *repoRecord) references() (tags, untagged []string) {
	belongs := map[string]bool{}
	for _, tag := range rec.tags {
		belongs[tag.Digest] = true
	}
	for _, a := range rec.artifacts {
		for _, c := range a.children {
			belongs[c.Digest] = true
		}
	}
	for digest, a := range rec.artifacts {
		if !belongs[digest] && a.Subject == "" {
			untagged = append(untagged, digest)
		}
	}
	slices.Sort(untagged)
	return slices.Sorted(maps.Keys(rec.tags)), untagged
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

// noteLater writes down when an artifact was pulled, and the tag by which, nil for none, once
// the lag is over; the database is locked.
func (h *Harbor) noteLater(a *artifact, of *tagRecord, at time.Time) {
	note := func() {
		if a.pulled = at; of != nil {
			of.pulled = at
		}
	}
	if h.cfg.PullLag == 0 {
		note()
		return
	}
	time.AfterFunc(h.cfg.PullLag, func() {
		h.db.mu.Lock()
		defer h.db.mu.Unlock()
		note()
	})
}

// pulled notes the pull of a manifest: whoever GETs one counts, but replications
// and proxy caches. A pull by digest is not one of any tag.
func (h *Harbor) pulled(c *call, a *artifact) {
	if c.r.Method != http.MethodGet || c.r.UserAgent() == replicationAgent {
		return
	}
	h.db.mu.Lock()
	var tags []string
	if rec := c.project.repos[c.repo]; rec != nil {
		rec.pulls++
		of := rec.tags[c.reference]
		if of != nil {
			tags = []string{c.reference}
		}
		h.noteLater(a, of, h.db.now())
	}
	h.db.mu.Unlock()
	h.happened(event{kind: pulled, project: c.project, repo: c.repo, digest: a.Digest, tags: tags, operator: c.who.name})
}
