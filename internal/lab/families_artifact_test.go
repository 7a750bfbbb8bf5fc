package lab

import (
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
)

func artifactSetup(w *world) {
	w.project("18081", 2, "older", false, 27)
	w.project("18081", 40, "art", false, 0)
	w.image("18081", "art/app", "v1", "e31ccb", numbers{107, 78, 30})
	w.image("18081", "art/team/a", "v1", "ac6e73", numbers{108, 79, 31})
	w.image("18081", "art/team/b/c", "v1", "71312d", numbers{109, 80, 32})
	v2 := w.image("18081", "art/app", "v2", "4362d7", numbers{110, 81, 0})
	w.image("18081", "art/app", "stable", "4362d7", numbers{})
	w.index("art/app", "multi")
	untagged := w.image("18081", "art/app", "gone", "1cea25", numbers{114, 0, 0})
	db := w.harbors["18081"].db
	rec := db.project("art").repos["art/app"]
	delete(rec.tags, "gone")
	rec.pulls = 1
	w.secrets["sha256:066230401591b72981534721f054deab41b52f15735b5d09f704812b005fb736"] = v2
	w.secrets["sha256:a88b415f7988ab9fb1aada23dbf4de80a240f3af5d8927a94a908bb6bbb923d4"] = untagged
	w.sequence("18081", "accessories", 20)
	w.manifest("art/app", fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.example.sbom",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":400}}`,
		digest.FromString("{}"), v2), "")
	w.sequence("18081", "tags", 84)
}

// manifest pushes a manifest to dc1 by its digest, or under a tag.
func (w *world) manifest(repo, content, tag string) string {
	h := w.harbors["18081"]
	d := digest.FromString(content).String()
	h.pushBlob(w.t, http.StatusCreated, repo, "{}")
	if tag == "" {
		tag = d
	}
	h.call(w.t, http.StatusCreated, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, content, nil)
	return d
}

// index pushes an index of two images that have no tags of their own.
func (w *world) index(repo, tag string) string {
	db := w.harbors["18081"].db
	var parts [2]string
	for i := range parts {
		name := fmt.Sprintf("part%d", i)
		parts[i] = w.image("18081", repo, name, name, numbers{})
		delete(db.project(repo[:len(repo)-len("/app")]).repos[repo].tags, name)
	}
	w.secrets["sha256:19cf5dcc86feb4cfa7ac4c5a0d2fc2bd1d9b0e385435e606de34ba0e2d7bab90"] = parts[0]
	w.sequence("18081", "tags", 83)
	const entry = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":400,"platform":{"architecture":%q,"os":"linux"}}`
	return w.manifest(repo, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`+
		fmt.Sprintf(entry, parts[0], "amd64")+","+fmt.Sprintf(entry, parts[1], "arm64")+"]}", tag)
}

var artifactSteps = map[string]func(*world){
	"artifact-32-copy": func(w *world) {
		for table, next := range map[string]int{"artifacts": 117, "tags": 87, "repositories": 33} {
			w.sequence("18081", table, next)
		}
	},
}

func webhookSetup(w *world) {
	w.user("18081", 3, "dev1", "Devel0per1")
}

var webhookSteps = map[string]func(*world){
	"webhook-21-api-add-tag": func(w *world) {
		app := w.image("18081", "wh/app", "v1", "1", numbers{})
		w.image("18081", "wh/app", "r1", "2", numbers{})
		w.image("18081", "wh/app", "two-a", "3", numbers{})
		w.image("18081", "wh/app", "two-b", "3", numbers{})
		dig := w.image("18081", "wh/dig", "x", "4", numbers{})
		w.image("18081", "wh/multi", "m", "5", numbers{})
		w.secrets["sha256:72dcbb9fa0c593b8a306e39ea5dfd1a077968e166bf2d806507fdde48ca1e9ec"] = app
		w.secrets["sha256:620656c4e7628f572e5c7df2548cdf04a57c7bb47b3d9fd56597b8ad1637da7d"] = dig
		w.secrets["sha256:5221de0b63ac64c98e75c042630cf090aea5f8d59ee74ebfcfe98f4e09e7eb8a"] = w.image("18081", "wh/multi", "n", "6", numbers{})
	},
	"webhook-41-quota-set": func(w *world) { w.harbors["18081"].db.project("wh").quota.ID = 25 },
}
