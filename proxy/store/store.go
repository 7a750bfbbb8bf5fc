// Package store keeps verified content on disk. A transfer into it is an object
// of its own, a fill, that any number of readers share. README.md lists the rules.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
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

	quarantine *lru.Cache[quarantineKey, time.Time] // sources that sent wrong content, and when
	scanned    chan struct{}                        // closed when blobs lists all that is on disk
	degraded   atomic.Bool                          // the disk refused the last blob
}

const defaultIdle = 30 * time.Second

// Open opens the store in cfg.Dir. It refuses a store that another process has
// open, and, before it changes anything, one whose format is newer than this
// program's or cannot be read. It removes what a crash left half-written.
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
	s.quarantine, _ = lru.New[quarantineKey, time.Time](maxQuarantine) // fails for no size alone
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	var err error
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.prepare(); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.running.Go(s.scan)
	s.running.Go(s.scrub)
	return s, nil
}

// prepare makes the directory ready for this program. The lock is held. The format
// is checked first, so that a store of another program is left as it is.
func (s *Store) prepare() error {
	from, err := s.readFormat()
	if err != nil {
		return err
	}
	for _, dir := range []string{s.tempDir(), s.blobDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := s.clearTemp(); err != nil {
		return err
	}
	// A full or read-only disk must not keep an edge from starting. Without the file
	// the layout is that of format 1 too, so the next start can write it.
	if err := s.migrate(from); err != nil {
		s.cfg.Log.Warn("the store's format number is not written; the next start tries again", "err", err.Error())
	}
	s.metrics, err = newMetrics(s.cfg.Metrics, s)
	return err
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
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process uses %s; one store serves one edge", dir)
	}
	return f, nil
}

// Degraded reports whether the disk refused what was pulled last.
func (s *Store) Degraded() bool { return s.degraded.Load() }

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

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	return nil
}

var _ io.ReadSeekCloser = (*Reader)(nil)
