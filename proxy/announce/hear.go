package announce

import (
	"context"
	"sync"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/version"
)

// claim is a record that another edge has announced, and has not yet shown that it serves.
// The ledger knows which records are claimed; here is when each is asked about.
type claim struct {
	version.Record
	by    string // the datacenter whose edge said so
	tries int
	next  time.Time // when it is asked about again
}

// shownBy reports whether what the edge serves shows that the claim is true. A tag's
// manifest may have been deleted since, and a deleted one pushed again.
func (c claim) shownBy(key version.Key, served version.Record) bool {
	switch {
	case !key.IsTag():
		return served.Known() || !c.Deleted() && served.Digest == c.Digest
	case served.Known():
		return served.Version.Newer(c.Version) || served.Version == c.Version && (served.Digest == c.Digest || served.Deleted())
	}
	return !c.Deleted() && served.Digest == c.Digest // by an edge that has lost its ledger
}

// What becomes of announced records, in metrics.
const (
	heardTaken   = "taken"
	heardOld     = "old"     // something as new is known
	heardRefused = "refused" // it is no reference that edges tell each other of
	heardFalse   = "unserved"
)

const (
	verifiers = 8  // records at once
	maxMoving = 3  // answers with another manifest, until a claim counts as false
	maxAgain  = 15 // times cfg.Pace, between two questions about one
)

// Hear takes over what a peer says. ok is false where the batch begins behind what this
// edge has heard of the peer's log: position says how far that is. A record that is taken counts
// from now on, and is taken back where the peer turns out not to serve it.
func (a *Announcer) Hear(from string, b Batch) (position Position, ok bool) {
	a.mu.Lock()
	one := a.hearing[from]
	a.mu.Unlock()
	if one != nil { // a peer sends several at once
		one.Lock()
		defer one.Unlock()
	}
	late := a.cfg.Ledger.Late(b.Clock)
	a.cfg.Ledger.Hear(b.Clock)
	a.noteHeard(from)
	a.cfg.Touches.Hear(b.Pulls)
	position.Clock, position.Unheard, position.Pulls = a.cfg.Ledger.Clock(), a.silent(), b.PullsUntil
	heard := a.cfg.Ledger.HeardOf(from)
	if heard.Epoch != b.Epoch || heard.Run != b.Run.Run && heard.Position > b.Start { // another log, or one that was put back to what it was once
		heard.Epoch, heard.Position = b.Epoch, 0
	}
	heard.Run = b.Run.Run
	position.Position = heard.Position
	if late { // the sender has given it up, and knows more by now
		a.metrics.heardRecords(heardOld, len(b.Records))
		return position, false
	}
	if b.Until == b.After { // a question
		a.cfg.Ledger.Learn(from, nil, true, &heard)
		a.noteLevel(from, heard.Position, b)
		return position, b.After <= heard.Position
	}
	if b.After > heard.Position || b.Until < b.After { // what was heard already may come again
		return position, false
	}
	var all []version.Announced
	for _, r := range b.Records[:min(len(b.Records), maxBatch)] {
		if !r.Valid() || !a.cfg.Takes(r.Key()) {
			a.metrics.heard(heardRefused)
			continue
		}
		if len(r.Manifest) > 0 && !r.Deleted() && a.cfg.Ledger.Get(r.Key()).Version != r.Version {
			if err := a.cfg.Keep(r.Digest, r.Manifest); err != nil {
				a.cfg.Log.Warn("an announced manifest is not kept", "repo", r.Repo, "digest", r.Digest.String(), "by", from, "err", err.Error())
			}
		}
		all = append(all, r)
	}
	heard.Position = max(heard.Position, b.Until) // a batch that was sent later may have come before
	taken := a.cfg.Ledger.Learn(from, all, true, &heard)
	a.metrics.heardRecords(heardOld, len(all)-len(taken))
	a.metrics.heardRecords(heardTaken, len(taken))
	for _, r := range taken {
		a.expect(r.Key())
	}
	if len(taken) > 0 {
		poke(a.wake)
	}
	position.Position = heard.Position
	a.noteLevel(from, heard.Position, b)
	return position, true
}

