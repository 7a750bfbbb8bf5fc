package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"example.org/breakwater/internal/lab/content"
	"example.org/breakwater/internal/trial"
)

func TestRealClients(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	edge := f.edge(0)
	t.Logf("the lab was up after %.2f s", f.Seconds)
	t.Run("crane", func(t *testing.T) {
		crane, home := trial.Client(t, "crane"), t.TempDir()
		for _, image := range f.Images {
			if !strings.HasPrefix(image, "multi-dc-") {
				output(t, clientCommand(t, home, crane, "pull", "--insecure", edge+"/"+image, filepath.Join(home, "image.tar")))
			}
		}
		if got := output(t, clientCommand(t, home, crane, "digest", "--insecure", edge+"/cache-dockerhub/multi")); !strings.HasPrefix(got, "sha256:") {
			t.Errorf("an official image by its short name: %s", got)
		}
	})
	t.Run("skopeo", func(t *testing.T) {
		skopeo, home := trial.Client(t, "skopeo"), t.TempDir()
		output(t, clientCommand(t, home, skopeo, "copy", "--src-tls-verify=false", "docker://"+edge+"/cache-dockerhub/library/big:latest", "dir:"+home+"/big"))
		output(t, clientCommand(t, home, skopeo, "copy", "--all", "--src-tls-verify=false", "docker://"+edge+"/cache-dockerhub/library/multi:latest", "dir:"+home+"/multi"))
	})
	t.Run("podman", func(t *testing.T) {
		output(t, podman(t, t.TempDir())("pull", "--tls-verify=false", edge+"/cache-dockerhub/library/hello:latest"))
	})
	t.Run("helm", func(t *testing.T) {
		helm, home := trial.Client(t, "helm"), t.TempDir()
		output(t, clientCommand(t, home, helm, "pull", "--plain-http", "oci://"+edge+"/"+f.Charts[0]))
		if got := output(t, clientCommand(t, home, helm, "template", "x", "hello-"+chartVersion+".tgz")); !strings.Contains(got, "hello from the lab") {
			t.Error(got)
		}
	})
	t.Run("oras", func(t *testing.T) {
		oras, home := trial.Client(t, "oras"), t.TempDir()
		got := output(t, clientCommand(t, home, oras, "discover", "--plain-http", "--format", "json", "-u", f.Robots[0].Name, "-p", f.Robots[0].Secret, edge+"/multi-dc-demo/app:v1"))
		if !strings.Contains(got, "application/spdx+json") {
			t.Errorf("the SBOM does not refer to the image: %s", got)
		}
	})
	t.Run("private", func(t *testing.T) { private(t, f, edge) })
	t.Run("docker", func(t *testing.T) { docker(t, f, edge) })
	t.Run("mirrors", func(t *testing.T) { mirrors(t, f) })
	t.Run("neighbours", func(t *testing.T) { neighbours(t, f) })
	t.Run("one transfer for 32 clients", func(t *testing.T) { oneTransfer(t, f) })
	t.Run("wrong bytes", func(t *testing.T) { wrongBytes(t, f) })
	t.Run("breakwater edge", func(t *testing.T) { edgeProcess(t, f) })
	t.Run("end", func(t *testing.T) { end(t, f) })
}

// private: a multi-dc-* repo is refused without, and served with, a robot's login.
func private(t *testing.T, f *fleetUnderTest, edge string) {
	crane, home := trial.Client(t, "crane"), t.TempDir()
	pull := func() *exec.Cmd {
		return clientCommand(t, home, crane, "pull", "--insecure", edge+"/multi-dc-demo/app:v1", filepath.Join(home, "app.tar"))
	}
	if text := fails(t, pull()); !strings.Contains(text, "UNAUTHORIZED") {
		t.Error(text)
	}
	output(t, clientCommand(t, home, crane, "auth", "login", "--insecure", edge, "-u", f.Robots[0].Name, "-p", f.Robots[0].Secret))
	output(t, pull())
	fails(t, clientCommand(t, home, crane, "copy", "--insecure", edge+"/multi-dc-demo/app:v1", edge+"/multi-dc-demo/copy:v1"))
	output(t, clientCommand(t, home, crane, "auth", "login", "--insecure", edge, "-u", f.Robots[1].Name, "-p", f.Robots[1].Secret))
	output(t, clientCommand(t, home, crane, "copy", "--insecure", edge+"/multi-dc-demo/app:v1", edge+"/multi-dc-demo/copy:v1"))
	output(t, clientCommand(t, home, crane, "pull", "--insecure", edge+"/multi-dc-demo/copy:v1", filepath.Join(home, "copy.tar")))
}

