package preflight

import "golang.org/x/sys/unix"

// diskOf asks the file system that the directory is on.
func diskOf(dir string) (disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return disk{}, err
	}
	return disk{size: int64(s.Blocks) * s.Bsize, free: int64(s.Bavail) * s.Bsize, memory: s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC}, nil
}

// clockIsKept reports whether something keeps the machine's clock right; known is false
// where the kernel does not say.
func clockIsKept() (kept, known bool) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, false
	}
	return t.Status&unix.STA_UNSYNC == 0, true
}
