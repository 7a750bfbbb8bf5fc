package lab

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

func (h *Harbor) artifactRoutes() []route {
	const repo = "/projects/{project}/repositories/{repo}"
	const artifact = repo + "/artifacts/{reference}"
	return []route{
		{method: "GET", path: "/repositories", check: loggedIn, serve: h.listAllRepos},
		{method: "GET", path: "/projects/{project}/repositories", check: h.inProject("repository", "list"), serve: h.listRepos},
		{method: "GET", path: repo, check: h.inProject("repository", "read"), serve: h.getRepo},
		{method: "PUT", path: repo, check: h.inProject("repository", "update"), serve: h.putRepo},
		{method: "DELETE", path: repo, check: h.inProject("repository", "delete"), serve: h.deleteRepo, unlocked: true},
		{method: "GET", path: repo + "/artifacts", check: h.inProject("artifact", "list"), serve: h.listArtifacts},
		{method: "POST", path: repo + "/artifacts", check: h.inProject("artifact", "create"), serve: h.postArtifact, unlocked: true},
		{method: "GET", path: artifact, check: h.inProject("artifact", "read"), serve: h.getArtifact},
		{method: "DELETE", path: artifact, check: h.inProject("artifact", "delete"), serve: h.deleteArtifactOf, unlocked: true},
		{method: "GET", path: artifact + "/accessories", check: h.inProject("accessory", "list"), serve: h.listAccessories},
		{method: "GET", path: artifact + "/tags", check: h.inProject("tag", "list"), serve: h.listTags},
		{method: "POST", path: artifact + "/tags", check: h.inProject("tag", "create"), serve: h.postTag, unlocked: true},
		{method: "DELETE", path: artifact + "/tags/{tag}", check: h.inProject("tag", "delete"), serve: h.deleteTag, unlocked: true},
		{method: "POST", path: artifact + "/labels", check: h.inProject("artifact-label", "create"), serve: h.postArtifactLabel},
	}
}

// repoName is the repo of the path, in full. Slashes in it are escaped twice:
// what is escaped once is another path, which there is not.
func (c *apiCall) repoName() (string, error) {
	value := c.r.PathValue("repo")
	name, err := url.PathUnescape(value)
	if err != nil || strings.Contains(value, "/") {
		return "", missing("path %s was not found", c.r.URL.Path)
	}
	return c.project.Name + "/" + name, nil
}

func (c *apiCall) repo() (name string, rec *repoRecord, err error) {
	if name, err = c.repoName(); err != nil {
		return "", nil, err
	}
	if rec = c.project.repos[name]; rec == nil {
		return name, nil, missing("repository %s not found", name)
	}
	return name, rec, nil
}

// artifactOf is the artifact that the path names.
func (c *apiCall) artifactOf() (repo string, a *artifact, err error) {
	if repo, err = c.repoName(); err != nil {
		return "", nil, err
	}
	reference := c.r.PathValue("reference")
	if a, _ = c.project.find(repo, reference); a != nil {
		return repo, a, nil
	}
	if _, err := digest.Parse(reference); err == nil {
		return repo, nil, missing("artifact %s@%s not found", repo, reference)
	}
	return repo, nil, missing("artifact %s:%s not found", repo, reference)
}

// listed are the artifacts that lists show: no parts of an index without a tag of
// their own, nothing that is attached to another.
func (rec *repoRecord) listed() (all []*artifact) {
	parts := map[string]bool{}
	for _, a := range rec.artifacts {
		for _, c := range a.children {
			parts[c.Digest] = true
		}
	}
	for _, a := range rec.artifacts {
		if tagged := len(rec.tagsOf(a.Digest)) > 0; tagged || !parts[a.Digest] && a.Subject == "" {
			all = append(all, a)
		}
	}
	return all
}

func (p *project) repoRow(name string, rec *repoRecord) row {
	v := map[string]any{"id": rec.ID, "name": name, "project_id": p.ID, "artifact_count": len(rec.listed()), "pull_count": rec.pulls,
		"creation_time": stamp(rec.created), "update_time": stamp(rec.updated)}
	if rec.Description != "" {
		v["description"] = rec.Description
	}
	return row{v, map[string]any{"id": rec.ID, "name": name, "creation_time": rec.created, "update_time": rec.updated}}
}

