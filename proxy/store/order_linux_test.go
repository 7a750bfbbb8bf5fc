package store

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// traced runs a process under strace that opens a new store and keeps one blob. It
// returns the store's directory and the process's system calls in their order, one
// a line.
func traced(t *testing.T) (dir string, calls []string) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("strace is not installed")
	}
	dir = t.TempDir()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-y", "-o", trace, "-e", "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,/sync_file_range", os.Args[0])
	cmd.Env = append(os.Environ(), traceeDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	begins := regexp.MustCompile(`^\d+ +(\w.*)`) // a line that ends an earlier call begins with <...
	for line := range strings.Lines(string(text)) {
		if call := begins.FindStringSubmatch(line); call != nil {
			calls = append(calls, call[1])
		}
	}
	return dir, calls
}

// A commit makes its system calls in the order that survives a crash: it writes and syncs
// the bytes, then renames the file, then syncs the directory.
func TestOrderOfACommit(t *testing.T) {
	dir, calls := traced(t)
	_, d := content(300 << 10)
	hex := d.Encoded()
	var order strings.Builder
	for _, line := range calls {
		call, _, _ := strings.Cut(line, "(")
		switch {
		case strings.Contains(call, "write") && strings.Contains(line, "/tmp/fill-"):
			order.WriteByte('w')
		case call == "fsync" && strings.Contains(line, "/tmp/fill-"):
			order.WriteByte('s')
		case strings.HasPrefix(call, "rename") && strings.Contains(line, hex):
			order.WriteByte('r')
		case call == "fsync" && strings.Contains(line, filepath.Join(dir, "blobs", "sha256", hex[:2])+">"):
			order.WriteByte('d')
		case call == "fsync" && strings.Contains(line, filepath.Join(dir, "blobs")):
			order.WriteByte('p')
		}
	}
	if ok, _ := regexp.MatchString(`^w+p*srd$`, order.String()); !ok {
		t.Errorf("write, sync, rename, sync of the directory came as %q:\n%s", order.String(), strings.Join(calls, "\n"))
	}
}

// The format number is written in the same order, so a crash leaves no part of it.
func TestOrderOfTheFormatNumber(t *testing.T) {
	dir, calls := traced(t)
	var order strings.Builder
	for _, line := range calls {
		call, _, _ := strings.Cut(line, "(")
		switch {
		case call == "write" && strings.Contains(line, "/tmp/format-"):
			order.WriteByte('w')
		case call == "fsync" && strings.Contains(line, "/tmp/format-"):
			order.WriteByte('s')
		case strings.HasPrefix(call, "rename") && strings.Contains(line, filepath.Join(dir, "format")):
			order.WriteByte('r')
		case call == "fsync" && strings.Contains(line, "<"+dir+">"):
			order.WriteByte('d')
		}
	}
	if order.String() != "wsrd" {
		t.Errorf("write, sync, rename, sync of the directory came as %q:\n%s", order.String(), strings.Join(calls, "\n"))
	}
}
