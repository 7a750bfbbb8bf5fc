package gslb

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// What operators say is said to one name server and kept by all. Each observation carries all of
// it; of what was said of the same, the latest counts. That something was taken back, or has
// ended, is kept too: who was away, and has still what was said before, hears that it is over.

// said is all that operators have said.
type said struct {
	Overrides []Override `json:"overrides"`
	Released  []Released `json:"released"`
}

// Released is that what was said of a datacenter is over: a tombstone of an Override.
type Released struct {
	Datacenter string    `json:"datacenter"`
	Name       string    `json:"name"` // as in Override
	At         time.Time `json:"at"`   // what was said before is over; what was said then is, for whose clock says that it has ended
}

// maxReleased bounds what is kept of what is over; the oldest goes first.
const maxReleased = 256

// of is where the override of the same stands, and where its tombstone does; -1: nowhere.
func (s said) of(datacenter, name string) (override, released int) {
	return slices.IndexFunc(s.Overrides, func(o Override) bool { return o.Datacenter == datacenter && o.Name == name }),
		slices.IndexFunc(s.Released, func(r Released) bool { return r.Datacenter == datacenter && r.Name == name })
}

// next is when something that is said of the same now is said: later than all before, whatever
// the clocks of those say who said it.
func (s said) next(datacenter, name string, now time.Time) time.Time {
	last := time.Time{}
	o, r := s.of(datacenter, name)
	if o >= 0 {
		last = s.Overrides[o].Since
	}
	if r >= 0 && s.Released[r].At.After(last) {
		last = s.Released[r].At
	}
	if !now.After(last) {
		return last.Add(1)
	}
	return now
}

// without is what was said of all but the same.
func (s said) without(datacenter, name string) said {
	return said{
		slices.DeleteFunc(slices.Clone(s.Overrides), func(o Override) bool { return o.Datacenter == datacenter && o.Name == name }),
		slices.DeleteFunc(slices.Clone(s.Released), func(r Released) bool { return r.Datacenter == datacenter && r.Name == name }),
	}
}

// with puts the override in the place of what was said before of the same.
func (s said) with(o Override) said {
	all := s.without(o.Datacenter, o.Name)
	all.Overrides = append(all.Overrides, o)
	return all
}

// over notes that what was said of the same is over.
func (s said) over(r Released) said {
	all := s.without(r.Datacenter, r.Name)
	all.Released = append(all.Released, r)
	if len(all.Released) > maxReleased {
		oldest := slices.MinFunc(all.Released, func(a, b Released) int { return a.At.Compare(b.At) })
		all.Released = all.without(oldest.Datacenter, oldest.Name).Released
	}
	return all
}

// living is what is left when that has ended whose time has come, and when the next will; zero:
// none. The others' clocks say for themselves when it has ended: one that is wrong ends it for
// nobody else.
func (s said) living(now time.Time) (left said, next time.Time) {
	left = s
	for _, o := range s.Overrides {
		if o.expired(now) {
			left = left.over(Released{o.Datacenter, o.Name, o.Since})
		} else if !o.Until.IsZero() && (next.IsZero() || o.Until.Before(next)) {
			next = o.Until
		}
	}
	return left, next
}

// later orders what was said of the same; at one time that goes first which says more.
func (o Override) later(than Override) bool {
	return cmp.Or(o.Since.Compare(than.Since), strings.Compare(string(o.Mode), string(than.Mode)), o.Until.Compare(than.Until),
		strings.Compare(o.Reason, than.Reason), strings.Compare(o.By, than.By)) > 0
}

// merge takes over what another node has kept and is later. wrong says what is wrong with an
// override for this fleet, or that it has ended: such a one is not taken. changed are those that differ now.
func (s said) merge(other said, wrong func(Override) error) (all said, changed []Override) {
	all = s
	for _, r := range other.Released {
		o, was := all.of(r.Datacenter, r.Name)
		switch {
		case o >= 0 && all.Overrides[o].Since.Before(r.At):
			changed = append(changed, Override{Datacenter: r.Datacenter, Name: r.Name, Since: r.At})
		case o >= 0 || was >= 0 && !r.At.After(all.Released[was].At):
			continue
		}
		all = all.over(r)
	}
	for _, theirs := range other.Overrides {
		o, was := all.of(theirs.Datacenter, theirs.Name)
		if o >= 0 && !theirs.later(all.Overrides[o]) || was >= 0 && theirs.Since.Before(all.Released[was].At) ||
			o < 0 && len(all.Overrides) >= maxOverrides || wrong(theirs) != nil {
			continue
		}
		theirs.SafeAt = time.Time{} // each node's answers run out by themselves
		if o >= 0 && theirs.takesOut() && all.Overrides[o].takesOut() {
			theirs.SafeAt = all.Overrides[o].SafeAt // and do so already
		}
		all, changed = all.with(theirs), append(changed, theirs)
	}
	return all, changed
}
