package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// Get returns a reader of a blob that is held, or being filled; fs.ErrNotExist
// where it is neither. ctx ends the reader's waits for bytes to come.
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

// Use counts as a read of a blob whose bytes the caller has in memory. It reports
// whether the store still lists it.
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

// openHeld opens a committed blob; s.mu is held. Until the scan is through, the
// disk knows more than the index does.
func (s *Store) openHeld(ctx context.Context, d digest.Digest) (*Reader, error) {
	b := s.blobs.get(d)
	if b == nil && s.isScanned() {
		return nil, fs.ErrNotExist
	}
	file, info, err := openFile(s.path(d))
	if err == nil && b != nil && info.Size() != b.size {
		file.Close()
		err = fmt.Errorf("%w: it has %d bytes instead of %d", fs.ErrNotExist, info.Size(), b.size)
	}
	if err != nil {
		switch gone := errors.Is(err, fs.ErrNotExist); {
		case gone && b != nil: // somebody else's hand was in the directory
			s.cfg.Log.Warn("blob dropped from the store", "digest", d.String(), "err", err.Error())
			s.drop(b)
		case !gone: // out of file descriptors, say: no reason to lose what is there
			s.degrade(err)
		}
		return nil, fs.ErrNotExist
	}
	if b == nil {
		b = s.blobs.add(d, info.Size(), info.ModTime())
	}
	s.blobs.use(b)
	s.pins[d]++
	r := &Reader{file: file, size: b.size, release: func() { s.unpin(d) }}
	proven := b.proven != 0 && b.proven == info.ModTime().UnixNano()
	fileTime := s.mark(b, info.ModTime())
	if !proven {
		return s.proving(ctx, r, d, fileTime), nil
	}
	b.proven = fileTime.UnixNano()
	return r, nil
}

func openFile(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
	}
	return file, info, err
}

func (s *Store) unpin(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins[d]--; s.pins[d] == 0 {
		delete(s.pins, d)
	}
	s.makeRoom(0)
}

// Purge removes a blob, and keeps what a fill is bringing of it from being held.
// Those who read it now read on. It reports whether there was anything.
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
		s.blobs.remove(b)
	}
	switch err := os.Remove(s.path(d)); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return was, nil
	default:
		return was, fmt.Errorf("purge: %w", err)
	}
}

// drop removes a committed blob; s.mu is held.
func (s *Store) drop(b *entry) {
	d := s.blobs.digest(b)
	s.blobs.remove(b)
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Error("blob not removed from the store", "digest", d.String(), "err", err.Error())
	}
}

// markEvery is how often the use of a blob is written to disk, as its file's
// time: often enough for the order to survive a restart by and large.
const markEvery = time.Hour

// mark writes down that a blob is used, and returns its file's time, which was
// fileTime before; s.mu is held.
func (s *Store) mark(b *entry, fileTime time.Time) time.Time {
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