func docker(t *testing.T, f *fleetUnderTest, edge string) {
	run := dockerDaemon(t, t.TempDir(), trial.Client(t, "dockerd"))
	hello := edge + "/cache-dockerhub/library/hello:latest"
	output(t, run("pull", hello))
	if got := output(t, run("run", "--rm", "--network", "none", hello)); !strings.HasPrefix(got, "breakwater lab ") {
		t.Errorf("docker run printed %q", got)
	}
	if got := output(t, run("run", "--rm", "--network", "none", edge+"/cache-dockerhub/multi")); !strings.Contains(got, "breakwater lab ") {
		t.Errorf("docker run of the index printed %q", got)
	}
	output(t, run("pull", "-q", edge+"/cache-dockerhub/library/big:latest"))
	fails(t, run("pull", edge+"/multi-dc-demo/app:v1"))
	output(t, run("login", edge, "-u", f.Robots[1].Name, "-p", f.Robots[1].Secret))
	output(t, run("pull", edge+"/multi-dc-demo/app:v1"))
	output(t, run("tag", hello, edge+"/multi-dc-demo/pushed:v1"))
	output(t, run("push", edge+"/multi-dc-demo/pushed:v1"))
	fails(t, run("login", edge, "-u", f.Robots[1].Name, "-p", "wrong"))
}

// oneTransfer: 32 clients at once ask for a blob of 200 MiB that the edge does
// not have. Harbor counts one GET, all get the same bytes, and the first has
// some of them before the fill ends.
func oneTransfer(t *testing.T, f *fleetUnderTest) {
	const size = 200
	img, err := content.Big(content.Platform(), size)
	if err != nil {
		t.Fatal(err)
	}
	hub := content.Target{Host: strings.TrimPrefix(f.Upstreams[0].URL, "http://")}
	if err := hub.Push(t.Context(), "library/cold:latest", img); err != nil {
		t.Fatal(err)
	}
	layers, _ := img.Layers()
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	length, _ := layers[0].Size()
	path := "/v2/cache-dockerhub/library/cold/blobs/" + digest.String()
	authorization := "Bearer " + anonymousToken(t, f.Datacenters[0].Edge, "cache-dockerhub/library/cold")
	fault(t, f.Datacenters[0].Faults, `[{"name":"slow","path":"/blobs/","bytes":200000000}]`)
	program, documented := bin(t, "breakwater"), readJSONManual(t)
	var all sync.WaitGroup
	var early sync.Once
	for range 32 {
		all.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.Datacenters[0].Edge+path, nil)
			req.Header.Set("Authorization", authorization)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			h := sha256.New()
			if _, err := io.CopyN(h, resp.Body, 1<<20); err != nil {
				t.Error(err)
				return
			}
			early.Do(func() {
				if !strings.Contains(get(t, f.Datacenters[0].Metrics+"/metrics"), "breakwater_store_fills_open 1") {
					t.Error("the fill had ended before its first client had a byte")
				}
				documented.answers(t, "breakwater fills", program, "fills", "--admin", strings.TrimPrefix(f.Datacenters[0].Admin, "http://"))
			})
			n, err := io.Copy(h, resp.Body)
			if got := fmt.Sprintf("%x", h.Sum(nil)); err != nil || got != digest.Hex || n+1<<20 != length {
				t.Errorf("%d bytes of %d, %v, digest %s", n+1<<20, length, err, got)
			}
		})
	}
	all.Wait()
	if n := requests(t, f.Datacenters[0].Requests)["GET "+path]; n != 1 {
		t.Errorf("Harbor counts %d GETs", n)
	}
}

