package gslb

import "time"

// ProbeConfig says how often is probed, and what counts.
type ProbeConfig struct {
	Interval time.Duration // between probes; 10 % of it are chance, so that nodes do not probe together
	Timeout  time.Duration // of one probe
	Fall     int           // failures in a row until it is down
	Rise     int           // successes in a row until it is up again
	Confirm  time.Duration // after a failure of what is up, how soon is probed again
	Hold     time.Duration // how long what went down stays down at least
}

// verdict is how long a verdict takes at most. What has one cause, as the loss of a node's own
// uplink, takes all targets down within it.
func (c *ProbeConfig) verdict() time.Duration {
	return c.Interval + c.Timeout + time.Duration(c.Fall-1)*(c.Confirm+c.Timeout)
}

// Silence is how long one who is silent is heard still: until the probes of a node that is cut
// off have all failed, of which the others were heard last an interval before. One that is alone
// while some of its own verdicts are still to come would take what it judges then for good.
func (c *ProbeConfig) Silence() time.Duration {
	return max(2*c.Interval+2*c.Timeout, c.Interval+c.Timeout+c.verdict())
}

// pause is how long the next probe waits after one that took so long. chance is a number
// below another.
func (c *ProbeConfig) pause(took time.Duration, soon bool, chance func(below int64) int64) time.Duration {
	if soon {
		return c.Confirm
	}
	// From begin to begin: a probe that times out delays none.
	return max(0, c.Interval-took-time.Duration(chance(int64(c.Interval/10)+1)))
}

// hysteresis turns the results of probes into up and down, so that neither one lost
// probe nor a target that comes and goes moves anybody.
type hysteresis struct {
	cfg   *ProbeConfig
	known bool // there was a verdict
	up    bool
	row   int       // results in a row that contradict the verdict
	fell  time.Time // when it went down
}

// observe takes the result of a probe. It reports whether the verdict changed, and
// whether the next probe is to come soon.
func (h *hysteresis) observe(ok bool, now time.Time) (changed, soon bool) {
	switch {
	case !h.known && ok: // who was never seen is believed at once
		h.known, h.up, h.row = true, true, 0
		return true, false
	case h.known && ok == h.up:
		h.row = 0
		return false, false
	}
	h.row++
	if ok { // and it is down
		if h.row < h.cfg.Rise || now.Sub(h.fell) < h.cfg.Hold {
			return false, false
		}
		h.up, h.row = true, 0
		return true, false
	}
	if h.row < h.cfg.Fall {
		return false, true
	}
	h.known, h.up, h.row, h.fell = true, false, 0, now
	return true, false
}

// past is a time that was read, as it is now: not in the future, and what goes by from now on
// is measured by a clock that does not jump.
func past(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(-max(0, now.Sub(t)))
}
