package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// The doctor tries what the user may who asks: a key that root alone reads, a directory of
// root's, a port below 1024.
func TestDoctorAsAUser(t *testing.T) {
	if os.Getuid() != 0 || testing.Short() {
		t.Skip("being another user takes root")
	}
	t.Parallel()
	const nobody = 65534
	dir, err := os.MkdirTemp("", "breakwater-doctor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	i := issue(t, asItShouldBe)
	program, err1 := os.ReadFile(bin(t, "breakwater"))
	text := fmt.Sprintf("domain: %s\ndatacenters: { par1: { harbor: \"http://127.0.0.1:1\" } }\nharbor: { ca: %q }\n"+
		"edge: { tls: { certificate: %q, key: %q }, listen: \"127.0.0.1:443\", metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", store: { path: %q, size: 1MiB } }\n",
		domain, dir+"/ca", dir+"/certificate", dir+"/key", dir+"/store")
	write := func(name, content string, mode os.FileMode) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(content), mode)
	}
	if err := errors.Join(err1, os.Chmod(dir, 0o755), write("breakwater", string(program), 0o755), write("fleet.yaml", text, 0o644), write("ca", certificates(i.authority), 0o644),
		write("certificate", certificates(i.leaf, i.between), 0o644), write("key", i.key(t, i.leaf), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), dir+"/breakwater", "doctor", "--config", dir+"/fleet.yaml", "--datacenter", "par1", "--for", "edge", "--skip", "machine,harbor", "--json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Dir = dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	var all []finding
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, f := range all {
		if f.Result == "fault" {
			ids = append(ids, f.ID)
		}
	}
	want := []string{"certificate.unreadable", "store.not-writable"}
	var start int
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		fmt.Sscan(string(text), &start) //nolint:errcheck // the kernel's own number
	}
	if start > 443 {
		want = append(want, "ports.privilege")
	}
	if !slices.Equal(ids, want) {
		t.Errorf("%v, want %v\n%s", ids, want, out)
	}
}
