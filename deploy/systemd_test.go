package deploy_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/breakwater/internal/ports"
	"example.org/breakwater/internal/trial"
)

// TestUnits: systemd takes the units as they are, and finds them well shut in.
func TestUnits(t *testing.T) {
	analyze := trial.Client(t, "systemd-analyze")
	units, err := filepath.Glob("systemd/breakwater-*")
	if err != nil || len(units) != 4 {
		t.Fatalf("%v %v", units, err)
	}
	root := t.TempDir()
	install := func(from, to string) {
		t.Helper()
		to = filepath.Join(root, to)
		if text, err := exec.Command("cp", "-rT", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, text)
		}
	}
	for _, dir := range []string{"bin", "usr/bin", "usr/lib/systemd", "etc/systemd/system"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install(build(t), "usr/bin/breakwater")
	install("/bin/kill", "bin/kill")
	install("/lib/systemd/system", "usr/lib/systemd/system")
	args := []string{"--root=" + root, "--man=no", "verify"}
	for _, u := range units {
		install(u, "etc/systemd/system/"+filepath.Base(u))
		args = append(args, filepath.Base(u))
	}
	if text, err := exec.Command(analyze, args...).CombinedOutput(); err != nil || strings.Contains(string(text), "breakwater") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, u := range units {
		if !strings.HasSuffix(u, ".service") {
			continue
		}
		const most = 20 // of 100
		if text, err := exec.Command(analyze, "security", "--offline=true", fmt.Sprintf("--threshold=%d", most), u).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", u, err, text)
		}
	}
}

// TestUnitsAllowWhatIsCalled: what an edge, a name server and a plan call of the system
// is what the units' filter lets pass.
func TestUnitsAllowWhatIsCalled(t *testing.T) {
	analyze, strace, program := trial.Client(t, "systemd-analyze"), trial.Client(t, "strace"), build(t)
	allowed := syscalls(t, analyze, "@system-service")
	for _, denied := range []string{"@privileged", "@resources"} {
		for call := range syscalls(t, analyze, denied) {
			delete(allowed, call)
		}
	}
	// Go raises the limit of open files at the start, to what LimitNOFILE says already.
	allowed["prlimit64"] = true
	dir := t.TempDir()
	file := filepath.Join(dir, "fleet.yaml")
	free, err := ports.Free("127.0.0.1", 6)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`domain: harbor.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1", addresses: [192.0.2.1], gslb: [192.0.2.1] } }
harbor: { username: admin, password: "file:%[1]s/fleet.yaml" }
edge: { plain_http: true, listen: %[2]q, metrics: %[3]q, admin: %[4]q, store: { path: "%[1]s/store" } }
gslb: { listen: %[5]q, metrics: %[6]q, admin: %[7]q, state: "%[1]s/gslb.json" }
`, dir, free[0], free[1], free[2], free[3], free[4], free[5])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args    []string
		metrics string // "": it ends by itself
	}{
		"edge":      {[]string{"edge", "--config", file, "--datacenter", "par1", "--drain", "0s"}, free[1]},
		"gslb":      {[]string{"gslb", "--config", file, "--datacenter", "par1"}, free[4]},
		"provision": {[]string{"provision", "plan", "--config", file}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "calls")
			cmd := exec.Command(strace, append([]string{"-f", "-qq", "-o", log, program}, c.args...)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var says strings.Builder
			cmd.Stdout, cmd.Stderr = &says, &says
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.metrics != "" {
				until(t, &says, "http://"+c.metrics+"/metrics")
				syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) //nolint:errcheck // Wait says what became of it
			}
			cmd.Wait() //nolint:errcheck // a plan without Harbors fails
			text, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			called := map[string]bool{}
			for _, m := range regexp.MustCompile(`(?m)^\d+ +([a-z0-9_]+)\(`).FindAllStringSubmatch(string(text), -1) {
				called[m[1]] = true
			}
			if len(called) < 20 {
				t.Fatalf("only %v was seen\n%s", slices.Collect(maps.Keys(called)), &says)
			}
			for call := range called {
				if !allowed[call] {
					t.Errorf("%s is not let pass", call)
				}
			}
		})
	}
}

func until(t *testing.T, says *strings.Builder, url string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(url)
		if err == nil {
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // that it answers is enough
			resp.Body.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v\n%s", err, says)
		}
	}
}

// syscalls are the system calls of one of systemd's sets.
func syscalls(t *testing.T, analyze, set string) map[string]bool {
	t.Helper()
	text, err := exec.Command(analyze, "syscall-filter", set).Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n")[1:] {
		switch name := strings.TrimSpace(line); {
		case strings.HasPrefix(name, "@"):
			maps.Copy(all, syscalls(t, analyze, name))
		case name != "" && !strings.HasPrefix(name, "#"):
			all[name] = true
		}
	}
	return all
}
