package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mirrors: what breakwater hosts prints is used by the engines that it is for.
// They pull docker.io/library/hello by that name, and there is no Docker Hub here
// but the lab's.
func mirrors(t *testing.T, f *fleetUnderTest) {
	breakwater := bin(t, "breakwater")
	hosts := func(t *testing.T, engine, out string) {
		t.Helper()
		output(t, exec.Command(breakwater, "hosts", "--config", f.Datacenters[0].Fleet, "--url", f.Datacenters[0].Edge, "--for", engine, "--out", out))
	}
	t.Run("containerd", func(t *testing.T) {
		home := t.TempDir()
		hosts(t, "containerd", filepath.Join(home, "certs.d"))
		ctr := containerd(t, home)
		output(t, ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", filepath.Join(home, "certs.d"), "docker.io/library/hello:latest"))
	})
	t.Run("docker", func(t *testing.T) {
		daemon, home := dockerdOfToday(t), t.TempDir() // older ones take no mirror with a path
		hosts(t, "docker", home)
		run := dockerDaemon(t, home, daemon, "--config-file", filepath.Join(home, "daemon.json"))
		output(t, run("pull", "hello"))
	})
	t.Run("podman", func(t *testing.T) {
		skopeo := need(t, "skopeo")
		home := shortDir(t)
		hosts(t, "podman", home)
		output(t, clientCommand(t, home, skopeo, "--registries-conf", filepath.Join(home, "registries.conf"), "copy", "docker://docker.io/library/hello:latest", "dir:"+home+"/hello"))
		pull := podman(t, home)("pull", "docker.io/library/hello:latest")
		pull.Env = append(pull.Env, "CONTAINERS_REGISTRIES_CONF="+filepath.Join(home, "registries.conf"))
		output(t, pull)
	})
}

// shortDir is a temporary directory for podman, whose paths have 50 characters at most.
func shortDir(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "podman-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	return home
}

// containerd starts a daemon of the test's own, and returns what runs its client.
func containerd(t *testing.T, home string) (ctr func(args ...string) *exec.Cmd) {
	t.Helper()
	daemon, client := need(t, "containerd"), need(t, "ctr")
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	config := filepath.Join(home, "containerd.toml")
	text := "version = 2\nroot = \"" + home + "/root\"\nstate = \"" + home + "/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"" + home + "/c.sock\"\n[ttrpc]\naddress = \"" + home + "/t.sock\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := exec.CommandContext(ctx, daemon, "--config", config)
	d.Cancel = func() error { return d.Process.Signal(syscall.SIGTERM) }
	var log strings.Builder
	d.Stdout, d.Stderr = &log, &log
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		d.Wait() //nolint:errcheck // it was told to end
	})
	ctr = func(args ...string) *exec.Cmd {
		return clientCommand(t, home, client, append([]string{"--address", home + "/c.sock"}, args...)...)
	}
	up := time.Now().Add(30 * time.Second)
	for ctr("version").Run() != nil {
		if time.Now().After(up) {
			t.Fatalf("containerd does not answer\n%s", log.String())
		}
	}
	return ctr
}
