package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/disk"
)

// How long a call of the file system is waited for. What waits longer goes on without the
// disk.
const (
	patience       = time.Second      // for what a client waits for
	putPatience    = 2 * time.Second  // for content from memory to be on disk: a client waits for that too
	writePatience  = 5 * time.Second  // for a part of a fill or an upload, and of a proof
	commitPatience = 30 * time.Second // for a fill to be on disk: nobody waits for that
)

// wait notes that the disk did not answer. It logs one warning, and no further one until a
// blob has been opened again.
func (s *Store) wait(err error) {
	if !s.waited.Swap(true) {
		s.cfg.Log.Warn("the disk does not answer; pulls go on from the sources", "err", err.Error())
	}
}

// unlock unlocks s.mu, and then removes the files of the blobs that were dropped meanwhile.
func (s *Store) unlock() {
	dropped := s.dropped
	s.dropped = nil
	s.mu.Unlock()
	for _, d := range dropped {
		if err := s.removeBlob(d); err != nil && !isNothing(err) {
			s.cfg.Log.Error("blob not removed from the store", "digest", d.String(), "err", err.Error())
		}
	}
}

// drop removes a held blob from the index, and from the disk when s.mu is unlocked by
// unlock. Until then, and until it is removed, it is not opened. s.mu is locked.
func (s *Store) drop(b *entry) {
	d := s.blobs.digest(b)
	s.forget(b)
	s.removing[d]++
	s.removals++
	s.dropped = append(s.dropped, d)
}

// removeBlob removes a blob's file. The caller has counted it in s.removing.
func (s *Store) removeBlob(d digest.Digest) error {
	err := s.disk.Call(patience, func() error {
		defer s.hasRemoved(d)
		return os.Remove(s.path(d))
	})
	if errors.Is(err, disk.ErrHangs) { // it was not tried
		s.hasRemoved(d)
	}
	return err
}

// hasRemoved notes that a removal has ended.
func (s *Store) hasRemoved(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removing[d]--; s.removing[d] <= 0 {
		delete(s.removing, d)
	}
	close(s.removed)
	s.removed = make(chan struct{})
}

// awaitRemoval waits until no file of the blob is being removed: it would take a new one
// with it.
func (s *Store) awaitRemoval(d digest.Digest) error {
	timer := time.NewTimer(writePatience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		removing, removed := s.removing[d] > 0, s.removed
		s.mu.Unlock()
		if !removing {
			return nil
		}
		select {
		case <-removed:
		case <-timer.C:
			return disk.ErrLate
		}
	}
}

// newTemp makes an empty temporary file, which commit can make a blob.
func (s *Store) newTemp() (*os.File, error) {
	file, err := disk.Do(s.disk, patience, func() (*os.File, error) { return os.CreateTemp(s.tempDir(), "fill-") }, func(file *os.File, err error) {
		if err == nil {
			os.Remove(file.Name())
			file.Close()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("open a file for a fill: %w", err)
	}
	return file, nil
}

// removeTemp removes a temporary file's name. Readers that have it open read on.
func (s *Store) removeTemp(file *os.File) {
	if file == nil {
		return
	}
	err := s.disk.Call(patience, func() error { return os.Remove(file.Name()) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.degrade(err)
	}
}

// close closes a file: a network volume may write to it then.
func (s *Store) close(file *os.File) error { return s.disk.Call(patience, file.Close) }

// part is a part of a file, for who can wait for its bytes, or go without. A caller of Read
// must not use the buffer of a Read that has failed again.
type part struct {
	disk *disk.Disk
	io.Reader
}

// Read implements io.Reader.
func (p part) Read(b []byte) (int, error) {
	return disk.Do(p.disk, writePatience, func() (int, error) { return p.Reader.Read(b) }, nil)
}

// part returns n bytes of a file.
func (s *Store) part(file *os.File, offset, n int64) io.Reader {
	return part{s.disk, io.NewSectionReader(file, offset, n)}
}
