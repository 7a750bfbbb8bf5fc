package namespace_test

import (
	"reflect"
	"testing"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/proxy/namespace"
)

func table() *namespace.Table {
	return namespace.NewTable([]namespace.Namespace{
		{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true, Host: "docker.io"},
		{Project: "cache-quay", Kind: namespace.Cache, Host: "quay.io"},
		{Project: "cache-nameless", Kind: namespace.Cache},
		{Project: "platform", Kind: namespace.MultiDC},
		{Project: "repl-core", Kind: namespace.Repl, Rules: []namespace.Rule{
			{From: "cache-dockerhub", Name: "library/*", Tags: "v*", Flatten: naming.FlattenAll},
			{From: "cache-quay", Name: "{org,other}/app", Flatten: 1},
		}},
		{Project: "mirror", Kind: namespace.Cache, Host: "ghcr.io"},
		{Project: "cache-local", Kind: namespace.Cache, Host: "Registry.example.net:5000"},
		{Project: "cache-hub2", Kind: namespace.Cache, Host: "registry-1.docker.io"}, // the first is meant
	}, "harbor.example.org", "edge.mad1.example.org:8443", "192.0.2.7")
}

func TestAProjectIsWhatIsDeclaredElseWhatItsPrefixSays(t *testing.T) {
	for project, want := range map[string]namespace.Kind{
		"cache-dockerhub": namespace.Cache, "platform": namespace.MultiDC, "repl-core": namespace.Repl,
		"cache-discovered": namespace.Cache, "repl-x": namespace.Repl, "multi-dc-x": namespace.MultiDC,
		"library": namespace.Plain, "cache-": namespace.Plain, "multi-dc-": namespace.Plain, "multi-dc": namespace.Plain, "xcache-y": namespace.Plain, "": namespace.Plain,
	} {
		if ns := table().Of(project); ns.Kind != want || ns.Project != project {
			t.Errorf("%q is %v of %q, want %v", project, ns.Kind, ns.Project, want)
		}
	}
}

func TestOfficialImagesOfDockerHubHaveTwoNames(t *testing.T) {
	for _, c := range []struct{ short, full string }{
		{"cache-dockerhub/nginx", "cache-dockerhub/library/nginx"},
		{"cache-dockerhub/org/app", "cache-dockerhub/org/app"},
		{"cache-quay/app", "cache-quay/app"}, // no cache of Docker Hub
		{"cache-dockerhub/a/b/c", "cache-dockerhub/a/b/c"},
	} {
		ns := table().Of(c.short[:len("cache-quay")])
		if c.short != "cache-quay/app" {
			ns = table().Of("cache-dockerhub")
		}
		if full := ns.FullRepo(c.short); full != c.full {
			t.Errorf("%s in full is %s, want %s", c.short, full, c.full)
		}
		if full := ns.FullRepo(c.full); full != c.full {
			t.Errorf("%s in full is %s", c.full, full)
		}
		if short := ns.ShortRepo(c.full); short != c.short {
			t.Errorf("%s is %s for short, want %s", c.full, short, c.short)
		}
	}
}

func TestAReplicatedImageIsFollowedBackThroughItsRules(t *testing.T) {
	core := table().Of("repl-core")
	hub := namespace.Origin{Cache: "cache-dockerhub", Image: "library/app"}
	quay := []namespace.Origin{{Cache: "cache-quay", Image: "org/app"}, {Cache: "cache-quay", Image: "other/app"}}
	for _, c := range []struct {
		repo, tag string
		want      []namespace.Origin
	}{
		{"repl-core/app", "v1", append([]namespace.Origin{hub}, quay...)},
		{"repl-core/app", "latest", quay}, // the first rule is for v* alone
		{"repl-core/app", "", append([]namespace.Origin{hub}, quay...)},
		{"repl-core/nginx", "v1", []namespace.Origin{{Cache: "cache-dockerhub", Image: "library/nginx"}}},
		{"repl-core/deep/app", "v1", nil}, // nothing flattens to it
	} {
		if got := core.Origins(c.repo, c.tag); len(got)+len(c.want) > 0 && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:%s comes from %v, want %v", c.repo, c.tag, got, c.want)
		}
	}
}

// What is declared is replaced as a whole, while it is asked.
func TestWhatIsDeclaredIsReplaced(t *testing.T) {
	all := table()
	if got := all.Kinds(); !reflect.DeepEqual(got, map[string]string{"platform": "multi-dc", "mirror": "cache"}) {
		t.Errorf("without a prefix: %v", got)
	}
	all.Use([]namespace.Namespace{{Project: "cache-ghcr", Kind: namespace.Cache, Host: "ghcr.io"}, {Project: "app", Kind: namespace.MultiDC}})
	if got := all.Projects(); !reflect.DeepEqual(got, []string{"app", "cache-ghcr"}) {
		t.Errorf("declared: %v", got)
	}
	if got := all.Projects(namespace.MultiDC); !reflect.DeepEqual(got, []string{"app"}) {
		t.Errorf("declared, of multi-dc: %v", got)
	}
	if all.Of("platform").Kind != namespace.Plain || all.Of("app").Kind != namespace.MultiDC || all.Of("cache-dockerhub").DockerHub {
		t.Errorf("%v %v %v", all.Of("platform"), all.Of("app"), all.Of("cache-dockerhub"))
	}
	for host, known := range map[string]bool{"ghcr.io": true, "quay.io": false} {
		if m, err := all.Mean(reached("GET", "/v2/org/app/manifests/1?ns="+host)); m.Mirror != known || err != nil {
			t.Errorf("mirrors of %s: %v, %v", host, m.URL, err)
		}
	}
}
