package main

import (
	"bufio"
	"bytes"
	"context"
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
	"time"

	"example.org/breakwater/internal/lab/content"
)

// The tests in this file run the built programs and real clients.

// bin builds a program of this module.
func bin(t *testing.T, program string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), program)
	if text, err := exec.Command("go", "build", "-o", out, "example.org/breakwater/cmd/"+program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// need skips the test on a machine without the client, and fails it in CI.
func need(t *testing.T, client string) string {
	t.Helper()
	path, err := exec.LookPath(client)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI has no %s", client)
		}
		t.Skipf("there is no %s on this machine", client)
	}
	return path
}

// command is a client that has a home of its own.
func clientCommand(t *testing.T, home, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	if auth := filepath.Join(home, "auth.json"); !exists(auth) {
		if err := os.WriteFile(auth, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = append(os.Environ(), "HOME="+home, "DOCKER_CONFIG="+home, "REGISTRY_AUTH_FILE="+home+"/auth.json", "XDG_RUNTIME_DIR="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	cmd.Dir = home
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return string(text)
}

func fails(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	text, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("%s: it worked\n%s", strings.Join(cmd.Args, " "), text)
	}
	return string(text)
}

// fleet is a lab that runs as a process of its own.
type fleetUnderTest struct {
	report
	process *exec.Cmd
	stderr  *bytes.Buffer
	ended   chan error
}

func startLab(t *testing.T, args ...string) *fleetUnderTest {
	t.Helper()
	f := &fleetUnderTest{stderr: new(bytes.Buffer), ended: make(chan error, 1)}
	f.process = exec.Command(bin(t, "lab"), append([]string{"--json", "--port", "0"}, args...)...)
	f.process.Stderr = f.stderr
	stdout, err := f.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.process.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		f.process.Process.Kill() //nolint:errcheck // it did not start
		t.Fatalf("%v\n%s", err, f.stderr)
	}
	go func() {
		rest, _ := io.ReadAll(stdout)
		err := f.process.Wait()
		if len(rest) > 0 {
			err = fmt.Errorf("more than one object on stdout: %s", rest)
		}
		f.ended <- err
		close(f.ended)
	}()
	t.Cleanup(func() { // the lab removes what it keeps; the test may have ended it
		f.process.Process.Signal(os.Interrupt) //nolint:errcheck // see above
		<-f.ended
	})
	if err := json.Unmarshal(line, &f.report); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return f
}

func (f *fleetUnderTest) edge(i int) string {
	return strings.TrimPrefix(f.Datacenters[i].Edge, "http://")
}

func requests(t *testing.T, url string) map[string]int {
	t.Helper()
	var counts map[string]int
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// fault switches faults on at one of the lab's stand-ins until the test ends.
func fault(t *testing.T, url, faults string) {
	t.Helper()
	for _, step := range []struct{ method, body string }{{http.MethodPut, faults}, {http.MethodDelete, ""}} {
		send := func() {
			req, _ := http.NewRequest(step.method, url, strings.NewReader(step.body))
			resp, err := http.DefaultClient.Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s %s: %v, %v", step.method, url, resp, err)
				return
			}
			resp.Body.Close()
		}
		if step.method == http.MethodDelete {
			t.Cleanup(send)
			continue
		}
		send()
	}
}

func TestRealClients(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	f := startLab(t)
	edge := f.edge(0)
	t.Logf("the lab was up after %.2f s", f.Seconds)
	t.Run("crane", func(t *testing.T) {
		crane, home := need(t, "crane"), t.TempDir()
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
		skopeo, home := need(t, "skopeo"), t.TempDir()
		output(t, clientCommand(t, home, skopeo, "copy", "--src-tls-verify=false", "docker://"+edge+"/cache-dockerhub/library/big:latest", "dir:"+home+"/big"))
		output(t, clientCommand(t, home, skopeo, "copy", "--all", "--src-tls-verify=false", "docker://"+edge+"/cache-dockerhub/library/multi:latest", "dir:"+home+"/multi"))
	})
	t.Run("podman", func(t *testing.T) {
		output(t, podman(t, t.TempDir())("pull", "--tls-verify=false", edge+"/cache-dockerhub/library/hello:latest"))
	})
	t.Run("helm", func(t *testing.T) {
		helm, home := need(t, "helm"), t.TempDir()
		output(t, clientCommand(t, home, helm, "pull", "--plain-http", "oci://"+edge+"/"+f.Charts[0]))
		if got := output(t, clientCommand(t, home, helm, "template", "x", "hello-"+chartVersion+".tgz")); !strings.Contains(got, "hello from the lab") {
			t.Error(got)
		}
	})
	t.Run("oras", func(t *testing.T) {
		oras, home := need(t, "oras"), t.TempDir()
		got := output(t, clientCommand(t, home, oras, "discover", "--plain-http", "--format", "json", "-u", f.Robots[0].Name, "-p", f.Robots[0].Secret, edge+"/multi-dc-demo/app:v1"))
		if !strings.Contains(got, "application/spdx+json") {
			t.Errorf("the SBOM does not refer to the image: %s", got)
		}
	})
	t.Run("private", func(t *testing.T) { private(t, f, edge) })
	t.Run("docker", func(t *testing.T) { docker(t, f, edge) })
	t.Run("mirrors", func(t *testing.T) { mirrors(t, f) })
	t.Run("one transfer for 32 clients", func(t *testing.T) { oneTransfer(t, f) })
	t.Run("wrong bytes", func(t *testing.T) { wrongBytes(t, f) })
	t.Run("breakwater edge", func(t *testing.T) { edgeProcess(t, f) })
	t.Run("end", func(t *testing.T) { end(t, f) })
}

// private: a multi-dc-* repo is refused without, and served with, a robot's login.
func private(t *testing.T, f *fleetUnderTest, edge string) {
	crane, home := need(t, "crane"), t.TempDir()
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

// podman returns what runs podman with storage of the test's own.
func podman(t *testing.T, home string) (run func(args ...string) *exec.Cmd) {
	t.Helper()
	client := need(t, "podman")
	if os.Getuid() != 0 {
		t.Skip("podman's own storage needs root here")
	}
	return func(args ...string) *exec.Cmd {
		return clientCommand(t, home, client, append([]string{"--root", home + "/root", "--runroot", home + "/runroot", "--storage-driver", "vfs",
			"--cgroup-manager", "cgroupfs", "--events-backend", "none"}, args...)...)
	}
}

// dockerdOfToday is a dockerd of version 23 or newer, where Debian's is older.
func dockerdOfToday(t *testing.T) string {
	t.Helper()
	daemon := os.Getenv("BREAKWATER_DOCKERD")
	if daemon == "" && os.Getenv("CI") != "" {
		t.Fatal("CI has no dockerd of today")
	} else if daemon == "" {
		t.Skip("BREAKWATER_DOCKERD is to name a dockerd of version 23 or newer")
	}
	return daemon
}

// dockerDaemon starts a daemon of the test's own, and returns what runs its client.
func dockerDaemon(t *testing.T, home, daemon string, args ...string) (run func(args ...string) *exec.Cmd) {
	t.Helper()
	client := need(t, "docker")
	if os.Getuid() != 0 {
		t.Skip("dockerd needs root")
	}
	socket := "unix://" + home + "/d.sock"
	ctx, cancel := context.WithCancel(context.Background())
	args = append([]string{"-H", socket, "--data-root", home + "/data", "--exec-root", home + "/exec", "--pidfile", home + "/pid", "--iptables=false", "--bridge=none"}, args...)
	d := exec.CommandContext(ctx, daemon, args...)
	d.Cancel = func() error { return d.Process.Signal(syscall.SIGTERM) }
	var log bytes.Buffer
	d.Stdout, d.Stderr = &log, &log
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		d.Wait() //nolint:errcheck // it was told to end
	})
	run = func(args ...string) *exec.Cmd {
		return clientCommand(t, home, client, append([]string{"-H", socket}, args...)...)
	}
	up := time.Now().Add(30 * time.Second)
	for run("version").Run() != nil {
		if time.Now().After(up) {
			t.Fatalf("dockerd does not answer\n%s", &log)
		}
	}
	return run
}

func docker(t *testing.T, f *fleetUnderTest, edge string) {
	run := dockerDaemon(t, t.TempDir(), need(t, "dockerd"))
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

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func anonymousToken(t *testing.T, edge, repo string) string {
	t.Helper()
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(get(t, edge+"/service/token?service=harbor-registry&scope=repository:"+repo+":pull")), &body); err != nil {
		t.Fatal(err)
	}
	return body.Token
}

// wrongBytes: a source that lies makes a failed pull, leaves nothing in the
// store, and is forgiven when it is healthy again. (Blobs that another source
// could give are there.)
func wrongBytes(t *testing.T, f *fleetUnderTest) {
	crane, home := need(t, "crane"), t.TempDir()
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
	crane, program := need(t, "crane"), bin(t, "breakwater")
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
	cmd = exec.Command(program, "edge", "--config", config, "--datacenter", "par1", "--drain", "1ms")
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
