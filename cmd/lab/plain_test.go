package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"example.org/breakwater/internal/lab/content"
	"example.org/breakwater/internal/trial"
)

// edgeBefore starts an edge before a registry, and returns where it listens.
func edgeBefore(t *testing.T, registry string) string {
	t.Helper()
	home := t.TempDir()
	config := filepath.Join(home, "fleet.yaml")
	text := fmt.Sprintf("domain: registry.example.org\ndatacenters: { par1: { harbor: %q } }\nprojects: { multi-dc: { app: {} } }\nedge: { listen: \"127.0.0.1:0\", plain_http: true, metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", store: { path: %q } }\n", registry, home+"/store")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, address := startEdge(t, bin(t, "breakwater"), config)
	return address
}

func imageFile(t *testing.T) string {
	t.Helper()
	img, err := content.Big(content.Platform(), 1)
	if err != nil {
		t.Fatal(err)
	}
	file, tag := filepath.Join(t.TempDir(), "image.tar"), name.MustParseReference("registry.example.org/image:1")
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPlainRegistries: the edge works before a registry that is no Harbor as clients work with
// that registry itself: its login is theirs, and it says who may read and write what.
func TestPlainRegistries(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	crane, skopeo, image := trial.Client(t, "crane"), trial.Client(t, "skopeo"), imageFile(t)
	docker := dockerDaemon(t, t.TempDir(), trial.Client(t, "dockerd"))
	for _, p := range plainRegistries(t) {
		t.Run(p.name, func(t *testing.T) {
			edge, registry := edgeBefore(t, p.url), strings.TrimPrefix(p.url, "http://")
			stranger, wrong, ann := t.TempDir(), t.TempDir(), t.TempDir()
			expect := func(works bool, cmd *exec.Cmd) {
				t.Helper()
				if text, err := cmd.CombinedOutput(); (err == nil) != works {
					t.Errorf("%v\nworks %v: %v\n%s", cmd.Args, !works, err, text)
				}
			}
			craneAs := func(home string, args ...string) *exec.Cmd {
				return clientCommand(t, home, crane, append(args, "--insecure")...)
			}
			for home, password := range map[string]string{ann: plainPassword, wrong: "wrong"} { // crane writes it down, and asks nobody
				expect(true, craneAs(home, "auth", "login", edge, "-u", plainUser, "-p", password))
			}
			for _, repo := range []string{"team/app", "multi-dc-app/svc"} {
				ref := edge + "/" + repo
				expect(p.all, craneAs(stranger, "push", image, ref+":stranger"))
				expect(true, craneAs(ann, "push", image, ref+":1"))
				expect(true, craneAs(ann, "pull", ref+":1", ann+"/image.tar"))
				expect(p.reads, craneAs(stranger, "pull", ref+":1", stranger+"/image.tar"))
				expect(p.all, craneAs(wrong, "push", image, ref+":wrong"))
				expect(p.reads, craneAs(wrong, "manifest", ref+":1"))
			}
			copied := []string{"copy", "--src-tls-verify=false", "docker://" + edge + "/multi-dc-app/svc:1"}
			expect(true, clientCommand(t, ann, skopeo, append(copied, "--src-creds", plainUser+":"+plainPassword, "dir:"+ann+"/dir")...))
			expect(p.reads, clientCommand(t, stranger, skopeo, append(copied, "dir:"+stranger+"/dir")...))
			expect(true, docker("login", edge, "-u", plainUser, "-p", plainPassword))
			expect(true, docker("import", image, edge+"/team/docker:1"))
			logsIn := p.all || !p.reads // docker shows no login where /v2/ asks for none
			expect(logsIn, docker("push", edge+"/team/docker:1"))
			expect(logsIn, docker("pull", edge+"/team/docker:1"))
			expect(p.reads, docker("login", edge, "-u", plainUser, "-p", "wrong")) // which is asked of the root alone
			for _, path := range []string{"/v2/", "/v2/team/app/manifests/1", "/v2/multi-dc-app/svc/manifests/1", "/v2/multi-dc-app/svc/tags/list"} {
				if got, want := challengeAt(t, edge, path), challengeAt(t, registry, path); got != want {
					t.Errorf("%s: %s, and of the registry itself %s", path, got, want)
				}
			}
		})
	}
}

// challengeAt is what a client without credentials is told, with the address of who told it left out.
func challengeAt(t *testing.T, address, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() //nolint:errcheck // it was read for its header
	return strings.ReplaceAll(fmt.Sprint(resp.StatusCode, " ", resp.Header.Values("WWW-Authenticate")), address, "HOST")
}
