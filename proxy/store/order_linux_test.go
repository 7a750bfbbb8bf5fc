package store

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A commit's system calls are in the order that survives a crash: the bytes are
// written and synced before the name is there, and the name is synced then.
func TestOrderOfACommit(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("strace is not installed")
	}
	dir := t.TempDir()
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
	_, d := content(300 << 10)
	hex := d.Encoded()
	var order strings.Builder
	calls := regexp.MustCompile(`^\d+ +(<\.\.\. )?(\w+)`)
	for line := range strings.Lines(string(text)) {
		call := calls.FindStringSubmatch(line)
		if call == nil || call[1] != "" { // the end of a call that began on another line
			continue
		}
		switch {
		case strings.Contains(call[2], "write") && strings.Contains(line, "/tmp/fill-"):
			order.WriteByte('w')
		case call[2] == "fsync" && strings.Contains(line, "/tmp/fill-"):
			order.WriteByte('s')
		case strings.HasPrefix(call[2], "rename") && strings.Contains(line, hex):
			order.WriteByte('r')
		case call[2] == "fsync" && strings.Contains(line, filepath.Join(dir, "blobs", "sha256", hex[:2])+">"):
			order.WriteByte('d')
		case call[2] == "fsync" && strings.Contains(line, filepath.Join(dir, "blobs")):
			order.WriteByte('p')
		}
	}
	if ok, _ := regexp.MatchString(`^w+p*srd$`, order.String()); !ok {
		t.Errorf("write, sync, rename, sync of the directory came as %q:\n%s", order.String(), text)
	}
}
