package store

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/disk"
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
	s.unlock()
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
	defer s.close(file)
	err = s.disk.Call(putPatience, func() error {
		_, err := file.Write(content)
		return err
	})
	if err == nil {
		err = s.commit(d, file, int64(len(content)), putPatience, &room, nil)
	}
	if err != nil {
		s.removeTemp(file)
		s.degrade(err)
	}
	return nil
}

// degrade notes that the disk refused something, or did not answer. It logs one warning,
// and no further one until the disk has taken a blob again.
func (s *Store) degrade(err error) {
	if before := s.degraded.Swap(true); disk.Silent(err) {
		s.wait(err)
	} else if !before {
		s.cfg.Log.Warn("the store is degraded: the disk refuses what is pulled; pulls go on from the sources", "err", err.Error())
	}
}

// commit makes a temporary file the blob. The reservation ends when the index lists the
// blob. listed is called then, with s.mu locked; nil: nothing is called. A disk that takes
// longer than the patience may keep the blob later.
func (s *Store) commit(d digest.Digest, file *os.File, size int64, patience time.Duration, room *reservation, listed func()) error {
	if err := s.awaitRemoval(d); err != nil {
		return err
	}
	modified, err := disk.Do(s.disk, patience, func() (time.Time, error) { return s.place(d, file) }, func(modified time.Time, err error) {
		if err == nil {
			s.placed(d, size, modified, new(reservation), nil)
		} else {
			os.Remove(file.Name())
		}
	})
	if err == nil {
		s.placed(d, size, modified, room, listed)
	}
	return err
}

// place puts a temporary file at the blob's place: fsync of the file, rename, fsync of the
// directory. A crash between any two of them leaves a store that opens. It returns the
// file's modification time.
func (s *Store) place(d digest.Digest, file *os.File) (modified time.Time, err error) {
	path := s.path(d)
	if err := s.makeDir(filepath.Dir(path)); err != nil {
		return modified, err
	}
	if err := file.Sync(); err != nil {
		return modified, err
	}
	info, err := file.Stat()
	if err != nil {
		return modified, err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return modified, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		os.Remove(path)
		return modified, err
	}
	return info.ModTime(), nil
}

// placed lists a blob whose file is at its place.
func (s *Store) placed(d digest.Digest, size int64, modified time.Time, room *reservation, listed func()) {
	if s.degraded.Swap(false) {
		s.cfg.Log.Info("the store is no longer degraded: the disk takes what is pulled again")
	}
	s.mu.Lock()
	defer s.unlock()
	if b := s.blobs.get(d); b != nil { // the rename replaced its file
		s.forget(b)
	}
	s.setReservation(room, reservation{})
	s.blobs.add(d, size, time.Now()).proven = modified.UnixNano()
	if listed != nil {
		listed()
	}
	s.makeRoom(0)
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
	f, err := openDir(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
