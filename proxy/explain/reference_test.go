package explain_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/proxy/explain"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
)

func reader() explain.Reader {
	return explain.Reader{Table: namespace.NewTable([]namespace.Namespace{
		{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true, Host: "docker.io"},
		{Project: "cache-quay.io", Kind: namespace.Cache, Host: "quay.io"},
		{Project: "multi-dc-demo", Kind: namespace.MultiDC},
		{Project: "repl-core", Kind: namespace.Repl},
	}, "harbor.example.org", "edge.par1.example.org:8443")}
}

// A reference means what it means to those who pull: a registry's own name is its cache's.
func TestReferencesAreReadAsClientsWriteThem(t *testing.T) {
	const d = "sha256:6f4ae4d26d2e5c1a8d1cbe52ad0fbf7de1cfb1c1ac9f2d5a9a0b3a7b0d6a1f11"
	for text, want := range map[string]string{
		"cache-dockerhub/nginx:1":                      "cache-dockerhub/library/nginx 1",
		"harbor.example.org/cache-dockerhub/nginx":     "cache-dockerhub/library/nginx latest",
		"https://harbor.example.org/multi-dc-demo/a:v": "multi-dc-demo/a v",
		"edge.par1.example.org:8443/multi-dc-demo/a:v": "multi-dc-demo/a v",
		"127.0.10.1:5000/multi-dc-demo/a:v":            "multi-dc-demo/a v",
		"[::1]:5000/library/a:v":                       "library/a v",
		"harbor.example.org/library/a:v":               "library/a v",
		"HARBOR.example.org:443/library/a:v":           "library/a v",
		"harbor.example.org./library/a:v":              "library/a v",
		"Edge.PAR1.example.org/library/a:v":            "library/a v",
		"other.example.org/multi-dc-demo/a:v":          "multi-dc-demo/a v",
		"multi-dc-demo/a@" + d:                         "multi-dc-demo/a " + d,
		"multi-dc-demo/a:v@" + d:                       "multi-dc-demo/a " + d,
		"docker.io/library/nginx:1":                    "cache-dockerhub/library/nginx 1",
		"docker.io/nginx":                              "cache-dockerhub/library/nginx latest",
		"docker://docker.io/org/app":                   "cache-dockerhub/org/app latest",
		"index.docker.io/library/nginx":                "cache-dockerhub/library/nginx latest",
		"registry-1.docker.io/library/nginx@" + d:      "cache-dockerhub/library/nginx " + d,
		"quay.io/org/app:v1":                           "cache-quay.io/org/app v1",
		"QUAY.io/org/app:v1":                           "cache-quay.io/org/app v1",
		"cache-quay.io/org/app:v1":                     "cache-quay.io/org/app v1",
		"Docker.io.:443/nginx":                         "cache-dockerhub/library/nginx latest",
		"registry.hub.docker.com/org/app":              "cache-dockerhub/org/app latest",
		"quay.io:443/org/app:v1":                       "cache-quay.io/org/app v1",
		"quay.io./org/app:v1":                          "cache-quay.io/org/app v1",
		"Harbor.Example.org.:443/team/app:v":           "team/app v",
		"EDGE.par1.example.org/team/app:v":             "team/app v",
	} {
		ref, err := reader().Read(text)
		if got := ref.Repo + " " + ref.Request.Reference(); err != nil || got != want || ref.Nowhere != "" {
			t.Errorf("%s is %q, want %q (%v, nowhere %q)", text, got, want, err, ref.Nowhere)
		}
		if mirrored := regexp.MustCompile(`(?i)docker\.(io|com)[.:/]|^quay\.io`).MatchString(text); mirrored != (len(ref.Notes) > 0) {
			t.Errorf("%s: %q", text, ref.Notes)
		}
	}
	for _, text := range []string{"", "UPPER/case:v1", "a:b:c", "repo@sha256:x", "docker.io/", "docker.io/a:" + strings.Repeat("x", 129)} {
		if ref, err := reader().Read(text); err == nil {
			t.Errorf("%q is %+v", text, ref)
		}
	}
}

