// Package store keeps verified content on disk. A transfer into it is an object
// of its own, a fill, that any number of readers share. README.md lists the rules.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
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
	chunks  chunkPool

	mu       sync.Mutex
	blobs    index
	pins     map[digest.Digest]int // readers of held blobs
	turns    map[digest.Digest]*turn
	fills    map[digest.Digest]*fill // that new readers join
	reserved int64                   // bytes that all fills' files have, or will have

	aside    *lru.Cache[suspect, time.Time] // sources that sent wrong content, and when
	scanned  chan struct{}                  // closed when blobs lists all that is on disk
	troubled atomic.Bool                    // the disk refused the last blob
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
	s := &Store{
		cfg: cfg, blobs: newIndex(), pins: map[digest.Digest]int{}, turns: map[digest.Digest]*turn{}, fills: map[digest.Digest]*fill{},
		scanned: make(chan struct{}),
	}
	s.aside, _ = lru.New[suspect, time.Time](maxAside) // fails for no size alone
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

// Troubled reports whether the disk refused what was pulled last.
func (s *Store) Troubled() bool { return s.troubled.Load() }

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
			s.trouble(err)
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
func (s *Store) drop(b *held) {
	d := s.blobs.digest(b)
	s.blobs.remove(b)
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Error("blob not removed from the store", "digest", d.String(), "err", err.Error())
	}
}

// admits reports whether a blob of this size may be kept: one that is larger
// than half of the budget would flush what many others need.
func (s *Store) admits(size int64) bool { return s.cfg.Size <= 0 || size <= s.cfg.Size/2 }

// makeRoom evicts the least recently used blobs that nobody reads until what is
// held, what is coming and n bytes more fit into the budget, or nothing is left
// to evict. What is coming never takes more than half of the budget from what is
// held; s.mu is held.
func (s *Store) makeRoom(n int64) {
	if s.cfg.Size <= 0 {
		return
	}
	room := s.cfg.Size - min(s.reserved+n, s.cfg.Size/2)
	for place := s.blobs.oldest; place != none && s.blobs.bytes > room; {
		b := s.blobs.at(place)
		place = b.next
		if s.pins[s.blobs.digest(b)] == 0 {
			s.drop(b)
			s.metrics.evictions.Inc()
		}
	}
}

// reserve sets n bytes aside for a fill's file; false means that the disk has no
// room for them. What comes may take half of the budget beside what is held, so
// that also the readers of what is too large to be kept share one transfer;
// s.mu is held.
func (s *Store) reserve(n int64, keep bool) bool {
	if keep {
		s.makeRoom(n)
	}
	if s.cfg.Size > 0 && s.blobs.bytes+s.reserved+n > s.cfg.Size+s.cfg.Size/2 {
		return false
	}
	s.reserved += n
	return true
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
	held := s.blobs.get(d) != nil
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
		err = s.commit(d, file, int64(len(content)), 0)
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
// the directory. A crash between any two leaves a store that opens. What was
// reserved for it is given back when it is listed.
func (s *Store) commit(d digest.Digest, file *os.File, size, reserved int64) error {
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
	if s.troubled.Swap(false) {
		s.cfg.Log.Info("the store keeps what is pulled again")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= reserved
	s.blobs.add(d, size, time.Now()).proven = info.ModTime().UnixNano()
	s.makeRoom(0)
	return nil
}

// makeDir makes a directory of blobs, and its name last, where it is not there.
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
