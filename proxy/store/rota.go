package store

import (
	"slices"
)

// rota is whose turn it is of a transfer's sources: the first, until it refuses
// or breaks off.
type rota struct {
	sources []Source
	at      int
	brought []int // which of them had a part in the body
	idle    int   // attempts since the last byte
}

func (r *rota) current() Source { return r.sources[r.at%len(r.sources)] }

// progress notes what an attempt at the current source brought: n bytes.
func (r *rota) progress(n int64) {
	if n == 0 {
		r.idle++
		return
	}
	r.idle = 0
	r.takePart()
}

// takePart notes that the current source sent some of the body, or put its end
// where it is: that may be the lie.
func (r *rota) takePart() {
	if at := r.at % len(r.sources); !slices.Contains(r.brought, at) {
		r.brought = append(r.brought, at)
	}
}

// next says whose turn it is after an attempt that brought n bytes, and whether
// a moment is to pass before: the source is the same, or all have been asked
// since the last byte. A source that made way is asked again. ok is false when
// all have been asked often enough in vain.
func (r *rota) next(n int64) (wait, ok bool) {
	same := n >= farAhead || len(r.sources) == 1
	if !same {
		r.at++
	}
	return same || r.idle > 0 && r.idle%len(r.sources) == 0, r.idle <= maxResumes*len(r.sources)
}

// verified tells those who brought something that it was right.
func (r *rota) verified() {
	for _, at := range r.brought {
		if tell := r.sources[at].Verified; tell != nil {
			tell()
		}
	}
}
