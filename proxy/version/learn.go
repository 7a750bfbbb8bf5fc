package version

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Announced is a record as edges tell each other of it.
type Announced struct {
	Repo      string `json:"repo"`
	Reference string `json:"ref"`
	Record
	// Manifest is the record's, where it is small and new: who has heard of a version can
	// serve it, whatever becomes of the edge that announced it.
	Manifest []byte `json:"manifest,omitempty"`
	// Past are digests that the reference was before, or would have been had it not been
	// overtaken, the latest first. A Harbor may yet tell of them.
	Past []digest.Digest `json:"past,omitempty"`
	// Own, of a log, says that this edge tells the others.
	Own bool `json:"-"`
}

const (
	maxMediaType = 255 // bytes (RFC 6838, section 4.2: 127 for each of its two names)
	maxKnew      = 1000
	maxTold      = 8 // digests of the past
)

// Key is the reference.
func (a Announced) Key() Key { return Key{a.Repo, a.Reference} }

// Valid reports whether it can be a record at all: an edge announces no other.
func (a Announced) Valid() bool {
	return a.Version.valid() && (a.Digest == "" || a.Digest.Validate() == nil) && a.Key().valid() && len(a.MediaType) <= maxMediaType && len(a.Knew) <= maxKnew &&
		len(a.Past) <= maxTold && !slices.ContainsFunc(a.Past, func(d digest.Digest) bool { return d.Validate() != nil })
}

// Learn takes over what the edge of another datacenter says, as far as it is newer than what is known, and
// returns what it took. claimed says that it is not yet certain that the edge serves it.
// heard is how far its log has been heard then, or is made that; nil: what is said is not of its log.
func (l *Ledger) Learn(by string, all []Announced, claimed bool, heard *Heard) (taken []Announced) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if heard != nil && !l.hasRoom(len(all)) { // to be told again: a restart would not know of it
		*heard = l.HeardOf(heard.Datacenter)
		return nil
	}
	if heard != nil && heard.anew != l.anew { // it is heard from its beginning meanwhile
		heard = nil
	}
	entries := map[Key]entry{}
	var late []Announced
	own := false
	for _, a := range all {
		l.clock.saw(a.Version)
		key := a.Key()
		if l.cfg.Since != nil && a.Version.before(l.cfg.Since(a.Repo)) {
			continue
		}
		e, ok := entries[key]
		if !ok {
			e = l.known(key)
		}
		switch {
		case key.IsTag() && e.Known() && !e.Unproven && a.Version.Newer(e.Version) && (e.overtook(a) || l.returns(e, a)):
			entries[key], own = l.succeed(e, l.confirm(e.Record, a.Record), false, ""), true
		case key.IsTag() && a.follows(e.Record) && !e.follows(a.Record) && e.Version.Newer(a.Version):
			entries[key], own = l.succeed(e, l.confirm(a.Record, e.Record), false, ""), true
		case e.buries(key) && a.Deleted() && (a.Version.Newer(e.Version) || !e.Knew.covers(a.Knew)):
			entries[key] = l.join(e, a.Record, claimed, by)
		case a.Version.Newer(e.Version):
			entries[key] = l.succeed(e, a.Record, claimed, by)
		case a.Version == e.Version && e.Unproven && !claimed && a.Digest == e.Digest: // it is certain now
			e.Unproven, e.Before = false, nil
			entries[key] = e
		default:
			late = append(late, a)
			continue
		}
		taken = append(taken, a)
		e = entries[key]
		e.Past = e.with(a.Past)
		entries[key] = e
		l.revive(entries, key)
	}
	if len(entries) > 0 {
		l.apply(entries, own, heard)
	}
	l.overtaken(false, late...)
	if heard != nil { // what says nothing new need not be on disk: it may come again
		l.mu.Lock()
		l.heard[heard.Datacenter] = *heard
		l.mu.Unlock()
	}
	return taken
}

// buries reports whether the entry of a key is a delete of a digest.
func (e entry) buries(key Key) bool { return !key.IsTag() && e.Known() && e.Deleted() }

// join makes the entry of two deletes of one digest, where each edge may have known pushes that
// the other did not: what either took along is deleted. Those who have heard of one alone are told.
func (l *Ledger) join(e entry, r Record, claimed bool, by string) entry {
	knew := r.Knew
	if e.Version.Newer(r.Version) || by != "" && e.Version == r.Version {
		e.Knew, e.Relayed = e.Knew.And(knew), e.Relayed || by == "" && e.By != ""
		return e
	}
	r.Knew = knew.And(e.Knew)
	next := l.succeed(e, r, claimed, by)
	next.Relayed = next.Relayed || by != "" && e.own() && !knew.covers(e.Knew)
	return next
}

// overtook reports whether what is known has replaced the announced version already,
// though that has the later time: the edge that made what is known knew it; or, where
// neither knew the other, its digest was shown here before there was a version.
func (e entry) overtook(a Announced) bool {
	if a.follows(e.Record) { // where each knew the other, as confirmed by two edges, the later time decides
		return false
	}
	return e.follows(a.Record) || !a.Deleted() && a.Digest != e.Digest && a.root() != e.root() && slices.Contains(e.Seen, a.Digest)
}

// returns reports whether what another edge found at its Harbor is what the reference is
// known to have been before: the Harbor told late of a push that was overtaken, and that
// edge had not heard of it.
func (l *Ledger) returns(e entry, a Announced) bool {
	return a.Adopted && slices.Contains(e.Past, a.Digest) && (!a.follows(e.Record) || !l.Deleted(a.Repo, e.Record))
}

