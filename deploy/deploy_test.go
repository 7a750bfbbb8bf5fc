package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// need skips the test on a machine without the program, and fails it in CI.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
	return ""
}

// build builds the breakwater program.
func build(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "breakwater")
	if text, err := exec.Command("go", "build", "-o", out, "example.org/breakwater/cmd/breakwater").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}
