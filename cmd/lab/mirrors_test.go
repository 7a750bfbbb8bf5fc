package main

import (
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// engineUnderTest is one that breakwater hosts writes for: it pulls docker.io/library/hello
// by that name, from what is in dir, and there is no Docker Hub here but the lab's.
type engineUnderTest struct {
	name string
	dir  func(t *testing.T) string
	pull func(t *testing.T, dir string)
}

func enginesUnderTest() []engineUnderTest {
	return []engineUnderTest{
		{"containerd", func(t *testing.T) string { return t.TempDir() }, func(t *testing.T, dir string) {
			ctr := containerd(t, t.TempDir())
			output(t, ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", dir, "docker.io/library/hello:latest"))
		}},
		{"docker", func(t *testing.T) string { return t.TempDir() }, func(t *testing.T, dir string) {
			run := dockerDaemon(t, t.TempDir(), dockerdOfToday(t), "--config-file", filepath.Join(dir, "daemon.json")) // older ones take no mirror with a path
			output(t, run("pull", "hello"))
		}},
		{"podman", shortDir, func(t *testing.T, dir string) {
			skopeo := trial.Client(t, "skopeo")
			output(t, clientCommand(t, dir, skopeo, "--registries-conf", filepath.Join(dir, "registries.conf"), "copy", "docker://docker.io/library/hello:latest", "dir:"+dir+"/hello"))
			pull := podman(t, dir)("pull", "docker.io/library/hello:latest")
			pull.Env = append(pull.Env, "CONTAINERS_REGISTRIES_CONF="+filepath.Join(dir, "registries.conf"))
			output(t, pull)
		}},
	}
}

// hostsOf writes what breakwater hosts has for an engine.
func hostsOf(t *testing.T, file, url, engine, dir string) {
	t.Helper()
	output(t, exec.Command(bin(t, "breakwater"), "hosts", "--config", file, "--url", url, "--for", engine, "--out", dir))
}

// mirrors: what breakwater hosts writes, of the lab's fleet file and of those that are
// shipped, is used by the engines that it is for.
func mirrors(t *testing.T, f *fleetUnderTest) {
	for name, file := range map[string]string{"lab": f.Datacenters[0].Fleet, "example": "../../deploy/fleet.example.yaml", "minimal": "../../internal/fleet/testdata/minimal.yaml"} {
		for _, e := range enginesUnderTest() {
			t.Run(name+" "+e.name, func(t *testing.T) {
				dir := e.dir(t)
				hostsOf(t, file, f.Datacenters[0].Edge, e.name, dir)
				e.pull(t, dir)
			})
		}
	}
}

// TestMirrorsOfAPrivateCache: the file of the article has private caches, and what
// breakwater hosts writes of it says how to log in. Who does that pulls, who does not is refused.
func TestMirrorsOfAPrivateCache(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	dc := f.Datacenters[0]
	req, err := http.NewRequest(http.MethodPut, dc.Harbor+"/api/v2.0/projects/cache-dockerhub", strings.NewReader(`{"metadata":{"public":"false"}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(f.Admin.Username, f.Admin.Password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	login := map[string]func(t *testing.T, dir string){
		"containerd": func(t *testing.T, dir string) {
			name := filepath.Join(dir, "docker.io", "hosts.toml")
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(f.Admin.Username+":"+f.Admin.Password))
			filled := strings.NewReplacer("# [host.", "[host.", "#   authorization", "  authorization", "Basic <what that prints>", basic).Replace(string(text))
			if !strings.Contains(filled, basic) {
				t.Fatal(filled)
			}
			if err := os.WriteFile(name, []byte(filled), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"podman": func(t *testing.T, dir string) {
			output(t, podman(t, dir)("login", "--tls-verify=false", f.edge(0), "-u", f.Admin.Username, "-p", f.Admin.Password))
		},
	}
	for _, e := range enginesUnderTest() {
		if login[e.name] == nil {
			continue // docker has no login at mirrors, and breakwater hosts refuses
		}
		t.Run(e.name, func(t *testing.T) {
			dir := e.dir(t)
			hostsOf(t, "../../deploy/fleet.article.yaml", dc.Edge, e.name, dir)
			login[e.name](t, dir)
			e.pull(t, dir)
		})
	}
	if text := fails(t, clientCommand(t, t.TempDir(), trial.Client(t, "crane"), "manifest", "--insecure", f.edge(0)+"/cache-dockerhub/library/hello:latest")); !strings.Contains(text, "UNAUTHORIZED") {
		t.Error("without a login: ", text)
	}
}
