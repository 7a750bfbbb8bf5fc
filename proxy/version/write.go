package version

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// Begun is a write that begins.
type Begun struct {
	Version Version // newer than all that the edge had seen
	Knew    Knew    // of the tag
	After   Version // the last delete of the digest that is pushed
	Adopted bool    // it was found at a Harbor
}

// Begin returns what is to be known of a write that begins now, of a tag, "" for none. Of
// two writes at once through this edge the one that began later is newer, however long
// each takes.
func (l *Ledger) Begin(repo, tag string) Begun {
	b := Begun{Version: l.clock.next()}
	if tag != "" {
		b.Knew = l.get(Key{repo, tag}).all()
	}
	return b
}

// Pushes returns b with the last delete of the digest that is being pushed.
func (l *Ledger) Pushes(repo string, d digest.Digest, b Begun) Begun {
	b.After = l.get(Buried(repo, d)).Version
	return b
}

// Write records that a push of the digest was accepted under a tag, or, where the tag is
// "", by the digest alone. It ends an older delete of the digest. newest is false where a
// push that began later is known already, or the disk has not taken it: then the peers do
// not hear of it.
func (l *Ledger) Write(repo, tag string, d digest.Digest, mediaType string, b Begun) (r Record, newest bool) {
	l.writing.Lock()
	defer l.writing.Unlock()
	r = Record{Digest: d, MediaType: mediaType, Version: b.Version, Knew: b.Knew, After: b.After, Adopted: b.Adopted}
	entries, of := map[Key]entry{}, Key{repo, tag}
	if tag == "" {
		of = Revived(repo, d)
	}
	buried := l.get(Buried(repo, d)).Record
	if tag == "" || r.After != (Version{}) || buried.Known() && !r.deletedBy(buried) { // the other edge may not have heard of the delete
		l.put(entries, Revived(repo, d), r)
	}
	if tag != "" {
		l.put(entries, of, r)
	}
	if _, newest = entries[of]; len(entries) > 0 {
		newest = l.apply(entries, true, nil) && newest
	}
	if tag != "" {
		l.overtaken(true, Announced{Repo: repo, Reference: tag, Record: r})
	}
	return r, newest
}

// put replaces an entry by a newer record, or by the same where only another edge has said
// so: that one's Harbor has taken it, and it was the first to tell.
func (l *Ledger) put(entries map[Key]entry, key Key, r Record) {
	if e := l.known(key); r.Version.Newer(e.Version) || r.Version == e.Version && r.Digest == e.Digest && (e.Unproven || e.By != "") {
		entries[key] = l.succeed(e, r, false, "")
	}
}

// known is the entry of a key, with what clients were shown before there was one.
func (l *Ledger) known(key Key) entry {
	e := l.get(key)
	if e.Known() || !key.IsTag() {
		return e
	}
	if l.cfg.Seen != nil {
		if d := l.cfg.Seen(key); d != "" {
			l.Shown(key, d)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.shownOf(key)
	e.Seen = seen.all
	return e
}

// Delete records that a delete was accepted, of a tag or, by the key Buried, of a digest:
// with it go the tags that were it until then. v is from when it began.
func (l *Ledger) Delete(key Key, v Version) {
	l.writing.Lock()
	defer l.writing.Unlock()
	entries := map[Key]entry{}
	if r := (Record{Version: v}); key.IsTag() {
		l.put(entries, key, r)
	} else {
		l.bury(entries, key, r)
	}
	if len(entries) > 0 {
		l.revive(entries, key)
		l.tell(entries, key)
		l.apply(entries, true, nil)
	}
}

// bury is put for the delete of a digest, which takes the known pushes of it along.
func (l *Ledger) bury(entries map[Key]entry, key Key, r Record) {
	e, last := l.get(key), r.Version
	if e.Version.Newer(last) { // one that began later is known already
		last = e.Version
	}
	r.Knew, r.Blind = l.pushesOf(key.Repo, key.Digest(), last)
	if last == r.Version || !e.Knew.covers(r.Knew) {
		entries[key] = l.join(e, r, false, "")
	}
}

// tell has the tags that go with a deleted digest told to the others, who may not have
// heard that they were it. Those that were claimed are certain from now on: clients were shown
// them here, and nobody can show any more that it serves them.
func (l *Ledger) tell(entries map[Key]entry, deleted Key) {
	if deleted.IsTag() {
		return
	}
	l.each(deleted.Repo, func(key Key, e entry) {
		if key.IsTag() && e.Digest == deleted.Digest() {
			e.Relayed, e.Unproven, e.Before = true, false, nil
			entries[key] = e
		}
	})
}

// pushesOf is which pushes of a digest are known, but for those that knew the delete; none says
// that there is no such version.
func (l *Ledger) pushesOf(repo string, d digest.Digest, deleted Version) (k Knew, none bool) {
	none = true
	var past Knew
	l.each(repo, func(key Key, e entry) {
		switch {
		case e.Digest == d:
			if none = false; deleted.Newer(e.After) {
				k = k.And(Knew{e.Version.Datacenter: e.Version.Time, e.root().Datacenter: e.root().Time})
			}
		case key.IsTag() && slices.Contains(e.Past, d): // which of the tag's versions it was is not written down
			past = past.And(e.all())
		}
	})
	if none && past != nil {
		return past, false
	}
	return k, none
}
