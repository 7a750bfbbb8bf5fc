//go:build !linux

package trial

import (
	"os/exec"
	"testing"
)

// OnTerminal skips the test: only on Linux a terminal is made.
func OnTerminal(t testing.TB, _ uint16, _ *exec.Cmd) string {
	t.Skip("a terminal is made on Linux alone")
	return ""
}
