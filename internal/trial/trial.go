// Package trial is what the tests of several packages share. Programs do not import it.
package trial

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"example.org/breakwater/internal/ports"
)

// Patience is how long a test waits for what takes a moment on an idle machine. It
// bounds a test that would never end; it says nothing of how quick anything is.
const Patience = 2 * time.Minute

// Until waits until the check finds no fault any more, and fails the test with the last
// fault that it found when that takes longer than Patience.
func Until(t testing.TB, check func() error) {
	t.Helper()
	begun := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		fault := check()
		switch {
		case fault == nil:
			return
		case t.Context().Err() != nil:
			t.Fatalf("the test ended, and still: %v", fault)
		case time.Since(begun) > Patience:
			t.Fatalf("after %v still: %v", Patience, fault)
		}
		time.Sleep(pause) // nothing tells when to look again
	}
}

// Free is a host:port of that IP address at which nobody listens, for a server that the test starts.
func Free(t testing.TB, host string) string {
	t.Helper()
	addresses, err := ports.Free(host, 1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

// Full reports whether campaigns run as a whole: BREAKWATER_TESTS=full asks for it, as
// .ci/run does, and -short is against it.
func Full() bool { return os.Getenv("BREAKWATER_TESTS") == "full" && !testing.Short() }

// Client is the path of a program that the test uses. A machine without it skips the
// test, and fails it where CI is in the environment.
func Client(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name)
	}
	return path
}

// Missing skips the test for want of something that not every machine has, and fails it
// where CI is in the environment.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI has no %s", what)
	}
	t.Skipf("there is no %s on this machine", what)
}
