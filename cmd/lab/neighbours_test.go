package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// neighbour answers as Spegel does on a node of a cluster in which no node has the image
// (docs/peer-to-peer.md): 200 to the version check, else 404. It takes note of what it was asked.
type neighbour struct {
	mu    sync.Mutex
	asked []string
}

func (n *neighbour) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.asked = append(n.asked, r.Method+" "+r.URL.String())
	n.mu.Unlock()
	if r.URL.Path != "/v2/" {
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
			own := fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n\n", server.URL)
			if err := os.WriteFile(file, []byte(first+own+"[host."+rest), 0o600); err != nil {
				t.Fatal(err)
			}
			ctr := containerd(t, t.TempDir())
			output(t, ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", dir, "docker.io/library/hello:latest"))
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
