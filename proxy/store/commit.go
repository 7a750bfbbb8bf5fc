package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Put stores content that the caller has in memory, such as a manifest. Content that
// does not match its digest is refused with ErrWrongContent. Where the disk refuses
// the content, Put returns no error: the store is degraded, and does not hold it.
func (s *Store) Put(d digest.Digest, content []byte) error {
	if err := checkDigest(d); err != nil {
		return err
	}
	if d.Algorithm().FromBytes(content) != d {
		return ErrWrongContent
	}
	s.mu.Lock()
	var room reservation
	wanted := s.blobs.get(d) == nil && s.admits(int64(len(content))) && s.reserve(&room, int64(len(content)), true)
	s.mu.Unlock()
	if !wanted {
		return nil
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.setReservation(&room, reservation{})
	}()
	file, err := s.newTemp()
	if err != nil {
		s.degrade(err)
		return nil
	}
	defer file.Close()
	if _, err = file.Write(content); err == nil {
		err = s.commit(d, file, int64(len(content)), &room, nil)
	}
	if err != nil {
		os.Remove(file.Name())
		s.degrade(err)
	}
	return nil
}

// degrade notes that the disk refused something. It logs one warning, and no further
// one until the disk has taken a blob again.
func (s *Store) degrade(err error) {
	if !s.degraded.Swap(true) {
		s.cfg.Log.Warn("the store is degraded: the disk refuses what is pulled; pulls go on from the sources", "err", err.Error())
	}
}

// newTemp makes an empty temporary file, which commit can make a blob.
func (s *Store) newTemp() (*os.File, error) {
	file, err := os.CreateTemp(s.tempDir(), "fill-")
	if err != nil {
		return nil, fmt.Errorf("open a file for a fill: %w", err)
	}
	return file, nil
}

// commit makes a temporary file the blob: fsync of the file, rename, fsync of the
// directory. A crash between any two of them leaves a store that opens. The
// reservation ends when the index lists the blob. listed is called then, with s.mu
// locked; nil: nothing is called.
func (s *Store) commit(d digest.Digest, file *os.File, size int64, room *reservation, listed func()) error {
	path := s.path(d)
	if err := s.makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		os.Remove(path)
		return err
	}
	if s.degraded.Swap(false) {
		s.cfg.Log.Info("the store is no longer degraded: the disk takes what is pulled again")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.blobs.get(d); b != nil { // the rename replaced its file
		s.forget(b)
	}
	s.setReservation(room, reservation{})
	s.blobs.add(d, size, time.Now()).proven = info.ModTime().UnixNano()
	if listed != nil {
		listed()
	}
	s.makeRoom(0)
	return nil
}

// makeDir makes a directory of blobs where it is missing, and syncs the directories
// above it, so that a crash does not lose it.
func (s *Store) makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for parent := filepath.Dir(dir); strings.HasPrefix(parent, s.blobDir()); parent = filepath.Dir(parent) {
		if err := syncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// syncDir writes a directory's names to disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
