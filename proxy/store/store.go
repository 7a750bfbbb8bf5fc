// Package store keeps verified content on disk. A transfer into it is an object
// of its own, a fill, that any number of readers share. README.md lists the rules.
package store

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Config says where the store is and how much it may hold.
type Config struct {
	Dir     string                // made when absent; one process at a time
	Size    int64                 // budget in bytes; 0: no limit
	Idle    time.Duration         // a fill without a byte for so long is given up; 0: 30 s
	Scrub   time.Duration         // between two blobs that are read again and checked; 0: a minute; negative: never
	Log     *slog.Logger          // nil: discarded
	Metrics prometheus.Registerer // nil: none
}

// Store is an open store. Safe for concurrent use.
type Store struct {
	cfg     Config
	lock    *os.File
	metrics *metrics
	ctx     context.Context // of every fill
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	blobs map[digest.Digest]*list.Element // of *blob
	used  *list.List                      // least recently used first
	bytes int64
	fills map[digest.Digest]*fill

	scanned  chan struct{} // closed when blobs lists all that is on disk
	troubled atomic.Bool   // the disk refused the last blob
}

type blob struct {
	digest digest.Digest
	size   int64
	pins   int           // readers
	marked time.Time     // when its use was last written to disk
	proven time.Time     // its file's time when its digest was last seen to match; zero: not since the start
	turn   chan struct{} // of the one reader that proves the whole; nil: nobody was to
}

const defaultIdle = 30 * time.Second

// Open opens the store in cfg.Dir. A store that another process has open is
// refused; what a crash left half-written is removed.
func Open(cfg Config) (*Store, error) {
	if cfg.Idle == 0 {
		cfg.Idle = defaultIdle
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, blobs: map[digest.Digest]*list.Element{}, used: list.New(), fills: map[digest.Digest]*fill{}, scanned: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, dir := range []string{cfg.Dir, s.tempDir(), s.blobDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	var err error
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := s.clearTemp(); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.metrics, err = newMetrics(cfg.Metrics, s); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.running.Go(s.scan)
	s.running.Go(s.scrub)
	return s, nil
}

// Close gives up every fill, waits for them, and lets the next process in.
// Readers of complete blobs may go on.
func (s *Store) Close() error {
	s.mu.Lock() // no fill begins after this
	s.cancel()
	s.mu.Unlock()
	s.running.Wait()
	s.metrics.unregister(s.cfg.Metrics)
	return s.lock.Close()
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("open store: another process uses %s; one store serves one edge", dir)
	}
	return f, nil
}

func (s *Store) tempDir() string { return filepath.Join(s.cfg.Dir, "tmp") }
func (s *Store) blobDir() string { return filepath.Join(s.cfg.Dir, "blobs") }

// path is where a blob lies: blobs/<algorithm>/<first two>/<hex>. Digests reach
// the store parsed, so nothing of a client's own is in it.
func (s *Store) path(d digest.Digest) string {
	hex := d.Encoded()
	return filepath.Join(s.blobDir(), d.Algorithm().String(), hex[:2], hex)
}

func (s *Store) clearTemp() error {
	left, err := os.ReadDir(s.tempDir())
	for _, f := range left {
		err = errors.Join(err, os.Remove(filepath.Join(s.tempDir(), f.Name())))
	}
	return err
}

// add lists a committed blob as the one used last; s.mu is held.
func (s *Store) add(d digest.Digest, size int64, proven time.Time) *list.Element {
	if element, ok := s.blobs[d]; ok { // the scan was faster
		s.used.MoveToBack(element)
		element.Value.(*blob).proven = proven
		return element
	}
	s.blobs[d] = s.used.PushBack(&blob{digest: d, size: size, marked: time.Now(), proven: proven})
	s.bytes += size
	return s.blobs[d]
}

// Get returns a reader of a blob that is held, or being filled; fs.ErrNotExist
// where it is neither. ctx ends the reader's waits for bytes to come.
func (s *Store) Get(ctx context.Context, d digest.Digest) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, err := s.openHeld(ctx, d); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	f := s.fills[d]
	if f == nil || !f.hasStarted() {
		return nil, fs.ErrNotExist
	}
	return f.reader(ctx), nil
}

