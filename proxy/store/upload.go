package store

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Upload is a blob on its way from a client to Harbor, written down beside, so
// that it is held once Harbor has accepted it. A disk that refuses, or a store
// without room, is never the client's trouble: then it is not kept. Safe for
// concurrent use: an HTTP client may read on from a body whose request has ended.
type Upload struct {
	store *Store

	mu       sync.Mutex
	file     *os.File // nil: it is not kept
	hash     hasher   // SHA-256
	written  int64
	reserved int64
}

// NewUpload begins with an empty blob.
func (s *Store) NewUpload() *Upload {
	u := &Upload{store: s, hash: hasher{hash: digest.SHA256.Hash(), pool: &s.chunks}}
	var err error
	if u.file, err = s.newTemp(); err != nil {
		s.degrade(err)
	}
	return u
}

// Size is how many bytes have been written.
func (u *Upload) Size() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.written
}

// Write implements io.Writer. It takes everything, always.
func (u *Upload) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(p)
	for len(p) > 0 && u.file != nil {
		buf := u.store.chunks.get()
		part := copy(buf, p)
		p = p[part:]
		if !u.reserve(u.written + int64(part)) {
			u.store.chunks.put(buf)
			u.discard()
			break
		}
		if _, err := u.file.Write(buf[:part]); err != nil {
			u.store.chunks.put(buf)
			u.store.degrade(err)
			u.discard()
			break
		}
		before := u.written
		u.written += int64(part)
		u.hash.add(buf[:part])
		if from := before - before%writeback; u.written-from >= writeback {
			startWriteback(u.file, from, writeback)
		}
	}
	return n, nil
}

func (u *Upload) reserve(n int64) bool {
	if n <= u.reserved {
		return true
	}
	s := u.store
	want := n + farAhead - n%farAhead
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.admits(n) || !s.reserve(want-u.reserved, true) {
		return false
	}
	u.reserved = want
	return true
}

// Commit keeps what was written as the blob d. What has another digest is
// ErrWrongContent. The upload is over.
func (u *Upload) Commit(d digest.Digest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer u.discard()
	if err := checkDigest(d); err != nil {
		return err
	}
	if u.file == nil {
		return nil
	}
	got := digest.NewDigest(digest.SHA256, u.hash.wait())
	if d.Algorithm() != digest.SHA256 {
		var err error
		if got, err = d.Algorithm().FromReader(io.NewSectionReader(u.file, 0, u.written)); err != nil {
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
	if err := u.store.commit(d, u.file, u.written, u.reserved); err != nil {
		u.store.degrade(err)
		return nil
	}
	u.reserved = 0
	u.file.Close()
	u.file = nil
	return nil
}

// Discard ends an upload that is not to be kept. It may be called again.
func (u *Upload) Discard() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.discard()
}

func (u *Upload) discard() {
	u.hash.wait()
	if u.file != nil {
		os.Remove(u.file.Name())
		u.file.Close()
		u.file = nil
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	u.store.reserved -= u.reserved
	u.reserved = 0
}
