package deploy_test

import (
	"fmt"
	"io"
	"net/http"
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

// TestUnitsShareWhatProvisionKeeps: what the unit of provision leaves for the console is read
// by the edge's user, is not its to change, and is nobody else's.
func TestUnitsShareWhatProvisionKeeps(t *testing.T) {
	if os.Getuid() != 0 {
		trial.Missing(t, "root, who runs what is somebody else's")
	}
	sysusers, program := trial.Client(t, "systemd-sysusers"), build(t)
	root, err := os.MkdirTemp("", "breakwater") // t.TempDir is nobody's but root's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) }) //nolint:errcheck // it is in a temporary directory
	changes := filepath.Join(root, "breakwater-changes")
	config, bin := filepath.Join(root, "fleet.yaml"), filepath.Join(root, "breakwater")
	admin, store := trial.Free(t, "127.0.0.1"), filepath.Join(root, "state")
	text := fmt.Sprintf("domain: harbor.example.org\ndatacenters: { par1: { harbor: \"http://127.0.0.1:1\" } }\n"+
		"harbor: { username: admin, password: \"env:PASSWORD\" }\nedge: { plain_http: true, changes: %s/last.json, listen: %q, metrics: %q, admin: %q, store: { path: %s/store } }\n",
		changes, trial.Free(t, "127.0.0.1"), trial.Free(t, "127.0.0.1"), admin, store)
	for _, cmd := range []*exec.Cmd{
		exec.Command("cp", program, bin),
		exec.Command("chmod", "755", root, bin),
		exec.Command("sh", "-c", `mkdir "$1/etc" && exec "$0" --root="$1" - <systemd/breakwater.sysusers`, sysusers, root),
	} {
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, said)
		}
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	provision, edge := readUnit(t, root, "breakwater-provision"), readUnit(t, root, "breakwater-edge")

	shows := startEdge(t, edge.who, store, admin, bin, "edge", "--config", config, "--drain", "0s")
	shows("Neither plan nor apply has run")

	// What systemd does for StateDirectory, which is hidden from others where it is a DynamicUser's.
	if provision.is["DynamicUser"] == "yes" || provision.is["StateDirectory"] != filepath.Base(changes) {
		t.Fatalf("%v", provision.is)
	}
	mode, err := strconv.ParseUint(provision.is["StateDirectoryMode"], 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(changes, os.FileMode(mode)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(changes, int(provision.who.Uid), int(provision.who.Gid)); err != nil {
		t.Fatal(err)
	}
	as := func(who *syscall.Credential, args ...string) (string, error) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = "/", append(os.Environ(), "PASSWORD=for-nobody-to-read")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	said, _ := as(provision.who, bin, "provision", "plan", "--config", config) // its Harbor is away
	kept, err := as(edge.who, "cat", changes+"/last.json")
	if err != nil || !strings.Contains(kept, `"plan"`) || strings.Contains(kept, "for-nobody-to-read") {
		t.Errorf("the edge reads %v %s\n%s", err, kept, said)
	}
	shows("connection refused")
	if _, err := as(edge.who, "touch", changes+"/other", changes+"/last.json"); err == nil {
		t.Error("the edge may change it")
	}
	if kept, err := as(&syscall.Credential{Uid: 65534, Gid: 65534}, "cat", changes+"/last.json"); err == nil {
		t.Errorf("anybody reads %s", kept)
	}
}

// startEdge starts an edge as somebody, with a directory of its own, until the test ends; shows
// waits until the console's page of changes has a text.
func startEdge(t *testing.T, who *syscall.Credential, state, admin string, args ...string) (shows func(text string)) {
	t.Helper()
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, int(who.Uid), int(who.Gid)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: who}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // Wait says
		cmd.Wait()         //nolint:errcheck // it was killed
	})
	return func(want string) {
		t.Helper()
		trial.Until(t, func() error {
			resp, err := http.Get("http://" + admin + "/console/changes")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err == nil && !strings.Contains(string(text), want) {
				err = fmt.Errorf("%s: there is no %q in\n%s", resp.Status, want, text)
			}
			return err
		})
	}
}

// unit is what a unit says, and who it is then.
type unit struct {
	is  map[string]string
	who *syscall.Credential
}

// readUnit reads a unit whose users are those of a root.
func readUnit(t *testing.T, root, name string) unit {
	t.Helper()
	text, err := os.ReadFile("systemd/" + name + ".service")
	if err != nil {
		t.Fatal(err)
	}
	u := unit{map[string]string{}, &syscall.Credential{}}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		u.is[m[1]] = m[2]
	}
	id := func(file, name string) uint32 {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, "etc", file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^` + name + `:[^:]*:(\d+):`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("%s has no %s\n%s", file, name, text)
		}
		n, err := strconv.ParseUint(string(m[1]), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	// systemd refuses a DynamicUser of that name where there is a group of it and no user.
	u.who.Uid, u.who.Gid = id("passwd", u.is["User"]), id("group", u.is["User"])
	if group := u.is["Group"]; group != "" {
		u.who.Gid = id("group", group)
	}
	for group := range strings.FieldsSeq(u.is["SupplementaryGroups"]) {
		u.who.Groups = append(u.who.Groups, id("group", group))
	}
	return u
}
