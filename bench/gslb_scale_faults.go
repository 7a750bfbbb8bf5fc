package main

import (
	"math"
	"slices"
	"time"
)

// What fails. The first three take a datacenter from its clients, the others do not: they are
// between name servers and datacenters.
const (
	faultEdge     = "edge"     // a datacenter's edge: it refuses connections
	faultSite     = "site"     // all of it, with its name server
	faultFlapping = "flapping" // its edge comes and goes
	faultLink     = "link"     // between one name server and one datacenter
	faultSplit    = "split"    // some name servers and datacenters from all others; both sides reach witnesses
	faultIsolated = "isolated" // one name server from everything
)

var faultKinds = []string{faultEdge, faultSite, faultFlapping, faultLink, faultSplit, faultIsolated}

// faults has everything fail at random: how often a year, and for how long in the middle (the
// logarithm is normal, of deviation 1).
func (s *scaleSim) faults() {
	n := float64(s.n)
	for _, f := range []struct {
		kind   string
		yearly float64
		lasts  time.Duration
		begin  func(lasts time.Duration)
	}{
		{faultEdge, 1 * n, 15 * time.Minute, func(d time.Duration) { s.outage(faultEdge, s.chance.IntN(s.n), d) }},
		{faultSite, 0.3 * n, 30 * time.Minute, func(d time.Duration) { s.outage(faultSite, s.unwatched(), d) }},
		{faultFlapping, 0.05 * n, 3 * time.Minute, func(d time.Duration) { s.flap(s.chance.IntN(s.n), d) }},
		{faultLink, 3 * n, 5 * time.Minute, func(d time.Duration) { s.link(d) }},
		{faultSplit, 6, 10 * time.Minute, func(d time.Duration) { s.split(faultSplit, 1+s.chance.IntN(max(1, s.n/4)), d) }},
		{faultIsolated, 12, 10 * time.Minute, func(d time.Duration) { s.split(faultIsolated, 1, d) }},
	} {
		rate := f.yearly * s.plan.Failures / (365 * 24 * float64(time.Hour))
		if rate == 0 {
			continue
		}
		var next func()
		next = func() {
			s.after(time.Duration(min(s.chance.ExpFloat64()/rate, 1e18)), func() {
				s.kinds[f.kind]++
				f.begin(time.Duration(float64(f.lasts) * math.Exp(s.chance.NormFloat64())))
				next()
			})
		}
		next()
	}
}

// failing does something, and takes it back after a time. Once nothing fails any more and some
// time has passed, all must be right.
func (s *scaleSim) failing(lasts time.Duration, begin, end func()) {
	s.unstable++
	s.changed = s.clock
	begin()
	s.after(lasts, func() {
		end()
		s.unstable--
		s.changed = s.clock
		s.after(scaleQuiet, func() {
			if s.unstable == 0 && s.clock-s.changed >= scaleQuiet {
				s.answers.sample()
			}
		})
	})
}

// change takes a reason not to serve from a datacenter, or gives it one.
func (s *scaleSim) change(dc, by int, kind string) {
	s.down[dc] += by
	if by > 0 {
		s.cause[dc] = kind
	}
	s.answers.happened()
	for i := range s.n {
		s.look(i, dc)
	}
}

func everybody(int) bool { return true }

func (s *scaleSim) outage(kind string, dc int, lasts time.Duration) {
	site := 0
	if kind == faultSite {
		site = 1
	}
	s.failing(lasts, func() {
		s.heard()
		s.silent[dc] += site
		s.change(dc, 1, kind)
		s.silence(everybody)
	}, func() {
		s.heard()
		s.silent[dc] -= site
		s.change(dc, -1, kind)
		for other := range s.n {
			s.look(dc, other)
		}
		s.tell(dc)
		s.silence(everybody)
	})
}

// flap has an edge go for some seconds, and come for some.
func (s *scaleSim) flap(dc int, lasts time.Duration) {
	s.failing(lasts, func() {
		end := s.clock + lasts
		var toggle func(by int)
		toggle = func(by int) {
			s.change(dc, by, faultFlapping)
			if by < 0 && s.clock >= end {
				return
			}
			wait := time.Duration(s.chance.ExpFloat64() * 4 * float64(time.Second))
			if left := end - s.clock; by > 0 {
				wait = min(wait, left)
			} else if wait > left {
				return
			}
			s.after(wait, func() { toggle(-by) })
		}
		toggle(1)
	}, func() {})
}

// some is a name server: in one of two cases one that is watched.
func (s *scaleSim) some() int {
	if s.chance.IntN(2) == 0 {
		return s.watched[s.chance.IntN(len(s.watched))]
	}
	return s.chance.IntN(s.n)
}

// unwatched is a datacenter whose name server is not watched, where there is one: it is silent
// when its site is, and answers nobody.
func (s *scaleSim) unwatched() int {
	dc := s.chance.IntN(s.n)
	for range s.n {
		if !slices.Contains(s.watched, dc) {
			break
		}
		dc = (dc + 1) % s.n
	}
	return dc
}

func (s *scaleSim) link(lasts time.Duration) {
	i := s.some()
	dc := (i + 1 + s.chance.IntN(s.n-1)) % s.n
	s.between(faultLink, [][2]int{{i, dc}}, lasts)
}

// split cuts some from all others.
func (s *scaleSim) split(kind string, size int, lasts time.Duration) {
	side := []int{s.some()}
	for _, i := range s.chance.Perm(s.n) {
		if len(side) < size && i != side[0] {
			side = append(side, i)
		}
	}
	var pairs [][2]int
	for _, i := range side {
		for j := range s.n {
			if !slices.Contains(side, j) {
				pairs = append(pairs, [2]int{i, j}, [2]int{j, i})
			}
		}
	}
	if kind == faultIsolated {
		s.witnesses(side[0], 1)
		s.after(lasts, func() { s.witnesses(side[0], -1) })
	}
	s.between(kind, pairs, lasts)
}

// witnesses has a name server lose them, as it sees in its next round, or reach them again, which
// counts when the others can have been heard.
func (s *scaleSim) witnesses(i, by int) {
	seen := s.upTo(scaleProbe.Interval)
	if by < 0 {
		seen += scaleProbe.Silence()
	}
	s.after(seen, func() {
		s.alone[i] += by
		s.drills[i].Reach(s.alone[i] == 0)
		s.reconsider(i)
	})
}

// between cuts name servers from datacenters and from the name servers there.
func (s *scaleSim) between(kind string, pairs [][2]int, lasts time.Duration) {
	change := func(by int) {
		s.heard()
		touched := map[int]bool{}
		for _, p := range pairs {
			s.cut[p[0]*s.n+p[1]] += by
			touched[p[0]], touched[p[1]] = true, true
		}
		s.answers.cut(kind, by)
		for _, p := range pairs {
			s.look(p[0], p[1])
		}
		for i := range s.n {
			if by < 0 && touched[i] {
				s.after(s.upTo(scaleProbe.Interval), func() { s.tell(i) })
			}
		}
		s.silence(func(i int) bool { return touched[i] })
	}
	s.failing(lasts, func() { change(1) }, func() { change(-1) })
}

// heard is what all watched name servers have heard until now, before that changes: each of the
// others within the last interval.
func (s *scaleSim) heard() {
	for _, w := range s.watched {
		s.hearAgain(w, s.upTo(scaleProbe.Interval))
	}
}
