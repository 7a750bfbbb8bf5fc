package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"example.org/breakwater/internal/trial"
)

// release builds what a release of this tree consists of, for Linux.
func release(t *testing.T, tree string, env ...string) (dist string) {
	t.Helper()
	dist = filepath.Join(t.TempDir(), "dist")
	cmd := exec.Command(filepath.Join(tree, "deploy/release/build.sh"), dist)
	cmd.Env = append(os.Environ(), env...)
	output(t, cmd)
	return dist
}

// copyOfTree is the working tree, in another directory.
func copyOfTree(t *testing.T) string {
	t.Helper()
	if !exists("../../.git") {
		t.Skip("this is no git repository, and releases are made of commits")
	}
	return copied(t, "../..")
}

func copied(t *testing.T, tree string) (to string) {
	t.Helper()
	to = filepath.Join(t.TempDir(), "tree")
	output(t, exec.Command("sh", "-euc", `mkdir "$1"; tar -C "$0" --exclude ./.reports -cf - . | tar -C "$1" -xf -`, tree, to)) // other tests write reports
	return to
}

// TestRelease: two builds in different places are the same bytes; the image that is
// made of them is too, packages install, signatures and the provenance hold, charts come
// back from a registry; an engine starts it as anybody but root, on a disk that
// cannot be written to; docker-compose runs a datacenter of it.
func TestRelease(t *testing.T) {
	if !trial.Full() {
		t.Skip("builds releases, for minutes: BREAKWATER_TESTS=full")
	}
	t.Parallel()
	tree := copyOfTree(t)
	const platforms = "PLATFORMS=linux/amd64 linux/arm64"
	dist := release(t, tree, platforms)
	t.Run("reproducible", func(t *testing.T) {
		// What depends on the place is compiled there again; that the compiler does the same twice is Go's to test.
		again := release(t, copied(t, tree), platforms)
		sums, err := os.ReadFile(filepath.Join(again, "SHA256SUMS"))
		const files = 6*2 + 4 // archives, packages and bills of materials of each platform; charts, formula, provenance
		if err != nil || strings.Count(string(sums), "\n") != files || len(filesOf(t, dist)) != files+1 {
			t.Fatalf("%v\n%s", err, sums)
		}
		check := exec.Command("sha256sum", "-c", "-")
		check.Dir, check.Stdin = dist, strings.NewReader(string(sums))
		output(t, check)
	})
	t.Run("deb", func(t *testing.T) { installed(t, tree, dist) })
	t.Run("rpm", func(t *testing.T) { unpacked(t, dist) })
	t.Run("alike", func(t *testing.T) { alike(t, dist) })
	t.Run("signed", func(t *testing.T) { signed(t, tree, dist) })
	t.Run("charts", func(t *testing.T) { pushedCharts(t, tree, dist) })
	t.Run("archive", func(t *testing.T) { archived(t, dist) })
	t.Run("formula", func(t *testing.T) { formula(t, tree, dist) })
	t.Run("lab", func(t *testing.T) { labArchive(t, dist) })
	t.Run("multi-platform", func(t *testing.T) { multiPlatform(t, tree, dist) })
	t.Run("docker", func(t *testing.T) { composed(t, tree, dist) })
}

// multiPlatform: the image's platforms, and that it has the same digest twice.
func multiPlatform(t *testing.T, tree, dist string) {
	buildah := trial.Client(t, "buildah")
	digests := map[string]bool{}
	for range 2 {
		home := shortDir(t)
		engine := buildah + " --storage-driver vfs --root " + home + "/root --runroot " + home + "/run"
		build := exec.Command(filepath.Join(tree, "deploy/image/build.sh"), dist, "breakwater:test")
		build.Env = append(os.Environ(), "BUILDER=buildah", "BUILDAH="+engine, "HOME="+home)
		output(t, build)
		list := output(t, exec.Command("sh", "-c", engine+" manifest inspect breakwater:test"))
		for _, arch := range []string{"amd64", "arm64"} {
			if !strings.Contains(list, `"architecture": "`+arch+`"`) {
				t.Errorf("the image is not for %s:\n%s", arch, list)
			}
		}
		digests[list] = true
	}
	if len(digests) != 1 {
		t.Errorf("two builds make two images: %v", digests)
	}
}

