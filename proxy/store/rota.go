package store

import (
	"slices"
)

// rota keeps which of a fill's sources is asked next. It is the first one, until that one
// refuses or breaks off.
type rota struct {
	sources []Source
	at      int   // the number of the current source, modulo their number
	brought []int // the numbers of the sources that had a part in the body
	idle    int   // attempts since the last byte
}

// current returns the source to ask.
func (r *rota) current() Source { return r.sources[r.at%len(r.sources)] }

// progress notes that an attempt at the current source brought n bytes.
func (r *rota) progress(n int64) {
	if n == 0 {
		r.idle++
		return
	}
	r.idle = 0
	r.takePart()
}

// takePart notes that the current source had a part in the body: it sent some of the
// bytes, or it ended the body where it ends. Where the body is wrong, either may be
// the wrong part.
func (r *rota) takePart() {
	if at := r.at % len(r.sources); !slices.Contains(r.brought, at) {
		r.brought = append(r.brought, at)
	}
}

// next chooses the source to ask after an attempt that brought n bytes and broke off.
// A source that brought farAhead bytes, or that is the only one, is asked again;
// otherwise the next one is. wait says that the caller must pause before: the source
// is the same, or every source was asked since the last byte. ok is false when every
// source was asked often enough without a byte.
func (r *rota) next(n int64) (wait, ok bool) {
	same := n >= farAhead || len(r.sources) == 1
	if !same {
		r.at++
	}
	return same || r.idle > 0 && r.idle%len(r.sources) == 0, r.idle <= maxResumes*len(r.sources)
}

// verified calls Verified of the sources that had a part in the body.
func (r *rota) verified() {
	for _, at := range r.brought {
		if tell := r.sources[at].Verified; tell != nil {
			tell()
		}
	}
}
