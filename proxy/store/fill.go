package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrWrongContent says that a body does not match its digest. A reader gets it in
// place of the body's last bytes. The store keeps nothing of such a body.
var ErrWrongContent = errors.New("the source sent wrong content")

const (
	chunk = 128 << 10 // the size of a receive buffer
	// holdBack is how many bytes at the end of a body readers get only after the
	// digest is verified. Without them, no client takes a wrong body for a right one.
	holdBack = 64 << 10
	// A reader that is at least farAhead bytes ahead of the fill does not wait for it.
	// It gets windows of at most windowSize bytes, as long as all windows of the fill
	// together are at most one windowShare-th of the blob.
	farAhead    = 8 << 20
	windowSize  = 2 << 20
	windowShare = 10
	// commitWait is how long readers wait for the commit before they get the last
	// bytes. They wait so that the store holds a blob that a client has read to its
	// end. They do not wait longer, because the disk may be slow.
	commitWait = 250 * time.Millisecond
	// joinFor is how long a fill that no source has answered is joined: an answer that has
	// not come until then may be lost.
	joinFor = time.Minute
	// maxLeft is how many fills go on though nobody reads them. Who begins fills and leaves
	// does not keep more of them busy.
	maxLeft   = 256
	writeback = 8 << 20 // after so many bytes the kernel is told to write them to disk
)

// fill is one transfer of one blob into one file. Its readers share the file.
type fill struct {
	store  *Store
	digest digest.Digest
	rota   rota
	others []Source // the sources that further successors ask
	spare  bool     // nobody has asked for the blob yet; guarded by store.mu
	again  bool     // the held blob cannot be read: this one replaces it
	cause  error    // the error that ended the fill before this one; nil: there was none
	lead   lead
	file   *os.File // nil: the disk has not made one; set before the fill has started
	hash   hasher
	purged bool        // the blob must not be kept; guarded by store.mu
	room   reservation // of the file, until it is a held blob or closed; guarded by store.mu
	unpin  func()      // ends the pin of the held blob that the file is; nil: it is none; guarded by store.mu
	begun  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{} // closed when the file has been committed or removed, and the transfer uses the fill no longer

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced whenever a field below changes
	started     bool          // a source has answered
	asked       Source        // the source that answered last; windows ask it too
	otherwise   *Source       // that source, to be asked once more where what it sent is wrong; nil: it is not
	askedAt     int           // its number
	joined      int           // readers, those that have left too
	verifyFirst bool          // readers get nothing before the whole blob is verified
	written     int64
	size        int64 // -1: not known
	done        bool  // the file has the whole blob, and it is verified
	err         error
	next        *fill // the successor, which asks the other sources after wrong content
	users       int   // the readers and the transfer; the last of them closes the file
	left        bool  // nobody reads it, and it counts in Store.left
	over        bool  // the transfer has ended
	layout      layout
	parts       parts
	windows     int64 // bytes of all windows
	noWindow    bool  // the source ignores ranges
}

// Fetch returns a reader of a blob. It reads the held blob, or shares the fill that is
// under way, or starts a fill, which asks the sources in order. Fetch returns when
// there is something to read. Where every source refuses, it returns their errors,
// joined. ctx ends this caller's waits only: a fill goes on without its readers. There must
// be at least one source, unless the blob is held or a fill of it succeeds.
func (s *Store) Fetch(ctx context.Context, d digest.Digest, sources ...Source) (*Reader, error) {
	return s.fetch(ctx, d, sources, how{joinUnanswered: true})
}

// FetchAside is Fetch for who must not wait for a fill that no source has answered yet: its
// sources may be waiting for this answer.
func (s *Store) FetchAside(ctx context.Context, d digest.Digest, sources ...Source) (*Reader, error) {
	return s.fetch(ctx, d, sources, how{})
}

// how says what a fill is for.
type how struct {
	joinUnanswered bool // one that no source has answered yet is joined
	spare          bool // nobody has asked for the blob yet
}

func (s *Store) fetch(ctx context.Context, d digest.Digest, sources []Source, how how) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	for ; ; how.joinUnanswered = false {
		r, own, err := s.attach(ctx, d, sources, how)
		if err != nil || r.fill == nil {
			return r, err
		}
		if err = r.waitReadable(); err == nil {
			return r, nil
		}
		r.Close()
		if errors.Is(err, errNotKept) && !how.spare {
			return s.passThrough(ctx, d, sources)
		}
		if own && !errors.Is(err, errBehind) || ctx.Err() != nil {
			return nil, err
		}
		// The sources of another caller refused. That is no answer for this caller,
		// whose sources may ask for another repo. It asks its own sources now, and does
		// not wait for a further caller's, which may refuse too.
	}
}

