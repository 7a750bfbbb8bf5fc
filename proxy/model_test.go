package proxy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// This file is the reference model: what the clients of a fleet may be shown of a tag. It
// knows what clients did, through which edge, and what they were answered. It knows
// nothing of how edges work.
//
// Older. A write is older than another if the edge that took the other one knew it when
// the other began. An edge knows a write from the moment at which
//   - it has answered 2xx to it,
//   - a client was answered 2xx through another edge, and told that this one had
//     acknowledged it,
//   - it has shown the version that was written.
//
// It then knows all that is older than that, too. Two writes of which neither is older are
// concurrent, though one may have come an hour after the other: nobody had told its edge.
//
// Writes. A write that was answered 2xx has happened. Any other one may have happened or
// may happen yet, and is concurrent with everything that follows until it is seen.
// Deleting a digest takes away that version and what is older than it, and no other.
//
// The rules, by the letters that faults are reported with:
//
//	a  A pull that begins after a push or delete was answered 2xx, through its edge or
//	   one that had acknowledged it, never shows what is older.
//	b  Once an edge has shown a version it never shows an older one; once it has shown
//	   one of two concurrent versions after the other, it does not return to that.
//	c  What was deleted is not shown by an edge that knows of the delete, unless it was
//	   pushed again since.
//	d  When all is well, and everything that was under way has arrived, all edges and all
//	   Harbors agree about each tag: on a version that no acknowledged write is newer
//	   than and that was not deleted, or on none where it was.
//	e  404 is only for what was not pushed, or may have been deleted. An edge that was not
//	   told of a push says it for what it knows to be deleted, and for some seconds more
//	   if it asked everybody just before. 503 is only for times at which something is
//	   down. A digest that nobody has pushed is never shown.
//	f  What a Harbor lacks because of its retention, a backup or a rebuild is not deleted.
//	   (No client has done it, so the rules above say it.)
type model struct {
	mu   sync.Mutex
	now  int // grows with everything that happens
	tags map[string]*tagModel
}

// noFor is how long an edge that was told nothing may say no to what another has taken: it
// has asked before, and remembers that for some seconds.
const noFor = 10 * time.Second

// write is a push or a delete of a digest.
type write struct {
	id           int // among the writes of its tag
	remove       bool
	digest       digest.Digest
	edge         string
	began, ended int  // 0: not yet
	answered     bool // 2xx
	at           time.Time
	older        map[*write]bool
}

func (w *write) String() string {
	return fmt.Sprintf("%s %d of %s through %s", map[bool]string{false: "push", true: "delete"}[w.remove], w.id, short(w.digest), w.edge)
}

// tagModel is what was written to one tag, and what each edge is known to know of it.
type tagModel struct {
	writes  []*write
	known   map[string]map[*write]knowledge // by edge
	passed  map[string]map[*write]int       // by edge: since when it has moved on from a version
	retired map[digest.Digest]bool          // versions of before the last agreement
	removed bool                            // something was deleted since the tag was last agreed to be there
}

type knowledge struct {
	since int
	how   string
}

// fault is a rule that was broken.
type fault struct{ rule, what string }

func (f *fault) Error() string { return "rule " + f.rule + ": " + f.what }

func newModel() *model { return &model{tags: map[string]*tagModel{}} }

func short(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.Encoded()[:8]
}

// of is the model of one tag; m.mu is held.
func (m *model) of(tag string) *tagModel {
	t := m.tags[tag]
	if t == nil {
		t = &tagModel{retired: map[digest.Digest]bool{}}
		t.forget()
		m.tags[tag] = t
	}
	return t
}

func (t *tagModel) forget() {
	t.writes, t.known, t.passed = nil, map[string]map[*write]knowledge{}, map[string]map[*write]int{}
}

func (m *model) tick() int {
	m.now++
	return m.now
}

