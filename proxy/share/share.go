// Package share divides what there is only so much of, as memory, among those who take it:
// no one gets more than its share, and all together no more than there is.
package share

import (
	"errors"
	"io"
	"sync"
)

// Shares are so many of something. Safe for concurrent use.
type Shares struct {
	most, each int64

	mu    sync.Mutex
	taken int64
	by    map[string]int64 // of those who have taken something
}

// New returns Shares of which all together may take so many, and each no more than its share.
func New(most, each int64) *Shares {
	return &Shares{most: most, each: each, by: map[string]int64{}}
}

// Take takes n for somebody. It returns false where there are not so many left.
func (s *Shares) Take(who string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.most-s.taken || n > s.each-s.by[who] {
		return false
	}
	s.taken += n
	s.by[who] += n
	return true
}

// Give gives back n that were taken.
func (s *Shares) Give(who string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken -= n
	if s.by[who] -= n; s.by[who] == 0 {
		delete(s.by, who)
	}
}

// Taken is how many are taken now.
func (s *Shares) Taken() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// ErrNone says that nothing is left of Shares.
var ErrNone = errors.New("too much is on its way at once")

// part is how many bytes a Reader takes at a time.
const part = 64 << 10

// Reader reads, and takes of Shares the bytes that it reads, until it is closed. Its Read
// returns ErrNone where nothing is left of them.
type Reader struct {
	io.Reader
	shares      *Shares
	who         string
	taken, read int64
}

// Reader returns a Reader that takes for somebody. It must be closed.
func (s *Shares) Reader(who string, r io.Reader) *Reader {
	return &Reader{Reader: r, shares: s, who: who}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.read == r.taken {
		if !r.shares.Take(r.who, part) {
			return 0, ErrNone
		}
		r.taken += part
	}
	n, err := r.Reader.Read(p[:min(int64(len(p)), r.taken-r.read)])
	r.read += int64(n)
	return n, err
}

// Close gives back what was taken.
func (r *Reader) Close() {
	r.shares.Give(r.who, r.taken)
	r.taken, r.read = 0, 0
}
