package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestALabWithoutGo: what the archive of the lab holds needs no Go, no home and no folder of
// the tree, and what it prints names nothing that is not there.
func TestALabWithoutGo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	dir := t.TempDir()
	for from, to := range map[string]string{"lab": releasedName, "breakwater": "breakwater"} {
		if err := os.Link(bin(t, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	bare := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(dir, releasedName), args...)
		cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=/nowhere", "TMPDIR=" + shortDir(t), "HOME="}
		return cmd
	}
	if text := output(t, bare("--help")); strings.Contains(text, "go run") || !strings.Contains(text, releasedName+" break harbor par1") {
		t.Errorf("it is called another way:\n%s", text)
	}
	if text := fails(t, bare("status")); strings.Contains(text, "go run") || !strings.Contains(text, releasedName) {
		t.Errorf("it says of a lab that is not there: %s", text)
	}
	lab := bare("--port", "0", "--quiet-harbors")
	lines, printed := suggested(t, lab)
	if len(lines) < 25 || strings.Contains(printed, "go run") || strings.Contains(printed, "go build") {
		t.Fatalf("%d lines are suggested in\n%s", len(lines), printed)
	}
	ran := 0
	for _, line := range lines {
		if words := strings.Fields(line); strings.HasPrefix(words[0], dir) && (strings.Contains(line, " explain ") || strings.Contains(line, "break edge") || strings.Contains(line, " heal")) {
			if words[0] == lab.Path {
				words = append(words, "--for", "1s")
			}
			cmd := exec.Command(words[0], words[1:]...)
			cmd.Dir, cmd.Env = lab.Dir, lab.Env
			output(t, cmd)
			ran++
		}
	}
	if ran < 4 {
		t.Errorf("only %d lines call what is in %s:\n%s", ran, dir, printed)
	}
}
