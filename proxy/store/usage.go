package store

import (
	"time"

	"golang.org/x/sys/unix"
)

// Usage is how full the store is.
type Usage struct {
	Bytes int64 // of the blobs that are held
	Size  int64 // the budget; 0: no limit
	Free  int64 // bytes that the file system has left; -1: it did not say
	Fills int   // transfers into the store that are under way
}

// freePatience is how long the file system is waited for to say what it has left.
const freePatience = 100 * time.Millisecond

// Usage is how full the store is now.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	u := Usage{Bytes: s.blobs.bytes, Size: s.cfg.Size, Free: -1, Fills: len(s.fills)}
	s.mu.Unlock()
	var fs unix.Statfs_t
	// What comes late is written after nobody reads it any more: fs is the call's own then.
	if err := s.disk.Call(freePatience, func() error { return unix.Statfs(s.cfg.Dir, &fs) }); err == nil {
		u.Free = int64(fs.Bavail) * int64(fs.Bsize)
	}
	return u
}
