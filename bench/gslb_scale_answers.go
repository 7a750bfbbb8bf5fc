package main

import (
	"slices"
	"strings"
	"time"

	"example.org/breakwater/gslb"
)

// How an answer is wrong.
const (
	wrongDead    = "dead"    // it names a datacenter that does not serve
	wrongFarther = "farther" // a primary, while a nearer one serves
	wrongBackup  = "backup"  // a backup, while a primary serves
)

// A cut of name servers is the cause of what is wrong while it lasts, and this long after it.
const (
	cutsLinger = time.Minute
	causeCut   = "cut"
	causeOther = "other"
)

// wrongNow is what one name server says wrongly to the clients of one metro.
type wrongNow struct {
	kind, cause string
	dc          int     // that is named; -1: any
	share       float64 // of the clients
	since       time.Duration
}

// wrongTime is how long that was, for how many clients.
type wrongTime struct {
	lasted  time.Duration
	ttl     time.Duration
	clients float64
}

// answers is what a watched name server says, by metro.
type watchedAnswers struct {
	said     []gslb.Decided
	wrong    [][]wrongNow
	isolated bool
}

// scaleAnswers compares what is answered with what is so.
type scaleAnswers struct {
	*scaleSim
	by       []watchedAnswers // by watched
	assigned []int16          // by client, as the first watched name server says
	up       []bool           // by datacenter, as it judges
	lastLoss []string         // by datacenter: why it was lost

	cuts    int           // that last
	splits  int           // of these, more than one link
	cutEnd  time.Duration // when the last one ended
	isEver  bool          // there was one
	wrongs  map[string][]wrongTime
	moves   map[string]*moveCount
	samples sampleCount
}

// moveCount is what came of one kind of change.
type moveCount struct {
	changes  int
	clients  []int // that moved, by change
	needless int   // of all: neither lost their datacenter nor got one that came back
}

// sampleCount is what clients were told while nothing failed.
type sampleCount struct {
	Asked    int `json:"asked"`
	Wrong    int `json:"wrong"`    // not the nearest
	Differ   int `json:"differ"`   // two name servers named different datacenters
	Isolated int `json:"isolated"` // times that a watched name server was
	Raised   int `json:"raised"`   // times that one began to name a backup while it was
}

func newScaleAnswers(s *scaleSim) *scaleAnswers {
	a := &scaleAnswers{scaleSim: s, assigned: make([]int16, s.plan.Clients), up: make([]bool, s.n), lastLoss: make([]string, s.n), wrongs: map[string][]wrongTime{}, moves: map[string]*moveCount{}}
	for range s.watched {
		a.by = append(a.by, watchedAnswers{said: make([]gslb.Decided, len(s.metros)), wrong: make([][]wrongNow, len(s.metros))})
	}
	for dc := range a.up {
		a.up[dc] = true
	}
	for k := range a.by {
		a.ask(k)
	}
	for i := range a.assigned {
		a.assigned[i] = int16(s.decide(0, int32(i)).Datacenter)
	}
	return a
}

func (s *scaleSim) decide(k int, client int32) gslb.Decided {
	return s.drills[s.watched[k]].Decide(scaleName, s.network(client))
}

// ask asks a watched name server for a client of each metro, and returns those for which
// others serve than before.
func (a *scaleAnswers) ask(k int) (changed []int) {
	for m := range a.metros {
		d := a.decide(k, a.metros[m].clients[0])
		if !slices.Equal(d.Among, a.by[k].said[m].Among) {
			changed = append(changed, m)
		}
		a.by[k].said[m] = d
	}
	return changed
}

// judged is called when a watched name server answers anew.
func (a *scaleAnswers) judged(k int) {
	w, isolated := &a.by[k], a.drills[a.watched[k]].Isolated()
	backups := func() (n int) {
		for _, d := range w.said {
			if d.Backup {
				n++
			}
		}
		return n
	}
	before := backups()
	changed := a.ask(k)
	if isolated && !w.isolated {
		a.samples.Isolated++
	}
	if isolated && backups() > before {
		a.samples.Raised++
	}
	w.isolated = isolated
	if k == 0 {
		a.move(changed)
	}
	for m := range a.metros {
		a.compare(k, m)
	}
}

// happened is called when a datacenter serves, or does no longer.
func (a *scaleAnswers) happened() {
	for k := range a.by {
		for m := range a.metros {
			a.compare(k, m)
		}
	}
}

// cut is called when name servers are cut from others, or no longer.
func (a *scaleAnswers) cut(kind string, by int) {
	if a.cuts += by; kind != faultLink {
		a.splits += by
	}
	a.isEver, a.cutEnd = true, a.clock
}

