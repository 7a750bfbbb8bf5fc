package touch

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// heardOf begins the key of how far a datacenter's edge has heard. No repo begins so.
const heardOf = "@"

// key is the pull in state.
func (p Pull) key() string { return p.Repo + "\x00" + p.Tag + "\x00" + p.Digest.String() }

func parseKey(key string) (p Pull, ok bool) {
	parts := strings.Split(key, "\x00")
	if len(parts) != 3 {
		return p, false
	}
	p = Pull{parts[0], parts[1], digest.Digest(parts[2])}
	return p, p.valid()
}

// load reads what was kept. All that is owed is due, a little apart.
func (t *Toucher) load() {
	if t.cfg.State == nil {
		return
	}
	t.cfg.State.EachTouch(func(key string, value []byte) {
		e := &entry{}
		if json.Unmarshal(value, e) != nil {
			return
		}
		t.last = max(t.last, e.Position)
		if datacenter, ok := strings.CutPrefix(key, heardOf); ok {
			t.heard[datacenter] = e.Position
			return
		}
		p, ok := parseKey(key)
		if !ok {
			return
		}
		t.entries[p] = e
		if e.Position > 0 {
			t.log = append(t.log, told{e.Position, p})
		}
		if e.Owed {
			t.schedule(p, e, settle*t.cfg.Pace)
		}
	})
	slices.SortFunc(t.log, func(a, b told) int { return cmp.Compare(a.position, b.position) })
}

// save keeps an entry across a restart; t.mu is held.
func (t *Toucher) save(p Pull, e *entry) {
	if t.cfg.State == nil {
		return
	}
	text, _ := json.Marshal(e) // numbers: no error
	t.cfg.State.PutTouch(p.key(), text, e.at())
}

func (t *Toucher) saveHeard(datacenter string, position uint64) {
	if t.cfg.State == nil {
		return
	}
	text, _ := json.Marshal(entry{Position: position}) // numbers: no error
	t.cfg.State.PutTouch(heardOf+datacenter, text, t.cfg.Now())
}

// forget drops an entry; t.mu is held.
func (t *Toucher) forget(p Pull) {
	delete(t.entries, p)
	if t.cfg.State != nil {
		t.cfg.State.PutTouch(p.key(), nil, time.Time{})
	}
}

// sweep forgets what Harbor and all peers have been shown, once the interval is over. It reports
// whether there is more: clients wait for it.
func (t *Toucher) sweep() (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, every, off, level, forgot := t.cfg.Now(), t.cfg.Every(), t.off(), t.level(), 0
	for p, e := range t.entries {
		if forgot == maxSwept {
			return true
		}
		if off || !t.isOpen(e, level) && now.Sub(e.at()).Abs() >= every {
			t.forget(p)
			forgot++
		}
	}
	t.log = slices.DeleteFunc(t.log, func(l told) bool {
		e := t.entries[l.pull]
		return l.position <= level || e == nil || e.Position != l.position
	})
	return false
}

// isOpen reports whether Harbor, or a peer, has not been shown a pull; t.mu is held.
func (t *Toucher) isOpen(e *entry, level uint64) bool { return e.Owed || e.Position > level }

// makeRoom drops the oldest tenth where there are too many entries, those first that
// everybody has been shown; t.mu is held.
func (t *Toucher) makeRoom() {
	if len(t.entries) < maxEntries {
		return
	}
	level, lost := t.level(), 0
	rank := func(e *entry) int64 {
		if t.isOpen(e, level) {
			return e.At
		}
		return e.At - 1<<62
	}
	ranks := make([]int64, 0, len(t.entries))
	for _, e := range t.entries {
		ranks = append(ranks, rank(e))
	}
	slices.Sort(ranks)
	goes, newest := len(ranks)/10, ranks[len(ranks)/10]
	for p, e := range t.entries {
		if rank(e) > newest || goes == 0 {
			continue
		}
		goes--
		if t.isOpen(e, level) {
			lost++
		}
		t.forget(p)
	}
	if lost > 0 {
		t.metrics.touched.WithLabelValues(resultDropped).Add(float64(lost))
		t.cfg.Log.Warn("more was pulled than Harbor can be shown; the oldest pulls are not, and its retention may delete what they were of", "dropped", lost)
	}
}