// confirm gives the newer of two records a version that is newer for everybody, and no
// newer than it has to be: others may have begun since.
func (l *Ledger) confirm(r, older Record) Record {
	r.Root, r.Knew, r.Adopted = r.root(), r.all().And(older.all()), false
	r.Version = Version{max(older.Version.Time, r.Knew[l.cfg.Datacenter]) + 1, l.cfg.Datacenter}
	return r
}

// HeardOf returns how far the log of another datacenter's edge has been heard.
func (l *Ledger) HeardOf(datacenter string) Heard {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.heard[datacenter]
	if !ok && l.anew == 0 {
		h = l.cfg.State.HeardOf(datacenter)
		l.heard[datacenter] = h
	}
	h.Datacenter, h.anew = datacenter, l.anew
	return h
}

// HearAnew has the logs of all others heard from their beginnings: some of what they said was not
// for this edge when they said it, and is now. The error says that a restart will not know.
func (l *Ledger) HearAnew() error {
	l.writing.Lock() // what is being learned is of before
	defer l.writing.Unlock()
	l.mu.Lock()
	l.anew++
	l.heard = map[string]Heard{}
	l.mu.Unlock()
	return l.cfg.State.ForgetHeard()
}

// Withdraw takes a claimed record back: the edge that announced it does not serve it.
func (l *Ledger) Withdraw(key Key, v Version) bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	e := l.get(key)
	if !e.Unproven || e.Version != v || e.Before == nil {
		return false
	}
	l.apply(map[Key]entry{key: {Record: *e.Before, Past: e.Past, Seen: e.Seen, Touched: l.cfg.Now().Unix()}}, false, nil)
	return true
}

// Retire forgets a record of which no Harbor of the fleet has anything any more. It is no
// delete: nobody is told.
func (l *Ledger) Retire(key Key, v Version) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.get(key).Version == v {
		l.apply(map[Key]entry{key: {}}, false, nil)
	}
}

// Each calls do with every record, tombstones among them. claimedBy is the
// datacenter whose edge has yet to show that it serves it; "": it is certain.
func (l *Ledger) Each(do func(key Key, r Record, claimedBy string)) {
	l.cfg.State.EachVersioned("", func(text string, value []byte) {
		if key, e := parseKey(text), decode(value); e.Known() && !l.isEarlier(key, e) {
			do(key, e.Record, e.claimedBy())
		}
	})
}

// Claim returns a record that an edge has announced and not yet shown that it serves, and
// that edge's datacenter; "": the record is certain.
func (l *Ledger) Claim(key Key) (r Record, by string) {
	e := l.get(key)
	return e.Record, e.claimedBy()
}

// claimedBy is the datacenter whose edge has announced what it has not shown yet.
func (e entry) claimedBy() string {
	if e.Unproven && e.By == "" {
		return e.Version.Datacenter
	}
	if e.Unproven {
		return e.By
	}
	return ""
}

// Expire forgets the records that nobody has asked about for KeepFor.
func (l *Ledger) Expire() {
	oldest := l.cfg.Now().Add(-KeepFor).Unix()
	old := map[Key]entry{}
	l.cfg.State.EachVersioned("", func(text string, value []byte) {
		if decode(value).Touched < oldest {
			old[parseKey(text)] = entry{}
		}
	})
	l.writing.Lock()
	defer l.writing.Unlock()
	for key := range old {
		if l.get(key).Touched >= oldest {
			delete(old, key)
		}
	}
	if len(old) > 0 {
		l.apply(old, false, nil)
	}
}

// Since returns what this edge has written down after a position of its log, so many
// records at most, and where that ends; last is the log's last position.
func (l *Ledger) Since(position uint64, most int) (all []Announced, until, last uint64) {
	until = position
	barren := position
	last = l.cfg.State.Since(position, most, func(at uint64, text string, value []byte) {
		key, e := parseKey(text), decode(value)
		until = at
		own := e.own()
		if own {
			l.barren.note(barren, at-1)
			barren = at
		}
		if e.Unproven { // what is claimed is its own edge's to announce; what it replaces may not have been heard of
			e.Record = *e.Before
		}
		if e.Known() && !l.isEarlier(key, e) {
			all = append(all, Announced{Repo: key.Repo, Reference: key.Reference, Record: e.Record, Past: e.Past[:min(len(e.Past), maxTold)], Own: own})
		}
	})
	l.barren.note(barren, until)
	return all, until, last
}

// Run names this edge's log, and this run over it.
func (l *Ledger) Run() Run { return l.run }

func parseKey(text string) Key {
	repo, reference, _ := strings.Cut(text, "\x00")
	return Key{repo, reference}
}

// Clock is what this edge's clock says now, newer than all that it has seen.
func (l *Ledger) Clock() int64 { return l.clock.next().Time }

// Late reports whether what another edge's clock said is so long ago that it does not wait
// for an answer any more. A clock that is far off says nothing.
func (l *Ledger) Late(t int64) bool {
	ms := (l.clock.next().Time - t) >> counterBits
	return ms > lateAfter && ms < maxAhead
}

// Hear takes note of what another edge's clock says now: what is written from now on is
// newer. It reports whether that can be a clock's word.
func (l *Ledger) Hear(t int64) bool {
	if t <= 0 || t >= maxTime {
		return false
	}
	l.clock.hear(t)
	return true
}

// Datacenter is whose edge this is.
func (l *Ledger) Datacenter() string { return l.cfg.Datacenter }
