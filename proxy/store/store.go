// Package store keeps verified blobs on disk. It brings a missing blob by a fill:
// one transfer from the blob's sources, which any number of readers share.
// README.md lists the rules.
package store

import (
	"context"
	"errors"
	"fmt"
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

	"example.org/breakwater/proxy/disk"
)

// Config is the configuration of a store.
type Config struct {
	Dir     string                // the store's directory; Open makes it where it is missing
	Size    int64                 // the budget in bytes; 0: no limit
	Idle    time.Duration         // how long a source may send too little before it is given up; 0: 30 s
	Scrub   time.Duration         // the time between two blobs that the scrub checks; 0: a minute; negative: no scrub
	Log     *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: nothing is measured
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	cfg     Config
	disk    *disk.Disk // makes every call of the file system that a request waits for
	lock    *os.File
	metrics *metrics
	ctx     context.Context // of every fill; Close cancels it
	cancel  context.CancelFunc
	running sync.WaitGroup // fills, the scan and the scrub
	chunks  chunkPool

	// mu is never held over a call of the file system, which may hang.
	mu       sync.Mutex
	blobs    index
	pins     map[digest.Digest]*pin  // of the held blobs that are being read
	turns    map[digest.Digest]*turn // which reader proves a blob
	fills    map[digest.Digest]*fill // the fills that new readers join
	reserved int64                   // bytes of all reservations
	beside   int64                   // bytes of the reservations for files that are not to be kept

	dropped  []digest.Digest       // blobs whose files unlock removes
	removing map[digest.Digest]int // how many removals of a blob's file are under way
	removals uint64                // how many have begun
	removed  chan struct{}         // closed and replaced whenever one has ended

	left  atomic.Int64 // the fills that nobody reads
	parts atomic.Int64 // the parts of fills that are under way

	unread bool // the scan could not read a directory, so blobs may lack some that are on disk

	quarantine *lru.Cache[quarantineKey, time.Time] // when a source sent wrong content
	scanned    chan struct{}                        // closed when the scan has ended: blobs lists what it could read
	waited     atomic.Bool                          // the disk did not answer, and has opened no blob since
	degraded   atomic.Bool                          // the disk refused something, and has taken no blob since
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
		cfg: cfg, disk: disk.New(), blobs: newIndex(), pins: map[digest.Digest]*pin{}, turns: map[digest.Digest]*turn{}, fills: map[digest.Digest]*fill{},
		removing: map[digest.Digest]int{}, removed: make(chan struct{}), scanned: make(chan struct{}),
	}
	s.quarantine, _ = lru.New[quarantineKey, time.Time](maxQuarantine) // New fails only for a size of 0
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
	s.clearTemp()
	// A full or read-only disk must not keep an edge from starting. Without the file
	// the layout is that of format 1 too, so the next start can write it.
	if err := s.migrate(from); err != nil {
		s.cfg.Log.Warn("the store's format number is not written; the next start tries again", "err", err.Error())
	}
	s.metrics, err = newMetrics(s.cfg.Metrics, s)
	return err
}

// Close cancels every fill, waits until all have ended, and unlocks the directory.
// Readers of held blobs may read on. It does not wait for a disk that hangs.
func (s *Store) Close() error {
	s.mu.Lock() // what runs beside requests checks ctx under this lock, so nothing starts after this
	s.cancel()
	s.mu.Unlock()
	err := s.disk.Call(commitPatience, func() error {
		s.running.Wait()
		return nil
	})
	s.metrics.unregister(s.cfg.Metrics)
	return errors.Join(err, s.lock.Close())
}

// lockDir locks the directory for this process. The lock ends with the process, so a
// crash leaves nothing locked.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDONLY|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process uses %s; one store serves one edge", dir)
	}
	return f, nil
}

// Degraded reports whether the store is degraded: the disk refused something, and has
// taken no blob since. Pulls go on from the sources meanwhile.
func (s *Store) Degraded() bool { return s.degraded.Load() }

// Hanging reports whether the disk does not answer. What the store holds is not to be had
// meanwhile, and pulls go on from the sources.
func (s *Store) Hanging() bool { return s.disk.Hangs() }

func (s *Store) tempDir() string { return filepath.Join(s.cfg.Dir, "tmp") }
func (s *Store) blobDir() string { return filepath.Join(s.cfg.Dir, "blobs") }

// path returns the path of a blob's file: blobs/<algorithm>/<first two>/<hex>. The
// digest must be valid (checkDigest), so a client cannot name any other path.
func (s *Store) path(d digest.Digest) string {
	hex := d.Encoded()
	return filepath.Join(s.blobDir(), d.Algorithm().String(), hex[:2], hex)
}

// clearTemp removes the temporary files of the process that had the store before. What
// it cannot remove stays, and keeps no edge from starting.
func (s *Store) clearTemp() {
	var past passed
	for _, name := range entries(s.tempDir(), &past) {
		path := filepath.Join(s.tempDir(), name)
		if err := os.Remove(path); err != nil {
			past.failed(path, err)
		}
	}
	if past.unread > 0 {
		s.cfg.Log.Warn("the store's temporary files are not all removed; the budget does not count what is left", "left", past.unread, "first", past.first, "err", past.err)
	}
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	return nil
}
