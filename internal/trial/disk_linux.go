package trial

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TornDisk mounts a file system of 64 MiB. tear has the disk fail where it has the second half of a
// file of 40 MiB; mend replaces the disk. The test is skipped where no file system can be
// mounted.
func TornDisk(t *testing.T) (dir string, tear func(path string), mend func()) {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	size := func(n int64) {
		t.Helper()
		if err := os.Truncate(image, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	size(64 << 20)
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("a file system cannot be mounted here: %v %s", err, out)
		}
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, func(path string) {
		t.Helper()
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		unix.Syncfs(int(file.Fd()))
		if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		size(30 << 20)
	}, func() { size(64 << 20) }
}
