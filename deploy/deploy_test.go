package deploy_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// build builds the breakwater program.
func build(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "breakwater")
	if text, err := exec.Command("go", "build", "-o", out, "example.org/breakwater/cmd/breakwater").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}