// openHeld opens a committed blob; s.mu is held. Until the scan is through, the
// disk knows more than the list does.
func (s *Store) openHeld(ctx context.Context, d digest.Digest) (*Reader, error) {
	element, listed := s.blobs[d]
	if !listed && s.isScanned() {
		return nil, fs.ErrNotExist
	}
	file, err := os.Open(s.path(d))
	var info fs.FileInfo
	if err == nil {
		info, err = file.Stat()
	}
	gone := errors.Is(err, fs.ErrNotExist)
	if err == nil && listed && info.Size() != element.Value.(*blob).size {
		err, gone = fmt.Errorf("%d bytes instead of %d", info.Size(), element.Value.(*blob).size), true
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		switch {
		case gone && listed: // somebody else's hand was in the directory
			s.cfg.Log.Warn("blob dropped from the store", "digest", d.String(), "err", err.Error())
			s.drop(element)
		case !gone: // out of file descriptors, say: no reason to lose what is there
			s.trouble(err)
		}
		return nil, fs.ErrNotExist
	}
	if !listed {
		element = s.add(d, info.Size(), time.Time{})
	}
	s.used.MoveToBack(element)
	b := element.Value.(*blob)
	b.pins++
	r := &Reader{file: file, size: b.size, release: func() { s.unpin(b) }}
	proven := !b.proven.IsZero() && b.proven.Equal(info.ModTime())
	fileTime := s.mark(b, info.ModTime())
	if !proven {
		return s.proving(ctx, r, b, fileTime), nil
	}
	b.proven = fileTime
	return r, nil
}

func (s *Store) unpin(b *blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.pins--
	s.makeRoom()
}

// drop removes a committed blob; s.mu is held.
func (s *Store) drop(element *list.Element) {
	b := s.used.Remove(element).(*blob)
	delete(s.blobs, b.digest)
	s.bytes -= b.size
	if err := os.Remove(s.path(b.digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Error("blob not removed from the store", "digest", b.digest.String(), "err", err.Error())
	}
}

// admits reports whether a blob of this size may be kept: one that is larger
// than half of the budget would flush what many others need.
func (s *Store) admits(size int64) bool { return s.cfg.Size <= 0 || size <= s.cfg.Size/2 }

// makeRoom evicts the least recently used blobs that nobody reads until what is
// coming fits too; s.mu is held.
func (s *Store) makeRoom() {
	if s.cfg.Size <= 0 {
		return
	}
	var coming int64
	for d, f := range s.fills {
		if _, held := s.blobs[d]; !held { // else its bytes are counted
			coming += f.kept()
		}
	}
	for element := s.used.Front(); element != nil && s.bytes+coming > s.cfg.Size; {
		next := element.Next()
		if element.Value.(*blob).pins == 0 {
			s.drop(element)
			s.metrics.evictions.Inc()
		}
		element = next
	}
}

// Put stores content that is in memory, as a manifest. Content that does not
// match its digest is ErrWrongContent. A disk that refuses is not the caller's
// trouble: it is noted, and the content is not held.
func (s *Store) Put(d digest.Digest, content []byte) error {
	if err := checkDigest(d); err != nil {
		return err
	}
	if d.Algorithm().FromBytes(content) != d {
		return ErrWrongContent
	}
	s.mu.Lock()
	_, held := s.blobs[d]
	s.mu.Unlock()
	if held || !s.admits(int64(len(content))) {
		return nil
	}
	file, err := s.newTemp()
	if err != nil {
		s.trouble(err)
		return nil
	}
	defer file.Close()
	if _, err = file.Write(content); err == nil {
		err = s.commit(d, file, int64(len(content)))
	}
	if err != nil {
		os.Remove(file.Name())
		s.trouble(err)
	}
	return nil
}

// trouble notes that the disk refused: one warning until it takes something again.
func (s *Store) trouble(err error) {
	if !s.troubled.Swap(true) {
		s.cfg.Log.Warn("the store cannot keep what is pulled; pulls go on without it", "err", err.Error())
	}
}

func (s *Store) newTemp() (*os.File, error) {
	file, err := os.CreateTemp(s.tempDir(), "fill-")
	if err != nil {
		return nil, fmt.Errorf("open a file for a fill: %w", err)
	}
	return file, nil
}

// commit makes a temporary file the blob: fsync of the file, rename, fsync of
// the directory. A crash between any two leaves a store that opens.
func (s *Store) commit(d digest.Digest, file *os.File, size int64) error {
	path := s.path(d)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
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
	if s.troubled.Swap(false) {
		s.cfg.Log.Info("the store keeps what is pulled again")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(d, size, info.ModTime())
	s.makeRoom()
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	return nil
}

var _ io.ReadSeekCloser = (*Reader)(nil)
