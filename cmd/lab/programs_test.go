package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tests here run the built programs and real clients; this is how.

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
