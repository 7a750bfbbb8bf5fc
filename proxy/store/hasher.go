package store

import (
	"hash"
	"sync"
)

// hasher hashes the bytes of a transfer in a goroutine of its own, so that the next
// bytes are received and written meanwhile. Its methods are for one goroutine.
type hasher struct {
	hash hash.Hash
	pool *chunkPool
	full chan []byte   // chunks to be hashed; nil: the goroutine does not run
	done chan struct{} // closed when the goroutine has ended
}

// ahead is how many chunks may wait to be hashed.
const ahead = 2

// chunkPool is a pool of the buffers that transfers receive into.
type chunkPool struct{ pool sync.Pool }

// get returns a buffer of chunk bytes.
func (p *chunkPool) get() []byte {
	if c, ok := p.pool.Get().(*[chunk]byte); ok {
		return c[:]
	}
	return new([chunk]byte)[:]
}

// put returns a buffer that get returned, however much of it is used.
func (p *chunkPool) put(b []byte) { p.pool.Put((*[chunk]byte)(b[:chunk])) }

// add hashes a chunk, and puts its buffer back into the pool.
func (h *hasher) add(b []byte) {
	if h.full == nil {
		h.full, h.done = make(chan []byte, ahead), make(chan struct{})
		go func() {
			defer close(h.done)
			for b := range h.full {
				h.hash.Write(b)
				h.pool.put(b)
			}
		}()
	}
	h.full <- b
}

// wait waits until every chunk is hashed, and returns the hash.
func (h *hasher) wait() hash.Hash {
	if h.full != nil {
		close(h.full)
		<-h.done
		h.full = nil
	}
	return h.hash
}