func (h *Harbor) listAllRepos(c *apiCall) error {
	rows := []row{}
	for _, p := range h.db.projects {
		if !c.who.sees(p) {
			continue
		}
		for name, rec := range p.repos {
			rows = append(rows, p.repoRow(name, rec))
		}
	}
	return c.list(rows, "-creation_time,-id")
}

func (h *Harbor) listRepos(c *apiCall) error {
	rows := []row{}
	for name, rec := range c.project.repos {
		rows = append(rows, c.project.repoRow(name, rec))
	}
	return c.list(rows, "-creation_time,-id")
}

func (h *Harbor) getRepo(c *apiCall) error {
	name, rec, err := c.repo()
	if err != nil {
		return err
	}
	return c.reply(c.project.repoRow(name, rec).view)
}

func (h *Harbor) putRepo(c *apiCall) error {
	var body struct{ Description string }
	if err := c.read("repository", &body); err != nil {
		return err
	}
	_, rec, err := c.repo()
	if err == nil {
		rec.Description = body.Description
	}
	return err
}

// deleteRepo deletes the artifacts one by one, those that name others first.
func (h *Harbor) deleteRepo(c *apiCall) error {
	var name string
	var all []*artifact
	err := h.locked(func() error {
		var rec *repoRecord
		var err error
		if name, rec, err = c.repo(); err != nil {
			return err
		}
		for _, a := range rec.artifacts {
			for _, tag := range rec.tagsOf(a.Digest) {
				if c.project.immutable(name, tag) {
					return precondition("the tag %s configured as immutable, cannot be deleted", tag)
				}
			}
			all = append(all, a)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b *artifact) int { return cmp.Compare(len(b.children), len(a.children)) })
	for _, a := range all {
		if err == nil {
			err = h.deleteArtifact(c.project, name, a, c.who.name)
		}
	}
	return err
}

func (h *Harbor) listArtifacts(c *apiCall) error {
	name, rec, err := c.repo()
	if err != nil {
		return err
	}
	q := c.r.URL.Query().Get("q")
	rows := []row{}
	for _, a := range rec.listed() {
		if tags := rec.tagsOf(a.Digest); admitsTags(q, tags) && admitsLabels(q, a.labels) {
			rows = append(rows, row{h.artifactView(c, name, rec, a), map[string]any{"id": a.ID, "digest": a.Digest, "push_time": a.pushed, "pull_time": a.pulled,
				"creation_time": a.pushed, "size": int64(a.Size)}})
		}
	}
	return c.list(rows, "-push_time,-id")
}

// admitsTags reads q=tags=…: one tag, "*" any, "nil" none.
func admitsTags(q string, tags []string) bool {
	_, want, ok := strings.Cut(q, "tags=")
	want, _, _ = strings.Cut(want, ",")
	switch {
	case !ok:
		return true
	case want == "*":
		return len(tags) > 0
	case want == "nil":
		return len(tags) == 0
	}
	part, fuzzy := strings.CutPrefix(want, "~")
	return slices.ContainsFunc(tags, func(tag string) bool { return tag == want || fuzzy && strings.Contains(tag, part) })
}

// admitsLabels reads q=labels=(1 2): all of these.
func admitsLabels(q string, labels []*label) bool {
	_, want, _ := strings.Cut(q, "labels=(")
	want, _, _ = strings.Cut(want, ")")
	for id := range strings.FieldsSeq(want) {
		if !slices.ContainsFunc(labels, func(l *label) bool { return text(l.ID) == id }) {
			return false
		}
	}
	return true
}

func (h *Harbor) getArtifact(c *apiCall) error {
	name, a, err := c.artifactOf()
	if err != nil {
		return err
	}
	return c.reply(h.artifactView(c, name, c.project.repos[name], a))
}

func (h *Harbor) deleteArtifactOf(c *apiCall) error {
	var name string
	var a *artifact
	err := h.locked(func() (err error) {
		name, a, err = c.artifactOf()
		return err
	})
	if err != nil {
		return err
	}
	return h.deleteArtifact(c.project, name, a, c.who.name)
}

func (h *Harbor) listAccessories(c *apiCall) error {
	name, a, err := c.artifactOf()
	if err != nil {
		return err
	}
	rows := []row{}
	for _, v := range c.project.accessories(name, a) {
		rows = append(rows, row{v, map[string]any{"id": v["id"]}})
	}
	return c.list(rows, "id")
}

var tagName = regexp.MustCompile(`^[\w][\w.-]{0,127}$`)

// postTag names an artifact once more. Webhooks do not hear of it.
func (h *Harbor) postTag(c *apiCall) error {
	var body struct{ Name string }
	if err := c.read("tag", &body); err != nil {
		return err
	}
	var e event
	err := h.locked(func() error {
		name, a, err := c.artifactOf()
		if err != nil {
			return err
		}
		rec := c.project.repos[name]
		switch {
		case !tagName.MatchString(body.Name):
			return badRequest("bad request: invalid tag name: %s", body.Name)
		case rec.tags[body.Name] != nil:
			return conflict("tag %s already exists under the repository %d", body.Name, rec.ID)
		}
		rec.tags[body.Name] = &tagRecord{ID: h.db.id("tags"), Digest: a.Digest, pushed: h.db.now()}
		e = event{kind: tagged, project: c.project, repo: name, digest: a.Digest, tags: []string{body.Name}, operator: c.who.name}
		return nil
	})
	if err == nil {
		c.status = http.StatusCreated
		h.happened(e)
	}
	return err
}

// deleteTag takes a name away. Webhooks do not hear of it.
func (h *Harbor) deleteTag(c *apiCall) error {
	tag := c.r.PathValue("tag")
	var e event
	err := h.locked(func() error {
		name, a, err := c.artifactOf()
		if err != nil {
			return err
		}
		rec := c.project.repos[name]
		switch {
		case rec.tags[tag] == nil || rec.tags[tag].Digest != a.Digest:
			return missing("tag %s attached to artifact %d not found", tag, a.ID)
		case c.project.immutable(name, tag):
			return precondition("the tag %s configured as immutable, cannot be deleted", tag)
		}
		delete(rec.tags, tag)
		e = event{kind: untagged, project: c.project, repo: name, digest: a.Digest, tags: []string{tag}, operator: c.who.name}
		return nil
	})
	if err == nil {
		h.happened(e)
	}
	return err
}

func (h *Harbor) postArtifactLabel(c *apiCall) error {
	var body struct{ ID int }
	if err := c.read("label", &body); err != nil {
		return err
	}
	_, a, err := c.artifactOf()
	if err != nil {
		return err
	}
	for _, l := range h.db.labels {
		if l.ID == body.ID {
			a.labels = append(slices.Clone(a.labels), l)
			return nil
		}
	}
	return missing("label %d not found", body.ID)
}

// postArtifact copies an artifact of this Harbor (from=project/repo:tag or @digest).
func (h *Harbor) postArtifact(c *apiCall) error {
	to, err := c.repoName()
	if err != nil {
		return err
	}
	from := c.r.URL.Query().Get("from")
	repo, reference, ok := strings.Cut(from, "@")
	if i := strings.LastIndexByte(from, ':'); !ok && i >= 0 {
		repo, reference, ok = from[:i], from[i+1:], true
	}
	var tags []string // all that the artifact has, whichever was asked for
	err = h.locked(func() error {
		name, _, _ := strings.Cut(repo, "/")
		source := h.db.projectLocked(name)
		if ok && source != nil && c.who.inProject(source, "repository", "pull") {
			if a, _ := source.find(repo, reference); a != nil {
				if tags = source.repos[repo].tagsOf(a.Digest); len(tags) == 0 || reference == a.Digest {
					tags = []string{reference}
				}
				return nil
			}
		}
		return badRequest("artifact %s not found", from)
	})
	if err != nil {
		return err
	}
	inside := h.inside(identity{name: c.who.name, admin: true})
	copying := &replication{h: h, policy: policy{Override: true}, from: inside, to: inside}
	ctx, cancel := context.WithTimeout(c.r.Context(), time.Minute)
	defer cancel()
	for _, one := range tags {
		if err := copying.copyArtifact(ctx, repo, to, one); err != nil {
			return err
		}
	}
	_, name, _ := strings.Cut(to, "/")
	return c.created("/projects/%s/repositories/%s/artifacts/%s", c.project.Name, url.PathEscape(name), reference)
}
