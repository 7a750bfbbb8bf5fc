package fetch

import (
	"io"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// reading is how the bytes are read that a source says are encoded. Its label may be of a
// file that is compressed by itself, or of what was done to the bytes on the way.
type reading int

const (
	asItSeems reading = iota // by what is known of the blob's length
	asItIs
	decoded
)

// maxDecoded is how long a blob may be that a source sends encoded, in bytes, where no
// manifest of the repo says how long it is.
const maxDecoded = 1 << 30

// size is the blob's length as the repo's manifests name it, in bytes; -1: they do not.
func (t *transfer) size() int64 {
	if size, ok := t.f.sizes.Get(named{t.q.Request.Repo, t.q.Request.Digest}); ok {
		return size
	}
	return -1
}

// readingOf is how a source is read that is asked now.
func (t *transfer) readingOf(s source.Step, as reading) reading {
	t.mu.Lock()
	defer t.mu.Unlock()
	if as == asItSeems {
		return t.reads[s.Name]
	}
	return as
}

// decide chooses how a source's bytes are read for the whole transfer. What is compressed
// on the way has no length, or another one than the blob's.
func (t *transfer) decide(s source.Step, body store.Body) reading {
	t.mu.Lock()
	defer t.mu.Unlock()
	as, known := t.reads[s.Name]
	if !known {
		if as = asItIs; body.Size < 0 || t.size() >= 0 && body.Size != t.size() {
			as = decoded
		}
		t.reads[s.Name] = as
	}
	return as
}

// read is a body whose bytes are said to be encoded. Unless its length settles how they are
// meant it is doubtful, and the other reading is tried where this one is wrong.
func (t *transfer) read(s source.Step, others bool, as reading, body store.Body) store.Body {
	other := asItIs
	if t.readingOf(s, as) == asItIs {
		if other = decoded; body.Size >= 0 && body.Size == t.size() {
			return body
		}
	} else {
		most := t.size()
		if most < 0 {
			most = maxDecoded
		}
		body.ReadCloser = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(registry.Decoded(body.ReadCloser), most+1), body.ReadCloser}
		body.Offset, body.Size = 0, -1
	}
	body.Doubtful = true
	if as == asItSeems {
		otherwise := t.sourceOf(s, others, other)
		body.Otherwise = &otherwise
	}
	return body
}