// composed: a DRP datacenter as deploy/compose runs it, with the lab's stand-in for a Harbor.
func composed(t *testing.T, tree, dist string) {
	crane, compose, home := trial.Client(t, "crane"), trial.Client(t, "docker-compose"), t.TempDir()
	t.Cleanup(func() { exec.Command("umount", "-l", home+"/exec/netns/default").Run() }) //nolint:errcheck // docker leaves the host's network mounted
	run := dockerDaemon(t, home, trial.Client(t, "dockerd"))
	build := exec.Command(filepath.Join(tree, "deploy/image/build.sh"), dist, "breakwater:test")
	build.Env = append(os.Environ(), "DOCKER=docker -H unix://"+home+"/d.sock", "DOCKER_BUILDKIT=0")
	output(t, build)
	if version := output(t, run("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "breakwater:test", "version")); !strings.HasPrefix(version, "breakwater ") {
		t.Error(version)
	}

	f := startLab(t)
	if f.Datacenters[2].GSLB == "" {
		t.Skip("this system has one loopback address")
	}
	config := filepath.Join(home, "config")
	a := inContainers(t, f, config)
	up := func(args ...string) *exec.Cmd {
		cmd := exec.Command(compose, append([]string{"-f", filepath.Join(tree, "deploy/compose/compose.yaml"), "-p", "drp"}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+home+"/d.sock", "BREAKWATER_IMAGE=breakwater:test", "DATACENTER=drp1", "CONFIG="+config,
			"DRAIN=1s", "NOFILE=1024", "EDGE_CPUS=1")
		return cmd
	}
	output(t, up("up", "-d"))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(output(t, up("logs")))
		}
		output(t, up("down", "-v", "-t", "5"))
	})
	healthy := func() {
		t.Helper()
		trial.Until(t, func() error {
			if states := output(t, run("ps", "--format", "{{.Names}} {{.Status}}")); strings.Count(states, "(healthy)") != 2 {
				return errors.New(states)
			}
			return nil
		})
	}
	healthy()
	image := a.edge + "/cache-dockerhub/library/hello:latest"
	pull := func() { output(t, clientCommand(t, home, crane, "pull", "--insecure", image, home+"/hello.tar")) }
	pull()
	if got := f.sentBy(t, "udp", a.gslb, "10.1.2.0/24"); got != "par1" {
		t.Errorf("the name server sends a client of par1 to %q", got)
	}

	// One that is made again, and one that dies, has what it had.
	fault(t, f.Upstreams[0].Faults, `[{"name":"down"}]`)
	for _, d := range f.Datacenters {
		fault(t, d.Faults, `[{"name":"down"}]`)
	}
	output(t, up("up", "-d", "--force-recreate"))
	healthy()
	pull()
	diesAndComesBack(t, run, a.edge)
	pull()
	output(t, up("stop"))
	if code := output(t, run("inspect", "--format", "{{.State.ExitCode}}", "drp_edge_1")); strings.TrimSpace(code) != "0" {
		t.Errorf("the edge ends with %s\n%s", code, output(t, up("logs")))
	}
}

// diesAndComesBack kills the edge in its container, and waits until its engine has
// started it again.
func diesAndComesBack(t *testing.T, run func(args ...string) *exec.Cmd, edge string) {
	t.Helper()
	process := func() int {
		pid, err := strconv.Atoi(strings.TrimSpace(output(t, run("inspect", "--format", "{{.State.Pid}}", "drp_edge_1"))))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	killed := process()
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	trial.Until(t, func() error {
		if pid := process(); pid == 0 || pid == killed {
			return fmt.Errorf("the edge's process is %d, and was %d", pid, killed)
		}
		c, err := net.Dial("tcp", edge)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

type containers struct{ edge, gslb string }

// inContainers writes the lab's fleet file of the backup as an edge and a name server in
// containers need it: other ports, and all that it refers to beside it.
func inContainers(t *testing.T, f *fleetUnderTest, config string) containers {
	t.Helper()
	d := f.Datacenters[2]
	text, err := os.ReadFile(d.Fleet)
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := net.SplitHostPort(d.GSLB)
	own := func(address string) string {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	a := containers{edge: own(""), gslb: own("")}
	dir := filepath.Dir(filepath.Dir(d.Fleet))
	s := strings.NewReplacer(
		filepath.Join(dir, d.Name, "store"), "/var/lib/breakwater",
		filepath.Join(dir, d.Name, "gslb.json"), "/var/lib/breakwater/gslb.json",
		"file:"+dir, "file:/etc/breakwater",
		fmt.Sprintf("listen: %q, metrics", d.GSLB), fmt.Sprintf("listen: %q, metrics", a.gslb),
		d.Steer, own(""),
		fmt.Sprintf("listen: %q\n", strings.TrimPrefix(d.Edge, "http://")), fmt.Sprintf("listen: %q\n", a.edge),
		strings.TrimPrefix(d.Metrics, "http://"), own(""),
		strings.TrimPrefix(d.Admin, "http://"), own(""),
	).Replace(string(text))
	s = regexp.MustCompile(`(metrics|peers): "`+regexp.QuoteMeta(host)+`:\d+", (admin|key)`).ReplaceAllStringFunc(s, func(was string) string { // of the name server
		before, after, _ := strings.Cut(was, `"`)
		_, after, _ = strings.Cut(after, `"`)
		return before + strconv.Quote(own("")) + after
	})
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if content, err := os.ReadFile(name); err == nil { // the others are directories
			if err := os.WriteFile(filepath.Join(config, filepath.Base(name)), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(config, "fleet.yaml"), []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}