// What the fleet file does not have is not taken for something that is.
func TestWhatTheFleetFileDoesNotHave(t *testing.T) {
	const caches = "its caches are cache-dockerhub of docker.io, cache-quay.io of quay.io"
	for text, want := range map[string][]string{
		"cache-dockerhb/nginx":            {"cache-dockerhb is not in the fleet file; do you mean cache-dockerhub?", caches, "Artifactory"},
		"cache-something-else/nginx":      {"cache-something-else is not in the fleet file", caches},
		"multi-dc-dmo/app":                {"do you mean multi-dc-demo?", "of this kind it has multi-dc-demo"},
		"repl-something/app":              {"repl-something is not in the fleet file", "of this kind it has repl-core"},
		"multidc-demo/app":                {"multidc-demo is not in the fleet file; do you mean multi-dc-demo?"},
		"gcr.io/org/app:v1":               {"there is no cache of gcr.io in the fleet file; " + caches},
		"registry.example.com:5000/org/a": {"there is no cache of registry.example.com:5000 in the fleet file"},
		"nginx":                           {"nginx is a project, and no image in it"},
		"cache-dockerhub":                 {"cache-dockerhub is a project, and no image in it"},
	} {
		ref, err := reader().Read(text)
		notes := strings.Join(ref.Notes, "\n")
		for _, w := range want {
			if err != nil || !strings.Contains(notes, w) {
				t.Errorf("%s: want %q in %q, %v", text, w, notes, err)
			}
		}
		if nowhere := strings.HasPrefix(want[0], "there is no cache"); nowhere != (ref.Nowhere != "") {
			t.Errorf("%s: nowhere is %q", text, ref.Nowhere)
		}
	}
	for _, text := range []string{"library/app:v1", "harbor.example.org/team/app"} {
		if ref, err := reader().Read(text); err != nil || len(ref.Notes) > 0 {
			t.Errorf("%s, a project of Harbor's own: %q, %v", text, ref.Notes, err)
		}
	}
}

// How a digest came to be known is told from how old that is: what was pushed a moment ago
// is not from before the edge's start.
func TestWhatWasPushedIsNotFromBefore(t *testing.T) {
	now := time.Now()
	cache := tags.New(t.Context(), func() time.Time { return now }, nil)
	key := tags.Key{Repo: "multi-dc-demo/app", Reference: "v1"}
	cache.Pushed(key, tags.Entry{Digest: "sha256:aa", Source: "harbor"})
	pushed, _, _ := cache.Get(key, 0)
	for want, e := range map[explain.Said]tags.Entry{explain.Pushed: pushed, explain.Asked: {Digest: "sha256:aa", Checked: now}, explain.Kept: {Digest: "sha256:aa"}} {
		var x explain.Explanation
		x.Known(e, true, now.Add(3*time.Second))
		if age := map[bool]float64{true: 0, false: 3}[want == explain.Kept]; x.Said != want || x.Age != age || !x.Held {
			t.Errorf("want %s, %v s ago: %+v", want, age, x)
		}
	}
	// The newest version goes before what an older answer said.
	var x explain.Explanation
	x.Known(pushed, true, now)
	x.Newest(version.Record{Digest: "sha256:bb", Version: version.Version{Time: now.UnixMilli() << 16, Datacenter: "mad1"}}, "par1", false, false)
	if x.Said != explain.Heard || x.Digest != "sha256:bb" || x.Held || x.Version.Here || x.Version.At.UnixMilli() != now.UnixMilli() {
		t.Errorf("%+v, %+v", x, x.Version)
	}
	x.Conclude(true)
	if !strings.HasPrefix(x.Answer, "Nothing is held, and everybody") {
		t.Error(x.Answer)
	}
	x.Newest(version.Record{Version: version.Version{Time: now.UnixMilli() << 16, Datacenter: "mad1"}}, "mad1", true, false)
	if x.Conclude(true); !strings.HasPrefix(x.Answer, "404: it was deleted in mad1") || !x.Version.Here {
		t.Errorf("%s %+v", x.Answer, x.Version)
	}
}
