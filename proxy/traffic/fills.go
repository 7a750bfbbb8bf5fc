package traffic

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/store"
)

const maxFills = 200 // that are listed

// FillsReport is what comes into an edge's store now (GET /fills).
type FillsReport struct {
	Datacenter string    `json:"datacenter"`
	Time       time.Time `json:"time"`
	Count      int       `json:"count"`       // of all
	Bytes      int64     `json:"bytes"`       // of all, that are there
	BytesToGo  int64     `json:"bytes_to_go"` // of all, as far as their sizes are known
	Fills      []Fill    `json:"fills"`       // the largest, 200 at most
}

// Fill is one blob that comes.
type Fill struct {
	Digest  digest.Digest `json:"digest"`
	Project string        `json:"project,omitempty"` // for which it was begun
	Repo    string        `json:"repo,omitempty"`    // as far as that is known
	Size    int64         `json:"size"`              // in bytes; -1: no source has said it
	Bytes   int64         `json:"bytes"`             // that are there
	Rate    float64       `json:"rate"`              // bytes a second, of the last 10 to 20 s
	Sources []string      `json:"sources"`           // that bring it; none: it waits for an answer
	Bodies  int           `json:"bodies"`            // that bring it at once
	Readers int           `json:"readers"`           // clients and others that share it
	Warming bool          `json:"warming"`           // nobody has asked for it yet
	Since   time.Time     `json:"since"`
	Seconds float64       `json:"seconds"` // since then
}

// underway tells fills apart.
type underway struct {
	digest digest.Digest
	begun  time.Time
}

// sights are how many bytes of the fills there were at a time.
type sights struct {
	at    time.Time
	bytes map[underway]int64
}

// sight looks at the fills.
func (w *Watch) sight() sights {
	s := sights{at: w.cfg.Now(), bytes: map[underway]int64{}}
	for _, f := range w.cfg.Fills() {
		s.bytes[underway{f.Digest, f.Begun}] = f.Bytes
	}
	return s
}

// Fills is what comes into the store now.
func (w *Watch) Fills() FillsReport {
	all := w.cfg.Fills()
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.cfg.Now()
	r := FillsReport{Datacenter: w.cfg.Datacenter, Time: now.UTC(), Count: len(all), Fills: []Fill{}}
	for _, f := range all {
		r.Bytes += f.Bytes
		r.BytesToGo += max(0, f.Size-f.Bytes)
	}
	slices.SortFunc(all, func(a, b store.FillReport) int {
		return cmp.Or(cmp.Compare(max(b.Size, b.Bytes), max(a.Size, a.Bytes)), cmp.Compare(a.Digest, b.Digest))
	})
	for _, f := range all[:min(len(all), maxFills)] {
		project, _, _ := strings.Cut(f.Owner, " ")
		r.Fills = append(r.Fills, Fill{f.Digest, project, w.cfg.RepoOf(f.Digest), f.Size, f.Bytes, w.rate(f, now), append([]string{}, f.Sources...), f.Bodies, f.Readers, f.Spare, f.Begun.UTC(), now.Sub(f.Begun).Seconds()})
	}
	return r
}

// rate is how many bytes a second came of a fill since the sample before the last, or since it
// was begun; w.mu is held.
func (w *Watch) rate(f store.FillReport, now time.Time) float64 {
	since, bytes := f.Begun, int64(0)
	for _, s := range []sights{w.seen, w.before} { // the older one counts
		if n, ok := s.bytes[underway{f.Digest, f.Begun}]; ok {
			since, bytes = s.at, n
		}
	}
	if took := now.Sub(since).Seconds(); took > 0 {
		return float64(f.Bytes-bytes) / took
	}
	return 0
}