// noteLevel takes note that an edge had nothing more to tell when it sent the batch.
func (a *Announcer) noteLevel(from string, heard uint64, b Batch) {
	if b.Until > b.Last || heard < b.Last {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.level[from] = time.Now()
}

// Level reports whether all other edges had told everything some seconds ago: what they have
// taken before that is known here.
func (a *Announcer) Level() bool {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range *a.senders.Load() {
		if now.Sub(a.level[s.to.Datacenter]) > levelFor*a.cfg.Pace {
			return false
		}
	}
	return true
}

// Told takes over the version that the edge of a datacenter said it answers with. Where that
// one has only heard of it, the edge that made it is asked whether it serves it.
func (a *Announcer) Told(by string, key version.Key, r version.Record) {
	claimed := r.Claimed
	if r.Claimed = false; claimed {
		if by = r.Version.Datacenter; a.edge(claim{by: by}) == nil { // nobody could ever say
			return
		}
	}
	if taken := a.cfg.Ledger.Learn(by, []version.Announced{{Repo: key.Repo, Reference: key.Reference, Record: r}}, claimed, nil); claimed && len(taken) > 0 {
		a.expect(key)
		poke(a.wake)
	}
}

// noteHeard takes note of who speaks: it can be reached again.
func (a *Announcer) noteHeard(from string) {
	for _, s := range *a.senders.Load() {
		if s.to.Datacenter == from && s.isFailing() {
			poke(s.back)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spoke[from] = time.Now()
}

// silent returns the datacenters whose edges have not spoken for a while.
func (a *Announcer) silent() (all []string) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range *a.senders.Load() {
		if dc := s.to.Datacenter; now.Sub(a.spoke[dc]) > silentAfter*a.cfg.Pace {
			all = append(all, dc)
		}
	}
	return all
}

// Complete reports whether all other edges speak: nobody has versions that are not told.
func (a *Announcer) Complete() bool { return len(a.silent()) == 0 }

// poke wakes who waits on the channel, now or the next time.
func poke(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// verify asks those who announced whether they serve what they say, until ctx ends.
func (a *Announcer) verify(ctx context.Context) {
	a.cfg.Ledger.Each(func(key version.Key, _ version.Record, claimedBy string) {
		if claimedBy != "" { // from before a restart
			a.expect(key)
		}
	})
	for {
		a.mu.Lock()
		all := make(chan version.Key, len(a.pending))
		now := time.Now()
		for key, c := range a.pending {
			if !now.Before(c.next) {
				all <- key
			}
		}
		a.mu.Unlock()
		close(all)
		var workers sync.WaitGroup
		var silent sync.Map // edges that were asked in vain: the others' claims do not wait for each of theirs
		for range verifiers {
			workers.Go(func() {
				for key := range all {
					a.verifyBut(ctx, key, &silent)
				}
			})
		}
		workers.Wait()
		if !a.sleep(ctx) {
			return
		}
	}
}

// sleep waits for something to verify. What nobody could say is asked again after a while.
func (a *Announcer) sleep(ctx context.Context) bool {
	a.mu.Lock()
	waits := len(a.pending) > 0
	a.mu.Unlock()
	var again <-chan struct{}
	if waits {
		later, cancel := context.WithTimeout(ctx, a.cfg.Pace)
		defer cancel()
		again = later.Done()
	}
	select {
	case <-a.wake:
	case <-again:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// Verify asks the edge that announced a record whether it serves it. A record that it
// does not serve is taken back; a newer one that it serves is taken over.
func (a *Announcer) Verify(ctx context.Context, key version.Key) {
	a.verifyBut(ctx, key, new(sync.Map))
}

// verifyBut is Verify, but of edges that are silent, to which it adds one that does not answer.
func (a *Announcer) verifyBut(ctx context.Context, key version.Key, silent *sync.Map) {
	c, ok := a.expected(key)
	if !ok {
		return
	}
	from := a.edge(c)
	if _, in := silent.Load(from); from == nil || in || !from.Usable() {
		a.later(key)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	served, err := a.cfg.Served(ctx, from, key)
	switch {
	case err != nil && !outcome.IsNo(err):
		if ctx.Err() != nil {
			silent.Store(from, nil)
		}
		a.later(key)
		return
	case err == nil && key.IsTag() && served.Version.Newer(c.Version) && !served.Claimed:
		a.cfg.Ledger.Learn(from.Datacenter, []version.Announced{{Repo: key.Repo, Reference: key.Reference, Record: served}}, false, nil)
	case err == nil && key.IsTag() && !served.Known() && served.Digest != "" && served.Digest != c.Digest && c.tries < maxMoving: // it may be moving
		a.later(key)
		return
	case err == nil && c.shownBy(key, served):
		a.cfg.Ledger.Learn(from.Datacenter, []version.Announced{{Repo: key.Repo, Reference: key.Reference, Record: c.Record}}, false, nil)
	default:
		if a.cfg.Ledger.Withdraw(key, c.Version) {
			a.metrics.heard(heardFalse)
			a.cfg.Log.Warn("an announcement is not believed: the edge that made it does not serve it",
				"repo", key.Repo, "reference", key.Reference, "digest", c.Digest.String(), "version", c.Version.String(), "by", c.by)
		}
	}
	a.done(key)
}

// expect has the edge that announced a record asked about it.
func (a *Announcer) expect(key version.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending[key] = claim{}
}

// expected returns what the ledger says is claimed of a reference now.
func (a *Announcer) expected(key version.Key) (c claim, ok bool) {
	a.mu.Lock()
	c, ok = a.pending[key]
	a.mu.Unlock()
	if !ok {
		return c, false
	}
	if c.Record, c.by = a.cfg.Ledger.Claim(key); c.by == "" {
		a.done(key)
	}
	return c, c.by != ""
}

// later has a claim asked about again, after longer and longer times.
func (a *Announcer) later(key version.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.pending[key]; ok {
		p.next = time.Now().Add(a.cfg.Pace * time.Duration(min(1<<min(p.tries, 5), maxAgain)))
		p.tries++
		a.pending[key] = p
	}
}

// done ends a claim, unless another one has taken its place.
func (a *Announcer) done(key version.Key) {
	a.mu.Lock()
	delete(a.pending, key)
	a.mu.Unlock()
	if _, by := a.cfg.Ledger.Claim(key); by != "" {
		a.expect(key)
		a.later(key)
	}
}

// edge is whom to ask about a claim: the edge that said so or, where that is none of the
// fleet any more, the one that made the version.
func (a *Announcer) edge(c claim) (found *source.Source) {
	for _, s := range *a.senders.Load() {
		p := s.to
		switch p.Datacenter {
		case c.by:
			return p
		case c.Version.Datacenter:
			found = p
		}
	}
	return found
}
