package version

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
)

// State keeps the ledger across restarts. Values are opaque to it. Each that is written
// gets the next position of a log, in which a key stands once: where it was written last.
type State interface {
	// Versioned returns the value of a key, nil for none. ok is false where the disk does
	// not answer.
	Versioned(key string) (value []byte, ok bool)
	// EachVersioned calls do with every key that begins with the prefix.
	EachVersioned(prefix string, do func(key string, value []byte))
	// PutVersioned writes all values, nil to remove one, and how far another edge's log has
	// been heard. It is on disk when it returns.
	PutVersioned(values map[string][]byte, heard *Heard) error
	// TouchVersioned replaces the value of a key where it is in the log.
	TouchVersioned(key string, value []byte) error
	// Since calls do with what was written after a position, in order, at most so many
	// times, and returns the log's last position.
	Since(position uint64, most int, do func(position uint64, key string, value []byte)) (last uint64)
	// Epoch names the log: a state that was lost begins another one.
	Epoch() string
	// HeardOf returns how far the log of another datacenter's edge has been heard.
	HeardOf(datacenter string) Heard
	// ForgetHeard forgets how far all others have been heard. It is on disk when it returns.
	ForgetHeard() error
}

// Heard is how far the log of another datacenter's edge has been heard.
type Heard struct {
	Datacenter string `json:"-"`
	Epoch      string `json:"e"`
	Run        string `json:"r"` // in which it said so
	Position   uint64 `json:"p"`
	anew       int    // how often all was to be heard anew by then
}

// Run is one run of an edge over its log. Who has heard more than was there when the run
// began knows that the log was put back to what it was once.
type Run struct {
	Epoch string `json:"epoch"` // names the log
	Run   string `json:"run"`
	Start uint64 `json:"start"` // the log's last position then
}

// entry is a record, and what it may be taken back to.
type entry struct {
	Record
	// Unproven says that another edge announced the record, and has not yet shown that it
	// serves it. Before is what the record replaced.
	Unproven bool            `json:"c,omitempty"`
	By       string          `json:"y,omitempty"` // the datacenter whose edge said so; "": this edge made it
	Relayed  bool            `json:"o,omitempty"` // this edge tells the others all the same
	Before   *Record         `json:"b,omitempty"`
	Past     []digest.Digest `json:"p,omitempty"` // digests that the reference had before, the latest first
	Seen     []digest.Digest `json:"n,omitempty"` // digests that clients were shown here before there was a version
	Touched  int64           `json:"s"`           // when it was last written or used, in s since 1970
}

// own reports whether this edge tells the others.
func (e entry) own() bool { return e.By == "" || e.Relayed }

// Ledger keeps the newest version of each reference. Safe for concurrent use.
type Ledger struct {
	cfg   Config
	clock clock
	run   Run

	barren  barren
	writing sync.Mutex // held by who writes, while the disk does; readers do not wait for it

	mu      sync.Mutex
	entries *lru.Cache[Key, entry] // zero: there is none
	shown   *lru.Cache[Key, shown]
	unsaved map[Key]entry    // that the disk did not take
	heard   map[string]Heard // by datacenter
	anew    int              // how often all was to be heard anew: what is not in heard is not heard then, whatever State says
	failed  bool
}

// Config is what a Ledger needs.
type Config struct {
	Datacenter string
	State      State // nil: a restart forgets
	Log        *slog.Logger
	Now        func() time.Time
	// Seen returns the digest that clients were last shown under a tag that has no version;
	// nil: that is not known.
	Seen func(Key) digest.Digest
	// Since returns when the repo's project was made again, zero where it was not: what is
	// older is of an earlier project, and counts for nothing. nil: projects are not told apart.
	Since func(repo string) time.Time
	// Changed is called with the references whose records have changed, when they are on disk
	// and before the call that changed them returns. own says that this edge made the
	// versions. It must not write to the Ledger. nil: nobody is told.
	Changed func(all map[Key]Record, own bool)
}

const (
	maxEntries = 1 << 16 // in memory
	maxUnsaved = 1 << 14
	maxPast    = 128
	maxSeen    = 8
	touchEvery = 24 * time.Hour
	// returnsWithin is longer than replications are late, and than an edge is cut off unseen.
	returnsWithin = 15 * time.Minute
	relayFor      = time.Minute

	// KeepFor is how long a record is kept that nobody asks about.
	KeepFor = 90 * 24 * time.Hour
)