// begin notes that a client begins to push the digest, or to delete it, through an edge.
func (m *model) begin(tag string, d digest.Digest, edge string, remove bool) *write {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.of(tag)
	w := &write{id: len(t.writes) + 1, remove: remove, digest: d, edge: edge, began: m.tick(), older: map[*write]bool{}}
	for k := range t.known[edge] {
		w.older[k] = true
		for o := range k.older {
			w.older[o] = true
		}
	}
	t.writes = append(t.writes, w)
	if t.removed = t.removed || remove; !remove {
		delete(t.retired, d)
	}
	return w
}

// end notes a client's answer to a write: whether it was 2xx, and the edges that had
// acknowledged it then.
func (m *model) end(tag string, w *write, ok bool, by []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.ended, w.answered, w.at = m.tick(), ok, time.Now()
	if !ok {
		return
	}
	t := m.of(tag)
	t.learn(w.edge, w, knowledge{w.ended, "has answered 2xx to"})
	for _, edge := range by {
		t.learn(edge, w, knowledge{w.ended, "has acknowledged"})
	}
}

func (t *tagModel) learn(edge string, w *write, k knowledge) {
	if t.known[edge] == nil {
		t.known[edge] = map[*write]knowledge{}
	}
	if _, ok := t.known[edge][w]; !ok {
		t.known[edge][w] = k
	}
}

// pull is a pull through an edge.
type pull struct {
	edge  string
	began int
	at    time.Time
}

// beginPull notes that a client begins to pull a tag through an edge.
func (m *model) beginPull(edge string) pull {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pull{edge, m.tick(), time.Now()}
}

// endPull judges what a pull was shown; "" is a 404.
func (m *model) endPull(tag string, from pull, d digest.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, edge, began := m.of(tag), from.edge, from.began
	if d == "" {
		has := func(p *write) bool {
			k, known := t.known[edge][p]
			return known && k.since < began || !t.removed && p.ended < began && from.at.Sub(p.at) > noFor
		}
		if p := t.mustBeThere(has); p != nil {
			return &fault{"e", fmt.Sprintf("%s says 404; %v was answered 2xx, and was not deleted", edge, p)}
		}
		t.pass(edge, began, m.tick(), nil)
		return nil
	}
	shown, err := t.mayShow(edge, began, d)
	if err != nil {
		return err
	}
	now := m.tick()
	t.pass(edge, began, now, shown)
	if w := oldest(shown); w != nil {
		t.learn(edge, w, knowledge{now, "has shown"})
	}
	return nil
}

// mayShow returns the pushes of the digest that an edge may show now; the error says why
// there are none.
func (t *tagModel) mayShow(edge string, began int, d digest.Digest) (shown []*write, err error) {
	for _, p := range t.writes {
		if p.remove || p.digest != d {
			continue
		}
		if why := t.mayNot(edge, began, p); why != nil {
			err = why
		} else {
			shown = append(shown, p)
		}
	}
	switch {
	case len(shown) > 0:
		return shown, nil
	case err != nil:
		return nil, err
	case t.retired[d]:
		return nil, &fault{"b", fmt.Sprintf("%s shows %s, which was given up when all had agreed", edge, short(d))}
	}
	return nil, &fault{"e", fmt.Sprintf("%s shows %s, which nobody has pushed", edge, short(d))}
}

// mayNot says why an edge may not show a push to a pull that began at the given time.
func (t *tagModel) mayNot(edge string, began int, p *write) error {
	for w, k := range t.known[edge] {
		if k.since >= began || !w.beats(p) {
			continue
		}
		rule := "a"
		switch {
		case w.remove:
			rule = "c"
		case k.how == "has shown":
			rule = "b"
		}
		return &fault{rule, fmt.Sprintf("%s shows %v; it %s %v, which is newer", edge, p, k.how, w)}
	}
	if since, ok := t.passed[edge][p]; ok && since < began {
		return &fault{"b", fmt.Sprintf("%s shows %v again, though it has moved on from it", edge, p)}
	}
	return nil
}

// beats reports whether a push may not be shown by who knows the write.
func (w *write) beats(p *write) bool {
	if !w.older[p] {
		return false
	}
	if !w.remove || p.digest == w.digest {
		return true
	}
	for o := range w.older { // older than what was deleted
		if !o.remove && o.digest == w.digest && o.older[p] {
			return true
		}
	}
	return false
}

