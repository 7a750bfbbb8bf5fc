package store

import (
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Upload is a copy of a blob that a client uploads to Harbor. When Harbor has accepted the
// blob, Commit makes the copy a held blob. Where the disk refuses or the store has no
// room, the copy is not kept, and the upload goes on. An Upload is safe for concurrent
// use, because an HTTP client may read a request's body after the request has ended.
type Upload struct {
	store *Store

	mu      sync.Mutex
	file    *os.File // nil: the copy is not kept, or the upload is over
	hash    hasher   // SHA-256
	written int64
	buf     []byte      // of the store's chunks: what comes after written; nil: nothing
	room    reservation // guarded by store.mu
}

// NewUpload returns an upload without bytes. It must end with Commit or Discard.
func (s *Store) NewUpload() *Upload {
	u := &Upload{store: s, hash: hasher{hash: digest.SHA256.Hash(), pool: &s.chunks}}
	var err error
	if u.file, err = s.newTemp(); err != nil {
		s.degrade(err)
	}
	return u
}

// Size returns how many bytes the copy has.
func (u *Upload) Size() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.written + int64(len(u.buf))
}

// Write implements io.Writer. It always returns len(p) and no error, also where the copy
// is not kept. What it takes is written to the file by whole chunks: a body comes in
// smaller pieces.
func (u *Upload) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(p)
	for len(p) > 0 && u.file != nil {
		if u.buf == nil {
			u.buf = u.store.chunks.get()[:0]
		}
		part := copy(u.buf[len(u.buf):chunk], p)
		u.buf, p = u.buf[:len(u.buf)+part], p[part:]
		if len(u.buf) == chunk {
			u.flush()
		}
	}
	return n, nil
}

// Flush writes what Write has taken to the file: an upload to which nothing comes takes no memory.
func (u *Upload) Flush() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flush()
}

// flush writes the buffer to the file. u.mu is locked.
func (u *Upload) flush() {
	buf := u.buf
	if u.buf = nil; buf == nil {
		return
	}
	end := u.written + int64(len(buf))
	if !u.reserve(end) {
		u.store.chunks.put(buf)
		u.discard()
		return
	}
	if err := u.store.write(u.file, u.written, buf); err != nil {
		u.store.degrade(err)
		u.discard()
		return
	}
	u.written = end
	u.hash.add(buf)
}

// reserve reserves room in the store for the copy's first n bytes.
func (u *Upload) reserve(n int64) bool {
	s := u.store
	s.mu.Lock()
	defer s.unlock()
	return n <= u.room.bytes || s.admits(n) && s.reserve(&u.room, n+farAhead-n%farAhead, true)
}

// Commit ends the upload, and makes what was written the held blob d. Where its digest is
// another one, the error is ErrWrongContent. Where the copy was not kept, there is no
// error and no held blob.
func (u *Upload) Commit(d digest.Digest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer u.discard()
	if err := checkDigest(d); err != nil {
		return err
	}
	if u.flush(); u.file == nil {
		return nil
	}
	got := digest.NewDigest(digest.SHA256, u.hash.wait())
	if d.Algorithm() != digest.SHA256 {
		var err error
		if got, err = d.Algorithm().FromReader(u.store.part(u.file, 0, u.written)); err != nil {
			u.store.degrade(err)
			return nil
		}
	}
	if got != d {
		return fmt.Errorf("%w: the upload's digest is %s", ErrWrongContent, got)
	}
	u.store.mu.Lock()
	held := u.store.blobs.get(d) != nil
	u.store.mu.Unlock()
	if held {
		return nil
	}
	if err := u.store.commit(d, u.file, u.written, writePatience, &u.room, nil); err != nil {
		u.store.degrade(err)
		return nil
	}
	u.store.close(u.file)
	u.file = nil
	return nil
}

// Discard ends the upload, and removes the copy. It may be called again.
func (u *Upload) Discard() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.discard()
}

// discard removes the copy and ends its reservation. u.mu is locked.
func (u *Upload) discard() {
	u.hash.wait()
	if u.buf != nil {
		u.store.chunks.put(u.buf)
		u.buf = nil
	}
	if u.file != nil {
		u.store.removeTemp(u.file)
		u.store.close(u.file)
		u.file = nil
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	u.store.setReservation(&u.room, reservation{})
}
