package store

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// FillReport is how far a fill is.
type FillReport struct {
	Digest  digest.Digest
	Owner   string    // of its sources (Source.Owner)
	Size    int64     // in bytes; -1: no source has said it
	Bytes   int64     // that are in its file, in whatever order they came
	Sources []string  // who brings it now; none: it waits for an answer
	Bodies  int       // that bring it at once
	Readers int       // that share it
	Spare   bool      // nobody has asked for the blob yet
	Begun   time.Time // when it was begun
}

// Fills says how far the fills are that new readers would join, in no order. It waits for no
// disk and holds no fill up.
func (s *Store) Fills() []FillReport {
	type running struct {
		f     *fill
		spare bool
	}
	s.mu.Lock()
	all := make([]running, 0, len(s.fills))
	for _, f := range s.fills {
		all = append(all, running{f, f.spare})
	}
	s.mu.Unlock()
	reports := make([]FillReport, len(all))
	for i, r := range all {
		reports[i] = r.f.report()
		reports[i].Spare = r.spare
	}
	return reports
}

// report says how far the fill is.
func (f *fill) report() FillReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := FillReport{Digest: f.digest, Size: f.size, Bytes: f.parts.came, Readers: f.users, Begun: f.begun}
	if len(f.rota.sources) > 0 {
		r.Owner = f.rota.sources[0].Owner
	}
	if !f.over { // the transfer uses it too
		r.Readers--
	}
	if !f.started || f.over {
		return r
	}
	r.Sources, r.Bodies = []string{f.asked.Name}, 1+f.parts.bodies
	for at, n := range f.parts.asked {
		if name := f.rota.sources[at].Name; n > 0 && !slices.Contains(r.Sources, name) {
			r.Sources = append(r.Sources, name)
		}
	}
	slices.Sort(r.Sources[1:])
	return r
}
