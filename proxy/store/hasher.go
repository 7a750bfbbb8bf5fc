package store

import (
	"hash"
	"sync"
	"sync/atomic"

	"example.org/breakwater/proxy/disk"
)

// hasher hashes the bytes of a transfer in a goroutine of its own, so that the next
// bytes are received and written meanwhile. Its methods are for one goroutine.
type hasher struct {
	hash hash.Hash
	pool *chunkPool
	full chan []byte   // chunks to be hashed; nil: the goroutine does not run
	done chan struct{} // closed when the goroutine has ended

	at      atomic.Int64  // how many bytes are hashed, or waiting for it
	follows chan struct{} // closed when the goroutine that reads a file back has ended; nil: there is none
	err     error         // why that has not read all
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
	h.at.Add(int64(len(b)))
	h.full <- b
}

// wait waits until every chunk is hashed, and returns the hash.
func (h *hasher) wait() hash.Hash {
	if h.full != nil {
		close(h.full)
		<-h.done
		h.full = nil
	}
	if h.follows != nil {
		<-h.follows
	}
	return h.hash
}

// hashNext hashes the lead's next chunk, and puts its buffer back into the pool. Once there
// are parts, bytes do not come in order: they are read back from the file.
func (f *fill) hashNext(b []byte) {
	if f.hash.follows != nil {
		f.store.chunks.put(b)
		return
	}
	f.hash.add(b)
	f.mu.Lock()
	parted := f.parts.parted
	f.mu.Unlock()
	if parted {
		f.hash.wait()
		f.hash.follows = make(chan struct{})
		go f.hashFile()
	}
}

// hashFile hashes the file's bytes from the first one on that is not hashed, as they come, until
// the transfer has ended.
func (f *fill) hashFile() {
	h := &f.hash
	defer close(h.follows)
	for {
		at := h.at.Load()
		f.mu.Lock()
		end, over, changed := f.written, f.parts.over, f.changed
		f.mu.Unlock()
		switch {
		case at == end && over:
			return
		case at == end:
			<-changed
			continue
		case f.ctx.Err() != nil:
			h.err = f.ctx.Err()
			return
		}
		buf := f.store.chunks.get()
		n, err := disk.Do(f.store.disk, writePatience, func() (int, error) { return f.file.ReadAt(buf[:min(chunk, end-at)], at) }, nil)
		if n == 0 { // the buffer may be in use
			f.store.degrade(err)
			h.err = errNotKept
			f.parts.fail(finalError{errNotKept}) // what comes cannot be verified
			return
		}
		h.hash.Write(buf[:n])
		f.store.chunks.put(buf)
		h.at.Add(int64(n))
	}
}
