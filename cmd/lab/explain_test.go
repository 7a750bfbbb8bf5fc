package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// TestExplain asks the edges of a lab what they know of images that clients have just
// pushed, pulled and deleted.
func TestExplain(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f, program := startLab(t), bin(t, "breakwater")
	crane, home := trial.Client(t, "crane"), t.TempDir()
	explain := func(i int, ref string) string {
		t.Helper()
		return output(t, exec.Command(program, "explain", "--admin", strings.TrimPrefix(f.Datacenters[i].Admin, "http://"), ref))
	}
	says := func(i int, ref string, want ...string) {
		t.Helper()
		trial.Until(t, func() error { // edges tell each other
			text := explain(i, ref)
			for _, w := range want {
				if !strings.Contains(text, w) {
					return fmt.Errorf("%s at %s: want %q in\n%s", ref, f.Datacenters[i].Name, w, text)
				}
			}
			return nil
		})
	}
	for i := range 2 {
		output(t, clientCommand(t, home, crane, "auth", "login", "--insecure", f.edge(i), "-u", f.Robots[1].Name, "-p", f.Robots[1].Secret))
	}
	const ref = "multi-dc-demo/explained:v1"
	output(t, clientCommand(t, home, crane, "copy", "--insecure", f.edge(0)+"/multi-dc-demo/app:v1", f.edge(0)+"/"+ref))
	digest := strings.TrimSpace(output(t, clientCommand(t, home, crane, "digest", "--insecure", f.edge(0)+"/multi-dc-demo/app:v1")))
	if text := explain(0, f.edge(0)+"/"+ref); !strings.Contains(text, "newest   pushed through this edge at 20") ||
		!strings.Contains(text, digest+", in the store") || strings.Contains(text, "before this edge was started") {
		t.Errorf("what was pushed a moment ago:\n%s", text)
	}
	says(1, ref, digest, "newest   pushed in par1 at 20", "acknowledged in par1")
	output(t, clientCommand(t, home, crane, "pull", "--insecure", f.edge(1)+"/"+ref, home+"/app.tar"))
	says(1, ref, "said so", digest+", in the store")

	output(t, clientCommand(t, home, crane, "auth", "login", "--insecure", f.edge(0), "-u", f.Admin.Username, "-p", f.Admin.Password))
	output(t, clientCommand(t, home, crane, "delete", "--insecure", f.edge(0)+"/multi-dc-demo/explained@"+digest))
	for i := range 2 {
		newest := []string{"newest   deleted through this edge at 20", "newest   deleted in par1 at 20"}[i]
		says(i, ref, "404: it was deleted in par1", newest)
		says(i, "multi-dc-demo/explained@"+digest, "404: it was deleted in par1", newest)
	}

	output(t, clientCommand(t, home, crane, "manifest", "--insecure", f.edge(0)+"/cache-dockerhub/hello"))
	for _, name := range []string{"docker.io/library/hello:latest", "docker.io/hello", "index.docker.io/library/hello"} {
		says(0, name, "cache-dockerhub/library/hello:latest\n", "note: ", "is what cache-dockerhub is a cache of", "harbor said so", "in the store")
	}
	says(0, f.Domain+"/cache-dockerhb/hello", "note: cache-dockerhb is not in the fleet file; do you mean cache-dockerhub?", "its caches are cache-dockerhub of docker.io")
	says(0, "multi-dc-dmo/app:v1", "do you mean multi-dc-demo?")
	says(0, "ghcr.io/org/app:v1", "Nodes pull it from ghcr.io itself", "there is no cache of ghcr.io in the fleet file")
}
