package store

import (
	"slices"
	"time"
)

// rota keeps which of a transfer's sources is asked next. It is the first one, until that
// one refuses or breaks off. Nothing that sources do makes it ask one of them often: how
// soon a source is asked again, and how often, depends on what its last attempts brought.
type rota struct {
	sources []Source
	at      int     // the number of the current source, modulo their number
	brought []int   // the numbers of the sources that had a part in the body
	tries   []tries // of each source; nil: no attempt has broken off
	came    int64   // bytes since tries were last forgotten
}

// tries are a source's last attempts.
type tries struct {
	short int       // how many in a row brought less than leastProgress
	due   time.Time // when the source may be asked again
}

const (
	maxResumes = 3 // how often a source is asked again in a row after it brought less than leastProgress
	// resumeWait is the least time before a source that broke off is asked again. It
	// doubles with each attempt in a row that brought less than leastProgress.
	resumeWait = 200 * time.Millisecond
)

// current returns the source to ask.
func (r *rota) current() Source { return r.sources[r.at%len(r.sources)] }

// takePart notes that the current source had a part in the body: it sent some of the
// bytes, or it ended the body where it ends. Where the body is wrong, either may be
// the wrong part.
func (r *rota) takePart() { r.took(r.at % len(r.sources)) }

// took is takePart for the source of that number.
func (r *rota) took(at int) {
	if !slices.Contains(r.brought, at) {
		r.brought = append(r.brought, at)
	}
}

// brokeOff notes that an attempt at the current source brought n bytes and broke off, and
// chooses the source to ask next. A source that brought farAhead bytes, or that is the
// only one, is asked again; otherwise the next one is. wait says how long the caller
// must pause before. A source that brought too little too often is given up, until
// farAhead more bytes have come. ok is false when every source is given up.
func (r *rota) brokeOff(n int64) (wait time.Duration, ok bool) {
	if n > 0 {
		r.takePart()
	}
	if r.came += n; r.came >= farAhead || r.tries == nil {
		r.came, r.tries = 0, make([]tries, len(r.sources))
	}
	last := &r.tries[r.at%len(r.sources)]
	if last.short++; n >= leastProgress {
		last.short = 0
	}
	last.due = time.Now().Add(resumeWait << max(0, last.short-1))
	if n < farAhead {
		r.at++
	}
	for range r.sources {
		if next := r.tries[r.at%len(r.sources)]; next.short <= maxResumes {
			return time.Until(next.due), true
		}
		r.at++
	}
	return 0, false
}

// verified calls Verified of the sources that had a part in the body.
func (r *rota) verified() {
	for _, at := range r.brought {
		if tell := r.sources[at].Verified; tell != nil {
			tell()
		}
	}
}
