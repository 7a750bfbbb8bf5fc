package store

import "time"

// climb finds out how many bodies at once bring a blob soonest: steep times as many are tried as
// long as that brings clearly more. New connections over a long link take some trips to begin, and
// there is no time for many steps.
type climb struct {
	enough float64 // the rate of one body from which no more are tried
	eager  bool    // as many as there may be are tried before the first measure
	least  int     // how many times the rate of the first body is measured
	bodies int     // now
	fewer  int     // before; 0: there were none
	was    float64 // the most that those brought, in bytes a second
	best   float64 // the most that these have brought
	ticks  int     // since all of these have begun to send
	late   int     // ticks in which some of these had sent nothing yet
	over   bool    // what is found is kept
}

const (
	// measure is the time over which a rate is measured.
	measure = 100 * time.Millisecond
	// fast is the rate, in bytes a second, from which more bodies are not tried: the link is not
	// what is scarce then. Of a source that answers within near it is fastNear: what is in between
	// are the processors.
	fast     = 250 << 20
	fastNear = 120 << 20
	near     = 20 * time.Millisecond
	// triesNear is how many times the rate of such a one is measured: it has moments.
	triesNear = 5
	// steep is how many times as many bodies are tried next.
	steep = 4
	// veryFar is when the answer of a source begins that is asked for many parts at once: a new
	// connection over such a link takes some trips until it is as fast as it can be.
	veryFar = 100 * time.Millisecond
	// grown is how many times as much they must bring to be worth it.
	grown = 1.25
	// rateTries is how many times a rate is measured before more bodies are given up: a connection
	// starts slowly.
	rateTries = 8
	// lateTries is for how many measures it is waited for bodies that do not begin.
	lateTries = 50
)

// next returns how many bodies to have at once, of at most most, after one measure in which
// they brought rate bytes a second. silent of those beside the lead have not begun.
func (c *climb) next(rate float64, silent, beside, most int) int {
	switch {
	case c.bodies == 0:
		if c.bodies, c.ticks = 1, 1; c.eager && most > 1 {
			c.grow(most)
		}
		return min(c.bodies, most)
	case c.over:
		return min(c.bodies, most)
	case silent > 0:
		if silent == beside && c.fewer == 1 {
			c.was = max(c.was, rate) // of the lead alone
		}
		if c.late++; c.late >= lateTries {
			c.giveUp()
		}
		return min(c.bodies, most)
	}
	c.ticks++
	if c.best = max(c.best, rate); c.ticks < 2 || c.bodies == 1 && c.ticks < c.least { // the first is of a part of the time
		return min(c.bodies, most)
	}
	switch {
	case c.bodies == 1 && c.best >= c.enough, c.best == 0: // it is not the link that is scarce, or nothing comes at all
	case c.best >= c.was*grown && c.bodies < most:
		c.grow(min(steep*c.bodies, most))
	case c.best < c.was*grown && c.ticks >= rateTries:
		c.giveUp()
	}
	return min(c.bodies, most)
}

// grow has more bodies tried.
func (c *climb) grow(bodies int) {
	*c = climb{enough: c.enough, least: c.least, bodies: bodies, fewer: c.bodies, was: c.best}
}

// giveUp goes back to fewer bodies, and stays there.
func (c *climb) giveUp() { c.bodies, c.over = max(c.fewer, 1), true }
