package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"example.org/breakwater/internal/trial"
)

// podman returns what runs podman with storage of the test's own.
func podman(t *testing.T, home string) (run func(args ...string) *exec.Cmd) {
	t.Helper()
	client := trial.Client(t, "podman")
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
	if daemon == "" {
		trial.Missing(t, "BREAKWATER_DOCKERD, a dockerd of version 23 or newer,")
	}
	return daemon
}

// startDaemon runs a program until the test ends, and shows the end of its log where that fails.
func startDaemon(t *testing.T, daemon string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
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
		if t.Failed() {
			t.Logf("%s:\n%s", daemon, log.String()[max(0, log.Len()-4000):])
		}
	})
}

// dockerDaemon starts a daemon of the test's own, and returns what runs its client.
func dockerDaemon(t *testing.T, home, daemon string, args ...string) (run func(args ...string) *exec.Cmd) {
	t.Helper()
	client := trial.Client(t, "docker")
	if os.Getuid() != 0 {
		t.Skip("dockerd needs root")
	}
	socket := "unix://" + home + "/d.sock"
	args = append([]string{"-H", socket, "--data-root", home + "/data", "--exec-root", home + "/exec", "--pidfile", home + "/pid", "--iptables=false", "--bridge=none"}, args...)
	startDaemon(t, daemon, args...)
	run = func(args ...string) *exec.Cmd {
		return clientCommand(t, home, client, append([]string{"-H", socket}, args...)...)
	}
	trial.Until(t, func() error {
		text, err := run("version").CombinedOutput()
		if err != nil {
			return fmt.Errorf("dockerd does not answer: %w: %s", err, text)
		}
		return nil
	})
	return run
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
	daemon, client := trial.Client(t, "containerd"), trial.Client(t, "ctr")
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	config := filepath.Join(home, "containerd.toml")
	text := "version = 2\nroot = \"" + home + "/root\"\nstate = \"" + home + "/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"" + home + "/c.sock\"\n[ttrpc]\naddress = \"" + home + "/t.sock\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, daemon, "--config", config)
	ctr = func(args ...string) *exec.Cmd {
		return clientCommand(t, home, client, append([]string{"--address", home + "/c.sock"}, args...)...)
	}
	trial.Until(t, func() error {
		text, err := ctr("version").CombinedOutput()
		if err != nil {
			return fmt.Errorf("containerd does not answer: %w: %s", err, text)
		}
		return nil
	})
	return ctr
}
