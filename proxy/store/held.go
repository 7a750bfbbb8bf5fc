package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Get returns a reader of a blob that the store holds, or that a fill is bringing.
// Where there is neither, the error is fs.ErrNotExist. When ctx ends, the reader
// stops waiting for bytes.
func (s *Store) Get(ctx context.Context, d digest.Digest) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, err := s.openHeld(ctx, d); err == nil {
		return r, nil
	}
	if f := s.fills[d]; f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.done || f.err == nil && f.readable() > 0 {
			return f.reader(ctx), nil
		}
	}
	return nil, fs.ErrNotExist
}

// Use notes that a blob was used by a caller that has its bytes in memory, so that
// eviction sees it as used. It reports whether the store still lists the blob.
func (s *Store) Use(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blobs.get(d)
	if b == nil {
		return false
	}
	s.blobs.use(b)
	if b.proven != 0 {
		b.proven = s.mark(b, time.Unix(0, b.proven)).UnixNano()
	}
	return true
}

// openHeld opens a blob that the store holds, and pins it. Until the scan has ended,
// or where it could not read all, a blob that the index does not list may still be on
// disk, so the file is tried.
// s.mu is locked.
func (s *Store) openHeld(ctx context.Context, d digest.Digest) (*Reader, error) {
	b := s.blobs.get(d)
	if b == nil && s.isScanned() && !s.unread {
		return nil, fs.ErrNotExist
	}
	file, info, err := openFile(s.path(d))
	if err == nil && b != nil && info.Size() != b.size {
		file.Close()
		err = fmt.Errorf("%w: it has %d bytes instead of %d", fs.ErrNotExist, info.Size(), b.size)
	}
	if err != nil {
		switch gone := errors.Is(err, fs.ErrNotExist); {
		case gone && b != nil: // another program changed the directory
			s.cfg.Log.Warn("blob dropped from the store", "digest", d.String(), "err", err.Error())
			s.drop(b)
		case !gone: // for example, no file descriptor is free; the blob itself may be intact
			s.degrade(err)
		}
		return nil, fs.ErrNotExist
	}
	if b == nil {
		b = s.blobs.add(d, info.Size(), info.ModTime())
	}
	s.blobs.use(b)
	r := &Reader{file: file, size: b.size, release: s.pin(d)}
	proven := b.proven != 0 && b.proven == info.ModTime().UnixNano()
	fileTime := s.mark(b, info.ModTime())
	if !proven {
		return s.proving(ctx, r, d, fileTime), nil
	}
	b.proven = fileTime.UnixNano()
	return r, nil
}

// openFile opens a blob's file and returns what Stat says of it. Where something else
// than a file has the blob's name, the error is fs.ErrNotExist. It never waits, as to
// open a pipe would.
func openFile(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if isNothing(err) {
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxBlob) {
		err = fmt.Errorf("%w: %s is no blob", fs.ErrNotExist, path)
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// Purge removes a blob. Where a fill is bringing the blob, the fill goes on for its
// readers, but the store does not keep it. Present readers read on. was reports
// whether there was a blob or a fill.
func (s *Store) Purge(d digest.Digest) (was bool, err error) {
	if err := checkDigest(d); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fills[d]; f != nil {
		f.purged, was = true, true
		delete(s.fills, d)
	}
	if b := s.blobs.get(d); b != nil {
		s.forget(b)
	}
	switch err := os.Remove(s.path(d)); {
	case err == nil:
		return true, nil
	case isNothing(err):
		return was, nil
	default:
		return was, fmt.Errorf("purge: %w", err)
	}
}

// drop removes a held blob from the index and from the disk. s.mu is locked.
func (s *Store) drop(b *entry) {
	d := s.blobs.digest(b)
	s.forget(b)
	if err := os.Remove(s.path(d)); err != nil && !isNothing(err) {
		s.cfg.Log.Error("blob not removed from the store", "digest", d.String(), "err", err.Error())
	}
}

// markEvery is how often the use of a blob is written to disk, as its file's
// modification time. An hour is exact enough for the order of use after a restart.
const markEvery = time.Hour

// mark writes the use of a blob to disk, unless it did so within markEvery. It
// returns the file's modification time, which was fileTime before. s.mu is locked.
func (s *Store) mark(b *entry, fileTime time.Time) time.Time {
	now := time.Now()
	if now.Sub(time.Unix(int64(b.marked), 0)) < markEvery {
		return fileTime
	}
	b.marked = uint32(now.Unix())
	path := s.path(s.blobs.digest(b))
	os.Chtimes(path, now, now) //nolint:errcheck // a failure costs the order of use only
	if info, err := os.Stat(path); err == nil {
		return info.ModTime()
	}
	return fileTime
}