// move counts the clients that the first watched name server sends elsewhere.
func (a *scaleAnswers) move(metros []int) {
	first, why := a.drills[a.watched[0]], ""
	lost, gained := make([]bool, a.n), make([]bool, a.n)
	for dc, name := range a.names {
		up := first.Serves(name)
		if up == a.up[dc] {
			continue
		}
		a.up[dc] = up
		if up {
			gained[dc], why = true, a.lastLoss[dc]+" ends"
			continue
		}
		lost[dc] = true
		if a.lastLoss[dc] = causeCut; !a.serves(dc) {
			a.lastLoss[dc] = a.cause[dc]
		}
		why = a.lastLoss[dc]
	}
	if why == "" {
		why = causeOther
	}
	of := a.moves[why]
	if of == nil {
		of = &moveCount{}
		a.moves[why] = of
	}
	moved := 0
	for _, m := range metros {
		for _, c := range a.metros[m].clients {
			before, now := int(a.assigned[c]), a.decide(0, c).Datacenter
			if before == now {
				continue
			}
			moved++
			a.assigned[c] = int16(now)
			if before >= 0 && now >= 0 && !lost[before] && !gained[now] {
				of.needless++
			}
		}
	}
	if why != causeOther || moved > 0 {
		of.changes++
		of.clients = append(of.clients, moved)
	}
}

// nearest is the group of datacenters, as its place in the metro's order, in which somebody
// serves who must be named; ok is false where none of those that the topology names does.
func (a *scaleAnswers) nearest(m int) (group int, ok bool) {
	for g, of := range a.metros[m].near {
		if slices.ContainsFunc(of, func(dc int) bool { return a.serves(dc) && !a.datacenters[dc].Backup }) {
			return g, true
		}
	}
	return 0, false
}

// faultsOf is what is wrong with an answer to the clients of a metro. This is worked out by the
// world's own order of datacenters, and not by the name servers' code.
func (a *scaleAnswers) faultsOf(m int, said gslb.Decided) (all []wrongNow) {
	best, ok := a.nearest(m)
	if !ok {
		return nil
	}
	weights := 0
	for _, dc := range said.Among {
		weights += a.datacenters[dc].Weight
	}
	for _, dc := range said.Among {
		x := wrongNow{dc: -1, share: float64(a.datacenters[dc].Weight) / float64(weights)}
		switch near := a.metros[m].near[best]; {
		case !a.serves(dc):
			x.kind, x.cause, x.dc = wrongDead, a.cause[dc], dc
		case a.datacenters[dc].Backup:
			x.kind, x.cause = wrongBackup, a.why(near)
		case !slices.Contains(near, dc):
			x.kind, x.cause = wrongFarther, a.why(near)
		default:
			continue
		}
		if i := slices.IndexFunc(all, x.same); i >= 0 {
			all[i].share += x.share
			continue
		}
		all = append(all, x)
	}
	return all
}

func (x wrongNow) same(y wrongNow) bool { return x.kind == y.kind && x.dc == y.dc }

// why is the likely cause that nobody of those is named, although they serve.
func (a *scaleAnswers) why(near []int) string {
	if a.cuts > 0 || a.isEver && a.clock-a.cutEnd < cutsLinger {
		return causeCut
	}
	for _, dc := range near {
		if a.cause[dc] != "" {
			return a.cause[dc] + " ends"
		}
	}
	return causeOther
}

// compare notes what is wrong with an answer now, and what no longer is.
func (a *scaleAnswers) compare(k, m int) {
	w := &a.by[k]
	now := a.faultsOf(m, w.said[m])
	if len(now) == 0 && len(w.wrong[m]) == 0 {
		return
	}
	for i := range now {
		now[i].since = a.clock
		if j := slices.IndexFunc(w.wrong[m], now[i].same); j >= 0 {
			now[i].since, now[i].cause = w.wrong[m][j].since, w.wrong[m][j].cause
		}
		switch {
		case w.isolated: // it keeps what it knew
			now[i].cause = faultIsolated
		case a.splits > 0:
			now[i].cause = causeCut
		}
	}
	for _, x := range w.wrong[m] {
		if !slices.ContainsFunc(now, x.same) {
			a.over(m, x)
		}
	}
	w.wrong[m] = now
}

// over notes that something is wrong no longer. Answers that were given until now are kept
// for their time.
func (a *scaleAnswers) over(m int, x wrongNow) {
	key, ttl := strings.Join([]string{x.kind, x.cause}, "/"), scaleTTL
	if x.kind == wrongBackup {
		ttl = 5 * time.Second
	}
	a.wrongs[key] = append(a.wrongs[key], wrongTime{a.clock - x.since, ttl, x.share * float64(len(a.metros[m].clients))})
}

// finish ends what is wrong still.
func (a *scaleAnswers) finish() {
	for k := range a.by {
		for m, all := range a.by[k].wrong {
			for _, x := range all {
				a.over(m, x)
			}
		}
	}
}

// sample asks all watched name servers for some clients while nothing fails.
func (a *scaleAnswers) sample() {
	for range 50 {
		m := a.chance.IntN(len(a.metros))
		of := a.metros[m].clients
		c := of[a.chance.IntN(len(of))]
		first := a.decide(0, c).Datacenter
		for k := range a.by {
			d := a.decide(k, c)
			a.samples.Asked++
			best, ok := a.nearest(m)
			if ok && !slices.Contains(a.metros[m].near[best], d.Datacenter) {
				a.samples.Wrong++
			}
			if d.Datacenter != first {
				a.samples.Differ++
			}
		}
	}
}
