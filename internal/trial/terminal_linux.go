package trial

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// OnTerminal runs a command whose stderr is a real terminal of so many columns, and returns
// what came there. Its stdout is that terminal too where the command has none.
func OnTerminal(t testing.TB, columns uint16, cmd *exec.Cmd) string {
	t.Helper()
	mine, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	n, err1 := unix.IoctlGetInt(int(mine.Fd()), unix.TIOCGPTN)
	err2 := unix.IoctlSetPointerInt(int(mine.Fd()), unix.TIOCSPTLCK, 0)
	err3 := unix.IoctlSetWinsize(int(mine.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	theirs, err4 := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if cmd.Stderr = theirs; cmd.Stdout == nil {
		cmd.Stdout = theirs
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	var seen bytes.Buffer
	io.Copy(&seen, mine) //nolint:errcheck // it ends with EIO when nobody has the other end any more
	var failed *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return seen.String()
}
