package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Tests here run the built programs and real clients; this is how.

func TestMain(m *testing.M) {
	// All that clients and servers talk to is on this machine, where no proxy finds it.
	os.Setenv("NO_PROXY", strings.TrimLeft(os.Getenv("NO_PROXY")+",127.0.0.0/8,198.18.0.0/15,.example.org", ","))
	status := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	os.Exit(status)
}

// programs are those of this module that tests have asked for: each is built once.
var programs = struct {
	sync.Mutex
	dir   string
	built map[string]bool
}{built: map[string]bool{}}

// bin builds a program of this module, for who asks first.
func bin(t *testing.T, program string) (path string) {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	if programs.dir == "" {
		var err error
		if programs.dir, err = os.MkdirTemp("", "breakwater-programs-"); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(programs.dir, program)
	if !programs.built[program] {
		if text, err := exec.Command("go", "build", "-o", path, "example.org/breakwater/cmd/"+program).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		programs.built[program] = true
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