// attach returns a reader of the held blob, of the fill that is under way, or of a new
// fill. own says that the fill is new. A fill that no source has answered yet is
// joined only where how.joinUnanswered is true.
func (s *Store) attach(ctx context.Context, d digest.Digest, sources []Source, how how) (r *Reader, own bool, err error) {
	for {
		if r, err = s.openHeld(ctx, d); err == nil {
			return r, false, nil
		}
		s.mu.Lock()
		if errors.Is(err, errUnreadable) || s.blobs.get(d) == nil {
			break
		}
		s.mu.Unlock() // a fill has just ended
	}
	defer s.mu.Unlock()
	if f := s.fills[d]; f != nil && (how.joinUnanswered && time.Since(f.begun) < joinFor || f.hasStarted()) {
		f.spare = f.spare && how.spare
		return f.join(ctx), false, nil
	}
	if closed := s.ctx.Err(); closed != nil {
		return nil, false, fmt.Errorf("the store is closed: %w", closed)
	}
	f := s.newFill(d, s.inOrder(d, sources))
	f.spare = how.spare
	f.again = errors.Is(err, errUnreadable)
	if s.fills[d] == nil {
		s.fills[d] = f
	}
	r = f.join(ctx)
	s.running.Go(f.run)
	return r, true, nil
}

// newFill makes a fill. The caller starts it.
func (s *Store) newFill(d digest.Digest, sources []Source) *fill {
	s.metrics.open.Inc()
	ctx, cancel := context.WithCancel(s.ctx)
	f := &fill{
		begun: time.Now(), ctx: ctx, cancel: cancel,
		store: s, digest: d, rota: rota{sources: sources}, hash: hasher{hash: d.Algorithm().Hash(), pool: &s.chunks}, ended: make(chan struct{}),
		size: -1, users: 1, changed: make(chan struct{}),
	}
	f.lead.piece = f.layout.whole(unbounded)
	return f
}

// join returns a reader of the fill.
func (f *fill) join(ctx context.Context) *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reader(ctx)
}

// hasStarted reports whether a source has answered and the fill has not failed.
func (f *fill) hasStarted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started && f.err == nil
}

// update changes the fill's state, and wakes every reader that waits for a change.
func (f *fill) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// run does the transfer and ends the fill. It runs in a goroutine of the store, so no
// request ends it.
func (f *fill) run() {
	defer close(f.ended)
	defer f.cancel()
	err := f.transfer()
	f.hash.wait()
	if err == nil {
		err = f.hash.err
	}
	if err == nil {
		err = f.verify()
	}
	if err != nil && !f.started && f.cause != nil {
		err = f.cause // readers are told of the wrong body, not that no other source has the blob
	}
	if err != nil {
		f.store.removeTemp(f.file)
		next := f.successor(err)
		f.retire(next, err)
		if next != nil {
			f.store.running.Go(next.run)
		}
		f.update(func() { f.err, f.next, f.over = err, next, true })
		f.leave()
		return
	}
	// Readers get the whole blob, even where the disk refuses the commit.
	f.rota.verified()
	release := func() { f.update(func() { f.done = true }) }
	slowDisk := time.AfterFunc(commitWait, release)
	f.keep()
	f.retire(nil, nil)
	f.update(func() { f.over = true })
	f.leave()
	if slowDisk.Stop() {
		release()
	}
}

// retire ends the fill for new readers, who join the successor, if there is one.
// Where the file is no held blob, nothing more is evicted for it.
func (f *fill) retire(next *fill, err error) {
	s := f.store
	s.mu.Lock()
	s.setReservation(&f.room, reservation{f.room.bytes, true})
	if next != nil {
		next.spare = f.spare
	}
	switch {
	case s.fills[f.digest] != f:
	case next != nil:
		s.fills[f.digest] = next
	default:
		delete(s.fills, f.digest)
	}
	s.mu.Unlock()
	s.metrics.open.Dec()
	s.metrics.count(err)
}

// readable returns the offset up to which readers may read now. f.mu is locked.
func (f *fill) readable() int64 {
	switch {
	case f.done:
		return f.written
	case f.verifyFirst:
		return 0
	}
	end := f.written
	if f.size >= 0 {
		end = f.size
	}
	return max(0, min(f.written, end-holdBack))
}

// claim grants a window to a reader at the offset. It returns the window's length, or
// 0 where the reader must wait for the fill. f.mu is locked.
func (f *fill) claim(offset int64) int64 {
	if f.done || f.err != nil || f.verifyFirst || f.noWindow || f.size < 0 || offset-f.written < farAhead {
		return 0
	}
	n := min(windowSize, f.size-offset)
	if n <= 0 || f.windows+n > f.size/windowShare {
		return 0
	}
	f.windows += n
	f.store.metrics.windows.Inc()
	return n
}

// unleave notes that the fill is read again, or has ended. f.mu is locked.
func (f *fill) unleave() {
	if f.left {
		f.left = false
		f.store.left.Add(-1)
	}
}

// leave ends one use of the fill. The last one closes the file, and ends what the file
// takes of the budget.
func (f *fill) leave() {
	f.mu.Lock()
	f.users--
	last, next := f.users == 0, f.next
	f.unleave()
	if f.users == 1 && !f.over {
		if f.left = true; f.store.left.Add(1) > maxLeft {
			f.cancel()
		}
	}
	f.mu.Unlock()
	if !last {
		return
	}
	s := f.store
	if f.file != nil {
		s.close(f.file)
	}
	s.mu.Lock()
	s.setReservation(&f.room, reservation{})
	unpin := f.unpin
	s.mu.Unlock()
	if unpin != nil {
		unpin()
	}
	if next != nil {
		next.leave()
	}
}
