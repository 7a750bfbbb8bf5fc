package store

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// isScanned reports whether the scan has listed every blob on disk.
func (s *Store) isScanned() bool {
	select {
	case <-s.scanned:
		return true
	default:
		return false
	}
}

// found is a blob that the scan found.
type found struct {
	sum   sum
	other digest.Digest // the digest, where its algorithm is not SHA-256
	size  int64
	used  int64 // when the blob was last used, in s
}

// digest returns the blob's digest.
func (f found) digest() digest.Digest {
	if f.other != "" {
		return f.other
	}
	return digest.NewDigestFromBytes(digest.SHA256, f.sum[:])
}

const (
	scanBatch = 1024 // blobs that are listed under one lock
	scanParts = 4    // directories that are read at once
)

// scan lists the blobs that are on disk. It runs beside the first requests, so that
// Open does not wait for it. The store keeps to its budget only when the scan has
// ended. Nothing that lies in the directory ends it early: it goes on past what it does
// not know or cannot read, and counts that.
func (s *Store) scan() {
	begun := time.Now()
	var past passed
	s.scanAll(&past)
	if s.ctx.Err() != nil { // the store is closing
		return
	}
	if past.strays+past.unread > 0 {
		s.cfg.Log.Warn("the store's directory has entries that are no blobs or cannot be read; they are left alone, and the budget does not count them",
			"strays", past.strays, "unreadable", past.unread, "first", past.first, "err", past.err)
	}
	s.mu.Lock()
	defer s.unlock()
	s.blobs.sort()
	s.unread = past.unread > 0
	close(s.scanned)
	s.makeRoom(0)
	s.cfg.Log.Info("the store is listed", "blobs", s.blobs.len(), "bytes", s.blobs.bytes, "seconds", time.Since(begun).Seconds())
}

// passed counts what the scan went past. It is safe for concurrent use.
type passed struct {
	mu     sync.Mutex
	strays int    // entries that are no blobs
	unread int    // entries that could not be read, or not removed
	first  string // the path of the first one of both
	err    string // the first error of reading; "": there was none
}

// stray counts an entry that is no blob.
func (p *passed) stray(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strays++
	p.first = cmp.Or(p.first, path)
}

// failed counts an entry that could not be read or removed. An entry that cannot be a
// blob or a directory of blobs is a stray.
func (p *passed) failed(path string, err error) {
	if isNothing(err) {
		p.stray(path)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unread++
	p.first, p.err = cmp.Or(p.first, path), cmp.Or(p.err, err.Error())
}

// isNothing reports whether an error says that no blob and no directory of blobs is at a
// path: nothing is there, or something else.
func isNothing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO)
}

// openDir opens a directory, and nothing else: to open a pipe would wait for its writer.
func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
}

// scanAll lists all directories of blobs, scanParts at a time.
func (s *Store) scanAll(past *passed) {
	var parts errgroup.Group
	parts.SetLimit(scanParts)
	for _, algorithm := range entries(s.blobDir(), past) {
		dir := filepath.Join(s.blobDir(), algorithm)
		if !digest.Algorithm(algorithm).Available() {
			past.stray(dir)
			continue
		}
		for _, prefix := range entries(dir, past) {
			if !isPrefix(prefix) {
				past.stray(filepath.Join(dir, prefix))
				continue
			}
			parts.Go(func() error {
				s.scanDir(algorithm, prefix, past)
				return nil
			})
		}
	}
	parts.Wait() //nolint:errcheck // no part returns an error
}

// entries returns the names in a directory.
func entries(path string, past *passed) []string {
	dir, err := openDir(path)
	if err != nil {
		past.failed(path, err)
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		past.failed(path, err)
	}
	return names
}

// scanDir lists one directory of blobs.
func (s *Store) scanDir(algorithm, prefix string, past *passed) {
	path := filepath.Join(s.blobDir(), algorithm, prefix)
	dir, err := openDir(path)
	if err != nil {
		past.failed(path, err)
		return
	}
	defer dir.Close()
	batch := make([]found, 0, scanBatch)
	for s.ctx.Err() == nil {
		names, err := dir.Readdirnames(scanBatch)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			past.failed(path, err)
			return
		}
		batch = batch[:0]
		for _, name := range names {
			f, ok := parseName(algorithm, prefix, name)
			var stat unix.Stat_t
			if ok {
				err = unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
			}
			switch {
			case err == unix.ENOENT: // it was evicted meanwhile
			case err != nil:
				past.failed(filepath.Join(path, name), err)
			case !ok || stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Size > MaxBlob:
				past.stray(filepath.Join(path, name))
			default:
				f.size, f.used = stat.Size, stat.Mtim.Sec
				batch = append(batch, f)
			}
		}
		s.list(batch)
	}
}

// isPrefix reports whether a name is that of a directory of blobs: the first two digits of
// their digests.
func isPrefix(name string) bool { return len(name) == 2 && strings.Trim(name, hexDigits) == "" }

const hexDigits = "0123456789abcdef"

// parseName parses the digest in a file's name. A start may parse a million names, so
// it allocates nothing for SHA-256.
func parseName(algorithm, prefix, name string) (f found, ok bool) {
	if !strings.HasPrefix(name, prefix) || len(prefix) != 2 || len(name) < 2*len(f.sum) {
		return f, false
	}
	if algorithm != digest.SHA256.String() || len(name) != 2*len(f.sum) {
		d, err := digest.Parse(algorithm + ":" + name)
		if err != nil {
			return f, false
		}
		return found{sum: sumOf(d), other: d}, true
	}
	for i := range len(name) {
		digit := strings.IndexByte(hexDigits, name[i])
		if digit < 0 {
			return f, false
		}
		f.sum[i/2] = f.sum[i/2]<<4 | byte(digit)
	}
	return f, true
}

// list adds blobs to the index.
func (s *Store) list(all []found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range all {
		if s.blobs.find(f.sum) != none || len(s.removing) > 0 && s.removing[f.digest()] > 0 { // a request has listed it already, or drops it
			continue
		}
		if f.other != "" {
			s.blobs.others[f.sum] = f.other
		}
		s.blobs.addSum(f.sum, f.size, f.used)
	}
}
