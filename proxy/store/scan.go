package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// markEvery is how often the use of a blob is written to disk, as its file's
// time: often enough for the order to survive a restart by and large.
const markEvery = time.Hour

// mark writes down that a blob is used, and returns its file's time, which was
// fileTime before; s.mu is held.
func (s *Store) mark(b *blob, fileTime time.Time) time.Time {
	now := time.Now()
	if now.Sub(b.marked) < markEvery {
		return fileTime
	}
	b.marked = now
	path := s.path(b.digest)
	os.Chtimes(path, now, now) //nolint:errcheck // a disk that refuses loses the order, and nothing else
	if info, err := os.Stat(path); err == nil {
		return info.ModTime()
	}
	return fileTime
}

func (s *Store) isScanned() bool {
	select {
	case <-s.scanned:
		return true
	default:
		return false
	}
}

// found is a blob that the scan came upon.
type found struct {
	digest digest.Digest
	size   int64
	used   time.Time
}

// scan lists what is on disk, behind the back of the first requests: the start
// does not wait for it, only the budget does.
func (s *Store) scan() {
	var all []found
	err := filepath.WalkDir(s.blobDir(), func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = s.ctx.Err()
		}
		if err != nil || entry.IsDir() {
			return err
		}
		algorithm := filepath.Base(filepath.Dir(filepath.Dir(path)))
		d, err := digest.Parse(algorithm + ":" + entry.Name())
		if err != nil || s.path(d) != path {
			s.cfg.Log.Warn("file in the store that is no blob left alone", "path", path)
			return nil
		}
		info, err := entry.Info()
		if err == nil { // else it was evicted meanwhile
			all = append(all, found{d, info.Size(), info.ModTime()})
		}
		return nil
	})
	if s.ctx.Err() != nil { // the store closes: nobody needs the list
		return
	}
	if err != nil {
		s.cfg.Log.Error("the store could not be listed; what is not listed is not evicted", "err", err.Error())
		return
	}
	slices.SortFunc(all, func(a, b found) int { return b.used.Compare(a.used) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range all { // each before those that were used after it
		if _, listed := s.blobs[f.digest]; !listed {
			s.blobs[f.digest] = s.used.PushFront(&blob{digest: f.digest, size: f.size, marked: f.used})
			s.bytes += f.size
		}
	}
	close(s.scanned)
	s.makeRoom()
}
