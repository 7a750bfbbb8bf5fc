package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// neighbour answers as Spegel does on a node of a cluster (docs/peer-to-peer.md): 200 to the version
// check, and 404 to what no node has. It takes note of what it was asked.
type neighbour struct {
	holds http.Handler // what is asked for by its digest; nil: nothing

	mu    sync.Mutex
	asked []string
}

func (n *neighbour) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.asked = append(n.asked, r.Method+" "+r.URL.String())
	n.mu.Unlock()
	switch {
	case r.URL.Path == "/v2/":
	case n.holds != nil && strings.Contains(r.URL.Path, "/sha256:"):
		n.holds.ServeHTTP(w, r)
	default:
		http.Error(w, "mirror with image component could not be found", http.StatusNotFound)
	}
}

func (n *neighbour) questions() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.asked...)
}

// neighbours: containerd asks a node's neighbours first, by the registry's own name, and the
// edge for what they have not, also where nobody listens in front of the edge.
func neighbours(t *testing.T, f *fleetUnderTest) {
	t.Run("one has the layers", func(t *testing.T) { layersFromNeighbours(t, f) })
	for _, c := range []struct {
		name string
		gone bool // nobody listens
	}{{"no neighbour has it", false}, {"nobody listens", true}} {
		t.Run(c.name, func(t *testing.T) {
			before := &neighbour{}
			server := httptest.NewServer(before)
			defer server.Close()
			if c.gone {
				server.Close()
			}
			pullBehind(t, f, server.URL, `"pull", "resolve"`)
			if c.gone {
				return
			}
			want := "HEAD /v2/library/hello/manifests/latest?ns=" + url.QueryEscape("docker.io")
			if got := before.questions(); len(got) == 0 || got[0] != want {
				t.Errorf("the neighbours were asked %q; the first should be %q", got, want)
			}
		})
	}
}

// pullBehind has a containerd pull an image of Docker Hub's: of the host at the URL, which has these
// capabilities in hosts.toml, and of the edge.
func pullBehind(t *testing.T, f *fleetUnderTest, url, capabilities string) {
	t.Helper()
	dir := t.TempDir()
	hostsOf(t, f.Datacenters[0].Fleet, f.Datacenters[0].Edge, "containerd", dir)
	file := filepath.Join(dir, "docker.io", "hosts.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, ok := strings.Cut(string(text), "[host.")
	if !ok {
		t.Fatalf("no host in\n%s", text)
	}
	own := fmt.Sprintf("[host.%q]\n  capabilities = [%s]\n\n", url, capabilities)
	if err := os.WriteFile(file, []byte(first+own+"[host."+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	ctr := containerd(t, t.TempDir())
	output(t, ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", dir, "docker.io/library/hello:latest"))
}

// layersFromNeighbours: with neighbours that may not resolve tags, the edge says what a tag is, and
// neighbours that have its layers give them: the edge is asked for none.
func layersFromNeighbours(t *testing.T, f *fleetUnderTest) {
	hub, err := url.Parse(f.Upstreams[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	blobs := func() []string {
		return regexp.MustCompile(`(?m)^breakwater_edge_requests_total\{endpoint="blob".*$`).FindAllString(get(t, f.Datacenters[0].Metrics+"/metrics"), -1)
	}
	before, asked := &neighbour{holds: httputil.NewSingleHostReverseProxy(hub)}, blobs()
	server := httptest.NewServer(before)
	defer server.Close()
	pullBehind(t, f, server.URL, `"pull"`)
	questions := strings.Join(before.questions(), "\n")
	if strings.Contains(questions, "/latest") || !strings.Contains(questions, "GET /v2/library/hello/blobs/sha256:") {
		t.Errorf("the neighbours were asked\n%s\nwant layers, and no tag", questions)
	}
	if now := blobs(); !slices.Equal(asked, now) {
		t.Errorf("the edge was asked for blobs: before %q, after %q", asked, now)
	}
}
