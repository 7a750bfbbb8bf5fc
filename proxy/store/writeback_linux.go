package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback tells the kernel to write a part of a file to disk, and does not wait
// for it. So little is left to write when a long fill ends with a sync.
func startWriteback(file *os.File, offset, n int64) {
	unix.SyncFileRange(int(file.Fd()), offset, n, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck // the sync at the end returns the error
}