// New returns the Ledger over its state.
func New(cfg Config) *Ledger {
	if cfg.State == nil {
		cfg.State = newMemory()
	}
	l := &Ledger{cfg: cfg, clock: clock{datacenter: cfg.Datacenter, now: cfg.Now}, unsaved: map[Key]entry{}, heard: map[string]Heard{}}
	l.entries, _ = lru.New[Key, entry](maxEntries) // the sizes are positive: no error
	l.shown, _ = lru.New[Key, shown](maxUnsaved)
	l.run = Run{Epoch: cfg.State.Epoch(), Run: rand.Text(), Start: cfg.State.Since(0, 0, nil)}
	cfg.State.EachVersioned("", func(_ string, value []byte) { l.clock.saw(decode(value).Version) })
	return l
}

// Get returns the record of a reference, the zero Record where there is none.
func (l *Ledger) Get(key Key) Record { return l.get(key).Record }

// Use is Get, for a client: a record that is in use is not forgotten.
func (l *Ledger) Use(key Key) Record {
	e := l.get(key)
	if now := l.cfg.Now().Unix(); e.Known() && now-e.Touched > int64(touchEvery/time.Second) {
		go l.touch(key, now) // nobody waits for the disk
	}
	return e.Record
}

// touch keeps a record that is in use from being forgotten.
func (l *Ledger) touch(key Key, now int64) {
	l.writing.Lock()
	defer l.writing.Unlock()
	e := l.get(key)
	if !e.Known() || e.Touched >= now {
		return
	}
	e.Touched = now
	l.mu.Lock()
	l.entries.Add(key, e)
	l.mu.Unlock()
	if err := l.cfg.State.TouchVersioned(key.String(), e.encode()); err != nil {
		l.cfg.Log.Warn("a version that is in use cannot be marked", "err", err.Error())
	}
}

// Claimed reports whether the record was announced by an edge that has not yet shown
// that it serves it.
func (l *Ledger) Claimed(key Key) bool { return l.get(key).Unproven }

// Had reports whether the reference is known to have been the digest before.
func (l *Ledger) Had(key Key, d digest.Digest) bool { return slices.Contains(l.get(key).Past, d) }

// Gone reports whether the digest was deleted from the repo, and not pushed since.
func (l *Ledger) Gone(repo string, d digest.Digest) bool {
	if !l.get(Buried(repo, d)).Known() {
		return false
	}
	revived := l.get(Revived(repo, d))
	return !revived.Known() || l.Deleted(repo, revived.Record)
}

// revive makes what is pushed and not deleted known by its digest too, where that was
// deleted once; l.writing is held. entries are about to be written.
func (l *Ledger) revive(entries map[Key]entry, key Key) {
	now := func(key Key) entry {
		if e, ok := entries[key]; ok {
			return e
		}
		return l.get(key)
	}
	live := func(r Record) {
		if buried := now(Buried(key.Repo, r.Digest)).Record; buried.Known() && !r.deletedBy(buried) && r.Version.Newer(now(Revived(key.Repo, r.Digest)).Version) {
			e := l.succeed(now(Revived(key.Repo, r.Digest)), r, false, entries[key].By)
			e.Relayed = e.Relayed || entries[key].Relayed
			entries[Revived(key.Repo, r.Digest)] = e
		}
	}
	switch r := entries[key].Record; {
	case r.Digest != "":
		live(r)
	case !key.IsTag(): // a delete: what it did not know stays
		l.each(key.Repo, func(_ Key, e entry) {
			if e.Digest == key.Digest() {
				live(e.Record)
			}
		})
	}
}

// Deleted reports whether a record of a pushed digest is deleted: itself, or its digest. A
// delete takes along what was known where it was made; a push that was not known there
// stays.
func (l *Ledger) Deleted(repo string, r Record) bool {
	if !r.Known() || r.Deleted() {
		return r.Known()
	}
	return r.deletedBy(l.get(Buried(repo, r.Digest)).Record)
}

// deletedBy reports whether a delete of the record's digest took it along.
func (r Record) deletedBy(buried Record) bool {
	return buried.Version.Newer(r.After) && (buried.Blind || buried.Knew.Has(r.root()))
}

// ChangedAt is when this edge heard of a record, or of the delete of its digest where that came later.
func (l *Ledger) ChangedAt(repo string, r Record) time.Time {
	at := r.At()
	if r.Digest == "" {
		return at
	}
	if buried := l.get(Buried(repo, r.Digest)); buried.At().After(at) { // a tag goes with its digest
		return buried.At()
	}
	return at
}

// shown is what clients were shown under a tag that has no version, the latest first.
type shown struct {
	all   []digest.Digest
	since time.Time // when the latest was shown first
}

// Shown notes that clients are shown a digest under a tag that has no version.
func (l *Ledger) Shown(key Key, d digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.shownOf(key)
	if !slices.Contains(seen.all, d) {
		l.shown.Add(key, shown{append([]digest.Digest{d}, seen.all[:min(len(seen.all), maxSeen-1)]...), l.cfg.Now()})
	}
}

