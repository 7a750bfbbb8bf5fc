package store

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// markEvery is how often the use of a blob is written to disk, as its file's
// time: often enough for the order to survive a restart by and large.
const markEvery = time.Hour

// mark writes down that a blob is used, and returns its file's time, which was
// fileTime before; s.mu is held.
func (s *Store) mark(b *held, fileTime time.Time) time.Time {
	now := time.Now()
	if now.Sub(time.Unix(int64(b.marked), 0)) < markEvery {
		return fileTime
	}
	b.marked = uint32(now.Unix())
	path := s.path(s.blobs.digest(b))
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

const scanBatch = 1024 // blobs that are listed under one lock

// scan lists what is on disk, behind the back of the first requests: the start
// does not wait for it, only the budget does.
func (s *Store) scan() {
	begun := time.Now()
	algorithms, err := os.ReadDir(s.blobDir())
	for _, algorithm := range algorithms {
		var prefixes []os.DirEntry
		if prefixes, err = os.ReadDir(filepath.Join(s.blobDir(), algorithm.Name())); err != nil {
			break
		}
		for _, prefix := range prefixes {
			if err = s.scanDir(algorithm.Name(), prefix.Name()); err != nil {
				break
			}
		}
	}
	if s.ctx.Err() != nil { // the store closes: nobody needs the list
		return
	}
	if err != nil {
		s.cfg.Log.Error("the store could not be listed; what is not listed is not evicted", "err", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs.sort()
	close(s.scanned)
	s.makeRoom(0)
	s.cfg.Log.Info("the store is listed", "blobs", len(s.blobs.places), "bytes", s.blobs.bytes, "seconds", time.Since(begun).Seconds())
}

// scanDir lists one directory of blobs.
func (s *Store) scanDir(algorithm, prefix string) error {
	dir, err := os.Open(filepath.Join(s.blobDir(), algorithm, prefix))
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(scanBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, s.ctx.Err()); err != nil {
			return err
		}
		var all []found
		for _, entry := range entries {
			path := filepath.Join(dir.Name(), entry.Name())
			d, err := digest.Parse(algorithm + ":" + entry.Name())
			if err != nil || s.path(d) != path {
				s.cfg.Log.Warn("file in the store that is no blob left alone", "path", path)
				continue
			}
			if info, err := entry.Info(); err == nil { // else it was evicted meanwhile
				all = append(all, found{d, info.Size(), info.ModTime()})
			}
		}
		s.list(all)
	}
}

func (s *Store) list(all []found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range all {
		if s.blobs.get(f.digest) == nil { // else it was used meanwhile
			s.blobs.add(f.digest, f.size, f.used)
		}
	}
}
