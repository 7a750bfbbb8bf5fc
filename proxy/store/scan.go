package store

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
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

const (
	scanBatch = 1024 // blobs that are listed under one lock
	scanParts = 4    // directories that are read at once
)

// scan lists the blobs that are on disk. It runs beside the first requests, so that
// Open does not wait for it. The store keeps to its budget only when the scan has
// ended.
func (s *Store) scan() {
	begun := time.Now()
	err := s.scanAll()
	if s.ctx.Err() != nil { // the store is closing
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
	s.cfg.Log.Info("the store is listed", "blobs", s.blobs.len(), "bytes", s.blobs.bytes, "seconds", time.Since(begun).Seconds())
}

// scanAll lists all directories of blobs, scanParts at a time.
func (s *Store) scanAll() error {
	algorithms, err := os.ReadDir(s.blobDir())
	if err != nil {
		return err
	}
	var parts errgroup.Group
	parts.SetLimit(scanParts)
	for _, algorithm := range algorithms {
		prefixes, err := os.ReadDir(filepath.Join(s.blobDir(), algorithm.Name()))
		if err != nil {
			return errors.Join(err, parts.Wait())
		}
		for _, prefix := range prefixes {
			parts.Go(func() error { return s.scanDir(algorithm.Name(), prefix.Name()) })
		}
	}
	return parts.Wait()
}

// scanDir lists one directory of blobs.
func (s *Store) scanDir(algorithm, prefix string) error {
	dir, err := os.Open(filepath.Join(s.blobDir(), algorithm, prefix))
	if err != nil {
		return err
	}
	defer dir.Close()
	batch := make([]found, 0, scanBatch)
	for {
		names, err := dir.Readdirnames(scanBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, s.ctx.Err()); err != nil {
			return err
		}
		batch = batch[:0]
		for _, name := range names {
			f, ok := parseName(algorithm, prefix, name)
			if !ok {
				s.cfg.Log.Warn("a file in the store is no blob; it is left alone", "path", filepath.Join(dir.Name(), name))
				continue
			}
			var stat unix.Stat_t
			if unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil { // otherwise it was evicted meanwhile
				f.size, f.used = stat.Size, stat.Mtim.Sec
				batch = append(batch, f)
			}
		}
		s.list(batch)
	}
}

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
		digit := strings.IndexByte("0123456789abcdef", name[i])
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
		if s.blobs.find(f.sum) != none { // a request has listed it already
			continue
		}
		if f.other != "" {
			s.blobs.others[f.sum] = f.other
		}
		s.blobs.addSum(f.sum, f.size, f.used)
	}
}