// pass notes that an edge, which knew of other versions when the pull began, shows these.
func (t *tagModel) pass(edge string, began, now int, shown []*write) {
	if t.passed[edge] == nil {
		t.passed[edge] = map[*write]int{}
	}
	for w, k := range t.known[edge] {
		if _, already := t.passed[edge][w]; !already && !w.remove && k.since < began && !slices.Contains(shown, w) {
			t.passed[edge][w] = now
		}
	}
}

// oldest returns the one of some pushes that is older than all the others, nil for none:
// which of them was shown is not known, but it is this one or a newer one.
func oldest(all []*write) *write {
	for _, w := range all {
		if !slices.ContainsFunc(all, func(other *write) bool { return other != w && !other.older[w] }) {
			return w
		}
	}
	return nil
}

// deleted reports whether a push may be gone by a delete.
func (t *tagModel) deleted(p *write) bool {
	return slices.ContainsFunc(t.writes, func(d *write) bool { return d.remove && d.digest == p.digest && !p.older[d] })
}

// mustBeThere returns a push that has to be shown, or a newer one. It is nil where nothing
// was pushed, or where the newest may be deleted. counts says of which pushes, that were
// answered 2xx, this is asked.
func (t *tagModel) mustBeThere(counts func(*write) bool) (must *write) {
	var alive []*write
	for _, p := range t.writes {
		if !p.remove && p.answered && counts(p) && !t.deleted(p) {
			alive = append(alive, p)
		}
	}
	if len(alive) == 0 {
		return nil
	}
	for _, q := range t.writes {
		newest := !slices.ContainsFunc(alive, func(p *write) bool { return p.older[q] })
		if !q.remove && newest && t.deleted(q) {
			return nil
		}
	}
	return alive[len(alive)-1]
}

// mayBeDeleted reports whether a client has begun to delete the digest, and the delete does
// not belong to what all have agreed on.
func (m *model) mayBeDeleted(tag string, d digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.of(tag).writes, func(w *write) bool { return w.remove && w.digest == d })
}

// agree judges the end of all unrest: says has what each edge and Harbor says of the tag,
// "" for 404. What they agree on is where the tag's history begins anew.
func (m *model) agree(tag string, says map[string]digest.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.of(tag)
	var d digest.Digest
	var all []string
	differ := false
	for _, who := range slices.Sorted(maps.Keys(says)) {
		if len(all) > 0 && says[who] != d {
			differ = true
		}
		d = says[who]
		all = append(all, who+" says "+short(d))
	}
	if differ {
		return &fault{"d", "they do not agree: " + strings.Join(all, ", ")}
	}
	if err := t.mayEnd(d); err != nil {
		return err
	}
	for _, w := range t.writes {
		if !w.remove {
			t.retired[w.digest] = true
		}
	}
	t.forget()
	if d != "" {
		t.removed = false
		delete(t.retired, d)
		now := m.tick()
		w := &write{id: 0, digest: d, edge: "all", began: now, ended: now, answered: true, older: map[*write]bool{}}
		t.writes = []*write{w}
		for who := range says {
			t.learn(who, w, knowledge{now, "has shown"})
		}
	}
	return nil
}

// mayEnd says why all may not agree on a digest, "" for none.
func (t *tagModel) mayEnd(d digest.Digest) (err error) {
	if d == "" {
		if p := t.mustBeThere(func(*write) bool { return true }); p != nil {
			return &fault{"d", fmt.Sprintf("all say 404; %v was answered 2xx, and was not deleted", p)}
		}
		return nil
	}
	err = &fault{"d", "all say " + short(d) + ", which nobody has pushed since they last agreed"}
	for _, p := range t.writes {
		if p.remove || p.digest != d {
			continue
		}
		newer := slices.IndexFunc(t.writes, func(w *write) bool { return w.answered && w.beats(p) })
		if newer < 0 {
			return nil
		}
		err = &fault{"d", fmt.Sprintf("all say %s, of %v; %v is newer", short(d), p, t.writes[newer])}
	}
	return err
}
