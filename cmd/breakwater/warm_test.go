package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	reference "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/warm"
	"example.org/breakwater/registry"
)

// edgeOfACache starts an edge before a Harbor that has a cache of an upstream, which has
// library/app:v1. It returns the address of the edge's admin listener.
func edgeOfACache(t *testing.T) string {
	t.Helper()
	hub, err := lab.StartUpstream(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hub.Close() })
	harbor, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harbor.Close() })
	if err := harbor.CreateCache("cache-hub", "docker-hub", hub.URL(), true); err != nil {
		t.Fatal(err)
	}
	harbor.CreateRobot("*", "edge", "Edge1Edge1Edge1", "pull", "repository:list", "artifact:read")
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := reference.ParseReference(strings.TrimPrefix(hub.URL(), "http://")+"/library/app:v1", reference.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	source, err := registry.NewSource(registry.SourceConfig{URL: harbor.URL(), Trusted: true, Username: "robot$edge", Password: "Edge1Edge1Edge1"})
	if err != nil {
		t.Fatal(err)
	}
	checker, err := access.New(access.Config{Harbor: source})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	mux := http.NewServeMux()
	proxy.New(t.Context(), proxy.Config{Datacenter: "par1", Access: checker, Store: blobs, Log: slog.New(slog.DiscardHandler), Pace: 20 * time.Millisecond,
		Settings: proxy.Settings{Harbor: source, Names: []string{"harbor.example.org"}, Namespaces: []namespace.Namespace{{Project: "cache-hub", Kind: namespace.Cache, DockerHub: true}}}}).Admin(mux)
	edge := httptest.NewServer(daemon.Named(daemon.Edge, mux))
	t.Cleanup(edge.Close)
	return edge.Listener.Addr().String()
}

// What can be warmed is, the command waits for it, and says of everything else why not.
func TestWarmWaits(t *testing.T) {
	edge := edgeOfACache(t)
	for name, c := range map[string]struct {
		args   string
		status int
		says   []string // on any stream
	}{
		"an image":               {"harbor.example.org/cache-hub/app:v1", 0, []string{"par1 1 of 1 (1 of 1 manifests", "cache-hub/library/app:v1", "done"}},
		"one that is not there":  {"cache-hub/app:v1 cache-hub/nothing:v1", 1, []string{"cache-hub/library/nothing:v1", "failed", "1 could not be warmed"}},
		"a plain project":        {"library/app:v1", 1, []string{"library is a plain project"}},
		"no reference":           {"cache-hub/APP", 1, []string{"is no reference"}},
		"no platform":            {"--platform amd64 cache-hub/app:v1", 1, []string{`"amd64" is no platform`}},
		"a registry that is not": {"quay.io/a/b:v1", 1, []string{"there is no cache of quay.io"}},
		"a fleet that is not":    {"--fleet cache-hub/app:v1", 1, []string{"this edge knows no other edges"}},
	} {
		got := program(t, nil, append([]string{"warm", "--admin", edge}, strings.Fields(c.args)...)...)
		if int(got.status) != c.status {
			t.Errorf("%s: status %d: %s%s", name, got.status, got.stdout, got.stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(got.stdout+got.stderr, want) {
				t.Errorf("%s: want %q in\n%s%s", name, want, got.stdout, got.stderr)
			}
		}
	}
	got := program(t, nil, "warm", "status", "--json", "--admin", edge)
	var all []warm.Status
	if err := json.Unmarshal([]byte(got.stdout), &all); err != nil || len(all) != 1 || all[0].Kinds[warm.Operator] != (warm.Count{Warmed: 1, Failed: 1}) {
		t.Errorf("%v: %s%s", err, got.stdout, got.stderr)
	}
	if got = program(t, nil, "warm", "status", "--admin", edge); got.status != 0 || !strings.Contains(got.stdout, "1 warmed, 1 failed, 0 to warm") || !strings.Contains(got.stdout, "cache-hub/library/nothing:v1  failed") {
		t.Errorf("status %d: %s%s", got.status, got.stdout, got.stderr)
	}
}
