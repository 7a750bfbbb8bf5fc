package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"example.org/breakwater/proxy/disk"
)

// Get returns a reader of a blob that the store holds, or that a fill is bringing.
// Where there is neither, or the disk does not answer, the error is fs.ErrNotExist. When
// ctx ends, the reader stops waiting for bytes.
func (s *Store) Get(ctx context.Context, d digest.Digest) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	for range 2 {
		if r, err := s.openHeld(ctx, d); err == nil {
			return r, nil
		}
		r, listed := s.filling(ctx, d)
		if r != nil {
			return r, nil
		}
		if !listed {
			break
		} // else the fill has just ended
	}
	return nil, fs.ErrNotExist
}

// filling returns a reader of the fill that is bringing the blob, nil where there is none
// that can be read. listed reports whether the index lists the blob.
func (s *Store) filling(ctx context.Context, d digest.Digest) (r *Reader, listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fills[d]; f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.done || f.err == nil && f.readable() > 0 {
			f.spare = false
			return f.reader(ctx), false
		}
	}
	return nil, s.blobs.get(d) != nil
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
	b.used = true
	if b.proven != 0 {
		s.mark(b, b.proven, b.markedAt())
	}
	return true
}

// errUnreadable says that a blob is held, or may be, and that its file cannot be read.
var errUnreadable = errors.New("the blob's file cannot be read")

// openHeld opens a blob that the store holds, and pins it. Until the scan has ended,
// or where it could not read all, a blob that the index does not list may still be on
// disk, so the file is tried.
func (s *Store) openHeld(ctx context.Context, d digest.Digest) (*Reader, error) {
	s.mu.Lock()
	listed, removals := s.blobs.get(d) != nil, s.removals
	if s.removing[d] > 0 || !listed && s.isScanned() && !s.unread {
		s.mu.Unlock()
		return nil, fs.ErrNotExist
	}
	unpin := s.pin(d) // before the file is opened: it must not be evicted meanwhile
	s.mu.Unlock()
	file, info, err := s.openBlob(d)
	r, err := s.opened(ctx, d, file, info, err, listed, removals)
	if err != nil {
		if file != nil {
			s.close(file)
		}
		unpin()
		return nil, err
	}
	free := r.release
	r.release = func() {
		if free != nil {
			free()
		}
		unpin()
	}
	return r, nil
}

// opened returns a reader of a blob's file that was opened, or notes that it could not be.
// listed and removals are from before that.
func (s *Store) opened(ctx context.Context, d digest.Digest, file *os.File, info fs.FileInfo, err error, listed bool, removals uint64) (*Reader, error) {
	s.mu.Lock()
	defer s.unlock()
	b, changed := s.blobs.get(d), s.removals != removals
	if err == nil && b != nil && info.Size() != b.size {
		err = fmt.Errorf("%w: it has %d bytes instead of %d", fs.ErrNotExist, info.Size(), b.size)
	}
	switch {
	case disk.Silent(err): // it may have the blob all the same
		s.wait(err)
		return nil, errUnreadable
	case err != nil && !errors.Is(err, fs.ErrNotExist): // for example, no file descriptor is free; the blob itself may be intact
		s.degrade(err)
		return nil, errUnreadable
	case err != nil:
		if b != nil && listed && !changed { // another program changed the directory
			s.cfg.Log.Warn("blob dropped from the store", "digest", d.String(), "err", err.Error())
			s.drop(b)
		}
		return nil, fs.ErrNotExist
	case b == nil && (listed || changed): // it was dropped or purged meanwhile
		return nil, fs.ErrNotExist
	case b == nil:
		b = s.blobs.add(d, info.Size(), info.ModTime())
	}
	s.waited.Store(false)
	b.used = true
	modified := info.ModTime()
	r := &Reader{store: s, file: file, size: b.size, digest: d}
	if b.isProven(modified.UnixNano()) {
		b.proven = modified.UnixNano()
	} else {
		b.proven = 0
		r = s.proving(ctx, r, d, modified)
	}
	s.mark(b, modified.UnixNano())
	return r, nil
}

// openBlob opens a blob's file. An error other than fs.ErrNotExist says nothing of the blob.
func (s *Store) openBlob(d digest.Digest) (*os.File, fs.FileInfo, error) {
	type opened struct {
		file *os.File
		info fs.FileInfo
	}
	o, err := disk.Do(s.disk, patience, func() (o opened, err error) {
		o.file, o.info, err = openFile(s.path(d))
		return o, err
	}, func(o opened, err error) {
		if err == nil {
			o.file.Close()
		}
	})
	return o.file, o.info, err
}

// openFile opens a blob's file and returns what Stat says of it. Where something else
// than a file has the blob's name, the error is fs.ErrNotExist. To open a pipe does not
// wait for its writer. One byte is read, because a disk may still open what it can no
// longer read.
func openFile(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if isNothing(err) {
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > MaxBlob) {
		err = fmt.Errorf("%w: %s is no blob", fs.ErrNotExist, path)
	}
	if err == nil && info.Size() > 0 {
		_, err = file.ReadAt(make([]byte, 1), 0)
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
	if f := s.fills[d]; f != nil {
		f.purged, was = true, true
		delete(s.fills, d)
	}
	if b := s.blobs.get(d); b != nil {
		s.forget(b)
	}
	s.removing[d]++
	s.removals++
	s.mu.Unlock()
	switch err := s.removeBlob(d); {
	case err == nil:
		return true, nil
	case isNothing(err):
		return was, nil
	default:
		return was, fmt.Errorf("purge: %w", err)
	}
}

// markEvery is how often the use of a blob is written to disk, as its file's
// modification time. An hour is exact enough for the order of use after a restart.
const markEvery = time.Hour

// markedAt returns the modification time that the last mark gives the blob's file, in ns.
func (b *entry) markedAt() int64 { return int64(b.marked) * int64(time.Second) }

// isProven reports whether a file of the blob with this modification time, in ns, has been
// proven. A mark changes the time of a file that was.
func (b *entry) isProven(modified int64) bool {
	return b.proven != 0 && (modified == b.proven || modified == b.markedAt())
}

// mark has the use of a blob written to disk, unless that was done within markEvery.
// Nobody waits for it. It leaves a file alone that has another time, in ns, than those:
// somebody has changed it. s.mu is locked.
func (s *Store) mark(b *entry, times ...int64) {
	now := time.Now()
	if now.Sub(time.Unix(int64(b.marked), 0)) < markEvery || s.ctx.Err() != nil {
		return
	}
	b.marked = uint32(now.Unix())
	d, at := s.blobs.digest(b), time.Unix(now.Unix(), 0) // every file system keeps whole seconds
	s.running.Go(func() {
		s.disk.Call(patience, func() error { //nolint:errcheck // a failure costs the order of use only
			path := s.path(d)
			info, err := os.Lstat(path)
			if err != nil || !slices.Contains(times, info.ModTime().UnixNano()) {
				return err
			}
			return os.Chtimes(path, at, at)
		})
	})
}
