package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback has the kernel begin to write out a part of a file, and does not
// wait for it: so the sync at the end of a long fill finds little to do.
func startWriteback(file *os.File, offset, n int64) {
	unix.SyncFileRange(int(file.Fd()), offset, n, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck // the sync at the end says
}