// Instead returns the digest that clients were shown under a tag that has no version after
// they were shown d, a short while ago; "": none. Where edges have not heard of a version
// yet, what a Harbor goes back to was brought back by a late replication.
func (l *Ledger) Instead(key Key, d digest.Digest) digest.Digest {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.shownOf(key)
	if !slices.Contains(seen.all, d) || seen.all[0] == d || l.cfg.Now().Sub(seen.since) > returnsWithin {
		return ""
	}
	return seen.all[0]
}

func decode(text []byte) (e entry) {
	if json.Unmarshal(text, &e) != nil { // there is none, or it cannot be read
		return entry{}
	}
	return e
}

// save writes entries down, a zero entry to remove one; l.writing is held. What the disk
// does not take is kept in memory.
func (l *Ledger) save(entries map[Key]entry, heard *Heard) bool {
	values := map[string][]byte{}
	l.mu.Lock()
	for key, e := range l.unsaved {
		values[key.String()] = e.encode()
	}
	l.mu.Unlock()
	for key, e := range entries {
		values[key.String()] = e.encode()
	}
	err := l.cfg.State.PutVersioned(values, heard)
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range entries {
		l.entries.Add(key, e)
		if _, waits := l.unsaved[key]; err != nil && (waits || len(l.unsaved) < maxUnsaved) {
			l.unsaved[key] = e
		}
	}
	if err == nil {
		clear(l.unsaved)
	}
	if (err != nil) != l.failed {
		if l.failed = err != nil; l.failed {
			l.cfg.Log.Warn("versions of tags cannot be written down; a restart will forget what is new", "err", err.Error())
		}
	}
	return err == nil
}

// hasRoom reports whether so many entries more can be written down, or wait for the disk in
// memory; l.writing is held.
func (l *Ledger) hasRoom(entries int) bool {
	l.mu.Lock()
	waiting := len(l.unsaved)
	l.mu.Unlock()
	return waiting == 0 || waiting+entries <= maxUnsaved || l.save(nil, nil)
}

func (e entry) encode() []byte {
	if !e.Known() {
		return nil
	}
	text, _ := json.Marshal(e) // strings and numbers: no error
	return text
}

// succeed makes the entry that follows when r replaces e.
func (l *Ledger) succeed(e entry, r Record, claimed bool, by string) entry {
	r.Heard = l.cfg.Now().UnixMilli()
	next := entry{Record: r, Unproven: claimed, By: by, Past: e.Past, Seen: e.Seen, Touched: l.cfg.Now().Unix()}
	// some may not have heard of what it replaces: they hear of this
	next.Relayed = by != "" && e.own() && e.Known() && e.Age(l.cfg.Now()) < relayFor
	if e.Digest != "" && e.Digest != r.Digest {
		next.Past = before(e.Past, e.Digest, r.Digest)
	}
	switch replaced := e.Record; {
	case claimed && e.Unproven: // what was certain stays what it goes back to
		next.Before = e.Before
	case claimed:
		next.Before = &replaced
	}
	return next
}

// apply saves what replaces the records, and tells of it; l.writing is held. saved is
// false where the disk has not taken it.
func (l *Ledger) apply(entries map[Key]entry, own bool, heard *Heard) (saved bool) {
	saved = l.save(entries, heard)
	if l.cfg.Changed != nil {
		all := make(map[Key]Record, len(entries))
		for key, e := range entries {
			all[key] = e.Record
		}
		l.cfg.Changed(all, own)
	}
	return saved
}

// each calls do with all records of a repo.
func (l *Ledger) each(repo string, do func(Key, entry)) {
	l.mu.Lock()
	unsaved := maps.Clone(l.unsaved)
	l.mu.Unlock()
	for key, e := range unsaved {
		if key.Repo == repo && e.Known() && !l.isEarlier(key, e) {
			do(key, e)
		}
	}
	l.cfg.State.EachVersioned(Key{repo, ""}.String(), func(text string, value []byte) {
		key := parseKey(text)
		if _, waits := unsaved[key]; waits {
			return
		}
		if e := decode(value); e.Known() && !l.isEarlier(key, e) {
			do(key, e)
		}
	})
}

// Tags returns the records of a repo's tags; those that are deleted are tombstones.
func (l *Ledger) Tags(repo string) map[string]Record {
	all := map[string]Record{}
	l.each(repo, func(key Key, e entry) {
		if key.IsTag() {
			all[key.Reference] = e.Record
		}
	})
	for tag, r := range all {
		if l.Deleted(repo, r) {
			all[tag] = Record{Version: r.Version}
		}
	}
	return all
}
