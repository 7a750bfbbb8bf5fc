package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"example.org/breakwater/internal/trial"
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
		skopeo := trial.Client(t, "skopeo")
		home := shortDir(t)
		hosts(t, "podman", home)
		output(t, clientCommand(t, home, skopeo, "--registries-conf", filepath.Join(home, "registries.conf"), "copy", "docker://docker.io/library/hello:latest", "dir:"+home+"/hello"))
		pull := podman(t, home)("pull", "docker.io/library/hello:latest")
		pull.Env = append(pull.Env, "CONTAINERS_REGISTRIES_CONF="+filepath.Join(home, "registries.conf"))
		output(t, pull)
	})
}