// wrongBytes: a source that lies makes a failed pull, leaves nothing in the
// store, and is forgiven when it is healthy again. (Blobs that another source
// could give are there.)
func wrongBytes(t *testing.T, f *fleetUnderTest) {
	crane, home := trial.Client(t, "crane"), t.TempDir()
	drp := f.Datacenters[2]
	pull := func() *exec.Cmd {
		return clientCommand(t, home, crane, "pull", "--insecure", f.edge(2)+"/cache-dockerhub/library/signed:latest", filepath.Join(home, "signed.tar"))
	}
	t.Run("while it lies", func(t *testing.T) {
		fault(t, drp.Faults, `[{"name":"wrong-digest","path":"/blobs/"}]`)
		fails(t, pull())
		filepath.WalkDir(filepath.Join(filepath.Dir(drp.Fleet), "store", "blobs"), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			if text, err := os.ReadFile(path); err != nil || fmt.Sprintf("%x", sha256.Sum256(text)) != e.Name() {
				t.Errorf("the store keeps %s, whose bytes have another digest", path)
			}
			return nil
		})
	})
	output(t, pull())
}

// edgeProcess runs the daemon itself, before a Harbor and before a plain registry.
func edgeProcess(t *testing.T, f *fleetUnderTest) {
	crane, program := trial.Client(t, "crane"), bin(t, "breakwater")
	for name, target := range map[string]string{"a Harbor": f.Datacenters[1].Harbor, "a plain registry": f.Upstreams[0].URL} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			config := filepath.Join(home, "fleet.yaml")
			text := fmt.Sprintf("domain: harbor.example.org\ndatacenters: { par1: { harbor: %q } }\nprojects: { cache: { dockerhub: { provider: docker-hub } } }\nedge: { listen: \"127.0.0.1:0\", plain_http: true, metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", store: { path: %q } }\n", target, home+"/store")
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			output(t, exec.Command(program, "check", config))
			cmd, address := startEdge(t, program, config)
			repo := map[string]string{"a Harbor": "cache-dockerhub/library/signed", "a plain registry": "library/signed"}[name]
			output(t, clientCommand(t, home, crane, "pull", "--insecure", address+"/"+repo+":latest", filepath.Join(home, "image.tar")))
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("SIGTERM: %v", err)
			}
		})
	}
	if text := fails(t, exec.Command(program, "edge", "--config", f.Datacenters[0].Fleet, "--datacenter", "par1")); !strings.Contains(text, "another p") {
		t.Errorf("a second edge on the store and ports of the first: %s", text)
	}
}

// startEdge starts the edge of par1, and returns it with where it listens.
func startEdge(t *testing.T, program, config string) (cmd *exec.Cmd, address string) {
	t.Helper()
	return startEdgeOf(t, program, config, "par1")
}

func startEdgeOf(t *testing.T, program, config, datacenter string) (cmd *exec.Cmd, address string) {
	t.Helper()
	cmd = exec.Command(program, "edge", "--config", config, "--datacenter", datacenter, "--drain", "1ms")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it may have ended
		cmd.Process.Kill() //nolint:errcheck // see above
		cmd.Wait()         //nolint:errcheck // see above
	})
	var log strings.Builder
	lines := bufio.NewScanner(stderr)
	for address == "" && lines.Scan() {
		fmt.Fprintln(&log, lines.Text())
		var line struct{ Msg, Listener, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Listener == "public" {
			address = line.Address
		}
	}
	if address == "" {
		t.Fatalf("the edge did not start\n%s", &log)
	}
	go io.Copy(io.Discard, stderr) //nolint:errcheck // the log of the requests
	return cmd, address
}

// end: Ctrl-C ends the lab cleanly and leaves nothing behind.
func end(t *testing.T, f *fleetUnderTest) {
	if err := f.process.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-f.ended; err != nil {
		t.Errorf("%v\n%s", err, f.stderr)
	}
	if exists(f.Datacenters[0].Fleet) {
		t.Errorf("%s is still there", f.Datacenters[0].Fleet)
	}
	if strings.Contains(f.stderr.String(), "panic") {
		t.Error(f.stderr.String())
	}
}
