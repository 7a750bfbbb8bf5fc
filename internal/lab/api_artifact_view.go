package lab

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
)

const imageConfig = "application/vnd.oci.image.config.v1+json"

// imageIcon is the picture that the portal shows for images.
const imageIcon = "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06"

func (p *project) artifactSize(repo string, a *artifact) int64 {
	n := a.Size
	for _, size := range a.blobs {
		n += size
	}
	for _, c := range a.children {
		if part, _ := p.find(repo, c.Digest); part != nil {
			n += p.artifactSize(repo, part)
		}
	}
	return n
}

// artifactView is an artifact as the API shows it, the database locked.
func (h *Harbor) artifactView(c *apiCall, repo string, rec *repoRecord, a *artifact) map[string]any {
	query := c.r.URL.Query()
	p := c.project
	v := map[string]any{"id": a.ID, "digest": a.Digest, "manifest_media_type": a.MediaType, "media_type": a.MediaType, "project_id": p.ID, "repository_id": rec.ID,
		"repository_name": repo, "size": p.artifactSize(repo, a), "push_time": stamp(a.pushed), "pull_time": stamp(a.pulled), "type": artifactType(a), "icon": "",
		"accessories": nil, "labels": nil, "references": nil, "tags": nil}
	if v["type"] == "IMAGE" {
		v["icon"] = imageIcon
	}
	if a.Config != "" {
		_, name, _ := strings.Cut(repo, "/")
		v["media_type"], v["artifact_type"] = a.Config, a.ArtifactType
		v["extra_attrs"] = h.configOf(repo, a)
		v["addition_links"] = map[string]any{"build_history": map[string]any{"absolute": false, "href": "/api/v2.0/projects/" + p.Name + "/repositories/" +
			url.PathEscape(url.PathEscape(name)) + "/artifacts/" + a.Digest + "/additions/build_history"}}
	}
	if query.Get("with_tag") != "false" {
		if tags := p.tagViews(repo, rec, a); len(tags) > 0 {
			v["tags"] = tags
		}
	}
	if query.Get("with_label") == "true" && len(a.labels) > 0 {
		v["labels"] = a.labels
	}
	if accessories := p.accessories(repo, a); query.Get("with_accessory") == "true" && len(accessories) > 0 {
		v["accessories"] = accessories
	}
	var parts []map[string]any
	for _, c := range a.children {
		part := map[string]any{"child_digest": c.Digest, "parent_id": a.ID, "child_id": 0, "urls": nil, "platform": platformOf(c)}
		if found, _ := p.find(repo, c.Digest); found != nil {
			part["child_id"] = found.ID
		}
		parts = append(parts, part)
	}
	if parts != nil {
		v["references"] = parts
	}
	return v
}

func platformOf(c child) map[string]any {
	platform := map[string]any{"OsFeatures": nil}
	json.Unmarshal(c.Platform, &platform) //nolint:errcheck // what cannot be read is not shown
	return platform
}

func artifactType(a *artifact) string {
	switch {
	case len(a.children) > 0, strings.HasPrefix(a.Config, "application/vnd.oci.image"), strings.HasPrefix(a.Config, "application/vnd.docker"), a.Config == "":
		return "IMAGE"
	case strings.Contains(a.Config, "helm"):
		return "CHART"
	}
	return strings.ToUpper(strings.TrimSuffix(strings.TrimPrefix(a.Config, "application/vnd."), ".config.v1+json"))
}

// configOf is what Harbor shows of an image's configuration.
func (h *Harbor) configOf(repo string, a *artifact) map[string]any {
	shown := map[string]any{}
	if a.Config != imageConfig && !strings.HasPrefix(a.Config, "application/vnd.docker.container.image") {
		return shown
	}
	manifest := h.stored("/v2/"+repo+"/manifests/"+a.Digest, a.MediaType)
	var m struct{ Config struct{ Digest string } }
	var config map[string]any
	if json.Unmarshal(manifest, &m) != nil || json.Unmarshal(h.stored("/v2/"+repo+"/blobs/"+m.Config.Digest, ""), &config) != nil {
		return shown
	}
	for _, key := range []string{"architecture", "author", "config", "created", "os"} {
		shown[key] = config[key]
	}
	if shown["author"] == nil {
		shown["author"] = ""
	}
	return shown
}

// stored reads from the registry behind core.
func (h *Harbor) stored(path, accept string) []byte {
	r, err := http.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil
	}
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.registry.ServeHTTP(w, r)
	body, err := io.ReadAll(io.LimitReader(w.Body, maxManifest))
	if err != nil || w.Code != http.StatusOK {
		return nil
	}
	return body
}

// tagViews lists an artifact's tags, the last first.
func (p *project) tagViews(repo string, rec *repoRecord, a *artifact) (all []map[string]any) {
	for _, name := range rec.tagsOf(a.Digest) {
		tag := rec.tags[name]
		all = append(all, map[string]any{"id": tag.ID, "name": name, "artifact_id": a.ID, "repository_id": rec.ID, "immutable": p.immutable(repo, name),
			"push_time": stamp(tag.pushed), "pull_time": stamp(tag.pulled)})
	}
	slices.SortFunc(all, func(a, b map[string]any) int { return b["id"].(int) - a["id"].(int) })
	return all
}

func (h *Harbor) listTags(c *apiCall) error {
	name, a, err := c.artifactOf()
	if err != nil {
		return err
	}
	rows := []row{}
	for _, v := range c.project.tagViews(name, c.project.repos[name], a) {
		rows = append(rows, row{v, map[string]any{"id": v["id"], "name": v["name"]}})
	}
	return c.list(rows, "-id")
}

// accessories are what is attached to an artifact: signatures and the like.
func (p *project) accessories(repo string, a *artifact) (all []map[string]any) {
	for _, o := range p.referrers(repo, a.Digest) {
		kind := "subject.accessory"
		switch {
		case strings.Contains(o.ArtifactType, "cosign"):
			kind = "signature.cosign"
		case strings.Contains(o.ArtifactType, "notary"):
			kind = "signature.notation"
		}
		all = append(all, map[string]any{"id": o.Accessory, "artifact_id": o.ID, "digest": o.Digest, "icon": "", "size": p.artifactSize(repo, o), "type": kind,
			"creation_time": stamp(o.pushed), "subject_artifact_id": a.ID, "subject_artifact_digest": a.Digest, "subject_artifact_repo": repo})
	}
	return all
}
