package gslb

import (
	"fmt"
	"slices"
	"time"
)

// weighing compares what is answered with a steering and without it, now and at the ends of
// overrides that come.
type weighing struct {
	f               *Fleet
	x               Steering
	with, without   *moment
	safe            bool            // no answer names its datacenter, with it
	seen            map[string]bool // what was said already
	troubles, notes []string
}

func (w *weighing) trouble(key, format string, args ...any) {
	if !w.seen[key] {
		w.seen[key] = true
		w.troubles = append(w.troubles, fmt.Sprintf(format, args...))
	}
}

// now looks at the moment of the steering, and returns what is answered after it.
func (w *weighing) now() []Answered {
	before, after := w.without.view(w.f, nil), w.with.view(w.f, nil)
	if w.x.takesOut() && !w.x.Release {
		w.promise(after)
	}
	w.worse("", before, after)
	w.families(before, after)
	w.untrue("", before, after)
	return after.answered()
}

// promise looks at what the steering itself promises: no new clients.
func (w *weighing) promise(after *view) {
	var elsewhere []string
	for _, n := range after.names() {
		switch {
		case !n.gets(w.f.index(w.x.Datacenter)):
		case !w.x.covers(n.Name.Name):
			elsewhere = append(elsewhere, plainName(n.Name.Name))
		case n.panics():
			w.trouble(n.Name.Name, "clients go on coming to %s: %s", w.x.Datacenter, n.answered(w.f).Sentence)
		default:
			w.trouble(n.Name.Name, "clients go on coming to %s: an operator has forced it up for %s, and what is said of one name goes first", w.x.Datacenter, plainName(n.Name.Name))
		}
	}
	w.safe = len(elsewhere) == 0 && len(w.troubles) == 0
	if len(elsewhere) > 0 {
		w.notes = append(w.notes, fmt.Sprintf("%s still gets the clients of %s", w.x.Datacenter, listed(elsewhere)))
	}
}

// worse looks for names that nobody serves any more, or that somebody unhealthy is answered for.
func (w *weighing) worse(when string, before, after *view) {
	old := before.names()
	for i, n := range after.names() {
		if n.poor() && !old[i].poor() {
			w.trouble(n.Name.Name, "%s%s", when, n.answered(w.f).Sentence)
		}
	}
}

// poor reports whether clients of the name get somebody who is not known to serve, or nobody.
func (v *nameView) poor() bool {
	return v.panics() || v.any(func(own *familyView, c choice) bool {
		return slices.ContainsFunc(c.set, func(dc int) bool { return !own.status[dc].healthy })
	})
}

// families looks for clients who get addresses of a family, and would get none.
func (w *weighing) families(before, after *view) {
	old := before.names()
	for i, n := range after.names() {
		for k, own := range n.families {
			if len(own.choices[0].set) == 0 && len(old[i].families[k].choices[0].set) > 0 && !n.panics() {
				w.trouble(n.Name.Name+own.called, "%s: clients get no %s address: %s has none", plainName(n.Name.Name), own.called, n.lacking(w.f, own))
			}
		}
	}
}

// lacking are the datacenters that are answered and have no address of the family.
func (v *nameView) lacking(f *Fleet, own *familyView) string {
	var names []string
	for dc := range f.Datacenters {
		if v.gets(dc) && len(own.records[dc]) == 0 {
			names = append(names, f.Datacenters[dc].Name)
		}
	}
	return listed(names)
}

// untrue looks for what operators said of others and what holds no longer.
func (w *weighing) untrue(when string, before, after *view) {
	for _, o := range w.with.overrides {
		if o.Datacenter == w.x.Datacenter && o.Name == w.x.Name && !w.x.Release || o.expired(w.with.at) {
			continue
		}
		if names := after.broken(o); len(names) > 0 && len(before.broken(o)) == 0 {
			w.trouble("said "+o.Datacenter+" "+o.Name, "%s%s: clients of %s get it again", when, o.said(), listed(names))
		}
	}
}

// broken are the names that the datacenter is answered for although an operator has taken
// it out of them.
func (v *view) broken(o Override) (names []string) {
	if !o.takesOut() {
		return nil
	}
	dc := v.fleet.index(o.Datacenter)
	for _, n := range v.names() {
		if o.covers(n.Name.Name) && dc >= 0 && n.gets(dc) {
			names = append(names, plainName(n.Name.Name))
		}
	}
	return names
}

// later looks at the moment when an override ends by itself.
func (w *weighing) later(end Override) {
	w.with.at, w.without.at = end.Until, end.Until
	before, after := w.without.view(w.f, nil), w.with.view(w.f, nil)
	what := end.what()
	if end.Datacenter == w.x.Datacenter && end.Name == w.x.Name {
		what = "this"
	}
	when := fmt.Sprintf("when %s ends at %s: ", what, end.Until.Local().Format(time.DateTime))
	w.worse(when, before, after)
	w.untrue(when, before, after)
	if w.x.takesOut() && !w.x.Release && !w.x.expired(end.Until) && w.safe {
		if names := after.broken(w.x.Override); len(names) > 0 {
			w.trouble("again", "%sclients of %s get %s again", when, listed(names), w.x.Datacenter)
		}
	}
	if what == "this" {
		for _, n := range after.names() {
			if n.poor() && !w.seen[n.Name.Name] {
				w.notes = append(w.notes, when+n.answered(w.f).Sentence)
			}
		}
	}
}

// index is where a datacenter stands in the fleet's list; -1: nowhere.
func (f *Fleet) index(name string) int {
	return slices.IndexFunc(f.Datacenters, func(dc Datacenter) bool { return dc.Name == name })
}
