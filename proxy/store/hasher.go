package store

import (
	"hash"
	"sync"
)

// hasher hashes a transfer's bytes beside the transfer: the next are received
// and written meanwhile. It is for one goroutine.
type hasher struct {
	hash hash.Hash
	pool *chunkPool
	full chan []byte // to be hashed; nil: nothing is under way
	done chan struct{}
}

// ahead is how many chunks wait to be hashed at most.
const ahead = 2

// chunkPool has the buffers that transfers receive into.
type chunkPool struct{ pool sync.Pool }

func (p *chunkPool) get() []byte {
	if c, ok := p.pool.Get().(*[chunk]byte); ok {
		return c[:]
	}
	return new([chunk]byte)[:]
}

func (p *chunkPool) put(b []byte) { p.pool.Put((*[chunk]byte)(b[:chunk])) }

// add takes the chunk over.
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

// wait returns the hash of all that was added.
func (h *hasher) wait() hash.Hash {
	if h.full != nil {
		close(h.full)
		<-h.done
		h.full = nil
	}
	return h.hash
}
