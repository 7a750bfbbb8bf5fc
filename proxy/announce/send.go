package announce

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/proxy/version"
)

// Batch is what an edge says to a peer (POST peer.AnnouncePath, JSON). One without
// records asks how far the peer has heard.
type Batch struct {
	version.Run
	Clock   int64               `json:"clock"` // of the sender, as in version.Version
	After   uint64              `json:"after"` // the position up to which the peer has heard, as far as the sender knows
	Until   uint64              `json:"until"` // the position that this batch ends at
	Last    uint64              `json:"last"`  // the position of the log then; below Until: of an edge that does not say it
	Records []version.Announced `json:"records"`
	// Pulls are what clients were given by the sender, and PullsUntil is where that ends in a
	// log of its own (package touch).
	Pulls      []touch.Pull `json:"pulls,omitempty"`
	PullsUntil uint64       `json:"pulls_until,omitempty"`
}

// Position is a peer's answer: 200 where it has heard the batch, 409 where the batch begins
// behind what it has heard.
type Position struct {
	Position uint64 `json:"position"` // up to which it has heard
	Clock    int64  `json:"clock"`    // its own
	// Unheard are the datacenters whose edges it has not heard of for a while: it is told
	// their versions too, as far as they are known.
	Unheard []string `json:"unheard,omitempty"`
	// Pulls is up to where it has heard of pulls: the batch's PullsUntil.
	Pulls uint64 `json:"pulls,omitempty"`
}

const maxAnswer = 4 << 10

// sender tells one peer.
type sender struct {
	a     *Announcer
	to    *source.Source
	begun time.Time

	cancel context.CancelFunc // of run; nil: it has not begun
	wake   chan struct{}
	back   chan struct{} // the peer has spoken: it can be reached again

	mu      sync.Mutex
	asked   bool          // the peer has said how far it has heard
	heard   uint64        // the position up to which the peer has heard
	last    uint64        // the log's last position, when it was last looked at
	level   time.Time     // when the peer had last heard everything; zero: not yet
	whole   uint64        // up to there it is told everything, not this edge's own versions alone: it has lost what it knew
	unheard []string      // datacenters whose versions it is told too
	relayed uint64        // up to there it was told those that were left out before
	relay   uint64        // up to there it is to be told them
	failing bool          // the last try failed
	moved   chan struct{} // closed when heard or failing changes

	telling atomic.Bool // of pulls: one batch at a time has them
	more    atomic.Bool // pulls are left to be told
}

func newSender(a *Announcer, to *source.Source) *sender {
	return &sender{a: a, to: to, begun: a.cfg.Now(), wake: make(chan struct{}, 1), back: make(chan struct{}, 1), moved: make(chan struct{}), failing: true}
}

// backlog is what the peer has not heard.
func (s *sender) backlog(now time.Time) Backlog {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := Backlog{Datacenter: s.to.Datacenter, Positions: s.last - min(s.last, s.heard)}
	since := s.begun
	if s.level.After(since) {
		since = s.level
	}
	if b.Positions > 0 {
		b.Waiting = max(0, now.Sub(since))
	}
	return b
}

// end tells the peer no more. Nobody waits for it.
func (s *sender) end() {
	if s.cancel != nil {
		s.cancel()
	}
	s.note(func() { s.failing = true })
}

// reached waits until the peer has heard up to a position. It gives up at once where the
// peer does not answer.
func (s *sender) reached(ctx context.Context, position uint64) bool {
	for {
		s.mu.Lock()
		heard, failing, moved := s.heard, s.failing, s.moved
		s.mu.Unlock()
		if heard >= position || failing {
			return heard >= position
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// run tells the peer whatever is new, until ctx ends.
func (s *sender) run(ctx context.Context) {
	wait := time.Duration(0)
	for {
		timer := time.NewTimer(wait)
		wake := s.wake
		if s.isFailing() {
			wake = s.back // new things do not hurry what fails
		}
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		select {
		case <-s.back: // what it said before this try hurries no other
		default:
		}
		err := s.tellAll(ctx)
		if err != nil && ctx.Err() == nil {
			s.a.metrics.sent(s.to.Datacenter, "failed") // an edge that starts later is no failure that others should wait for
		}
		switch before := wait; {
		case err == nil:
			wait = idle * s.a.cfg.Pace
		case before == 0 || before > maxPace*s.a.cfg.Pace:
			wait = s.a.cfg.Pace
		default:
			wait = min(2*before, maxPace*s.a.cfg.Pace)
		}
		s.note(func() { s.failing = err != nil })
	}
}

func (s *sender) isFailing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}

// answers reports whether the peer has said how far it has heard, and the last try went well.
func (s *sender) answers() bool { return s.asked && !s.isFailing() }

// note changes what is known of the peer, and tells those who wait for it.
func (s *sender) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.moved)
	s.moved = make(chan struct{})
}

// told is a batch, and what became of it.
type told struct {
	Batch
	number int      // among those of one tellAll
	relay  []string // the datacenters whose versions are relayed, which were left out before; nil: it is news
	last   uint64   // the log's last position when it was sent
	answer Position
	err    error
}

// tellAll sends batches until the peer has heard everything. The way may be long: what is
// written while an answer is on its way is sent beside it, behind all that is not answered
// yet, so that a batch that comes before another leaves no gap.
func (s *sender) tellAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan told, maxBeside)
	var sent, waiting, answered int
	var until uint64
	var since time.Time // of the silence
	for {
		b, last, relay := s.batch()
		if waiting == 0 {
			since = time.Now()
		}
		switch {
		case waiting == 0 && sent > 0 && s.asked && b.After == last && !s.more.Swap(false):
			return nil
		case waiting == 0 || s.answers() && waiting < maxBeside && b.Until > until && time.Since(since) < answersIn:
			sent, waiting, until = sent+1, waiting+1, b.Until
			go func(number int) {
				answer, err := s.tell(ctx, b)
				answers <- told{b, number, relay, last, answer, err}
			}(sent)
		}
		select {
		case <-s.wake:
		case t := <-answers:
			waiting, since = waiting-1, time.Now()
			if t.relay != nil && t.err == nil {
				s.note(func() {
					if t.After == s.relayed && slices.Equal(t.relay, s.unheard) { // it is asked for these still, and for no others
						s.relayed = t.Until
					}
				})
			}
			if t.number < answered { // a later one says more
				continue
			}
			answered = t.number
			again, err := s.take(t)
			if err != nil {
				return err
			}
			if again { // what is on its way is not enough
				answered, until = sent+1, 0
			}
		}
	}
}

// take notes what the peer says of a batch. again says that it is to be told everything.
func (s *sender) take(t told) (again bool, err error) {
	switch {
	case t.err != nil:
		return false, t.err
	case s.asked && t.answer.Position < t.Until && t.answer.Position >= t.After:
		return false, fmt.Errorf("%s hears nothing", s.to.Name)
	}
	s.note(func() {
		news := slices.ContainsFunc(t.answer.Unheard, func(dc string) bool { return !slices.Contains(s.unheard, dc) })
		s.asked, s.failing, s.heard, s.unheard = true, false, t.answer.Position, t.answer.Unheard
		if t.answer.Position == t.last {
			s.level = s.a.cfg.Now()
		}
		if t.answer.Position > t.last { // this edge has lost a part of its log
			s.heard = 0
		}
		if again = s.heard == 0; again { // the peer, or this edge, has lost what it knew
			s.whole = t.last
		}
		switch {
		case news: // what was left out is wanted now
			s.relayed, s.relay = 0, s.heard
		case again || len(s.unheard) == 0:
			s.relay = 0
		}
	})
	return again, nil
}

// batch returns what the peer is to be told next, and the log's last position. A peer
// hears of an edge's own versions from that edge: what is told does not grow with the
// square of the edges. Those of an edge that it has not heard of lately it is told by the
// others (relay), where there is nothing that is new.
func (s *sender) batch() (b Batch, last uint64, relay []string) {
	s.mu.Lock()
	b = Batch{Run: s.a.cfg.Ledger.Run(), After: s.heard, Records: []version.Announced{}}
	whole, unheard, relayed, end := s.whole, s.unheard, s.relayed, s.relay
	s.mu.Unlock()
	if relayed < end {
		if _, _, last = s.a.cfg.Ledger.Since(b.After, 0); b.After >= last {
			b.After = relayed
			return s.relays(b, end, unheard), last, unheard
		}
	}
	after := b.After
	if after >= whole && len(unheard) == 0 {
		after = s.a.cfg.Ledger.Onward(after)
	}
	all, until, last := s.a.cfg.Ledger.Since(after, maxBatch)
	s.mu.Lock()
	s.last = last
	s.mu.Unlock()
	if b.Last = last; !s.asked {
		b.Until = b.After
		return b, last, nil
	}
	b.Until = until
	if len(all) == 0 && until == after {
		b.Until = last // nothing stands between
	}
	b.Records = s.withManifests(all, func(r version.Announced) bool {
		return b.After < whole || r.Own || slices.Contains(unheard, r.Version.Datacenter)
	})
	return b, last, nil
}

// relays completes a batch of the versions of datacenters that the peer has not heard of lately,
// up to an end at most that it has heard of this edge's own.
func (s *sender) relays(b Batch, end uint64, unheard []string) Batch {
	all, until, last := s.a.cfg.Ledger.Since(b.After, maxBatch)
	if b.Last, b.Until = last, min(until, end); len(all) == 0 && until == b.After {
		b.Until = end // nothing stands between
	}
	b.Records = s.withManifests(all, func(r version.Announced) bool {
		return !r.Own && slices.Contains(unheard, r.Version.Datacenter)
	})
	return b
}

// withManifests returns those of a log that are told, with manifests that are small and new.
func (s *sender) withManifests(all []version.Announced, told func(version.Announced) bool) []version.Announced {
	records, left := []version.Announced{}, maxTold
	for _, r := range all {
		if !told(r) {
			continue
		}
		if !r.Deleted() && r.Age(s.a.cfg.Now()) < s.a.cfg.Settled {
			if m := s.a.cfg.Manifest(r.Digest); len(m) <= min(maxManifest, left) {
				r.Manifest = m
				left -= len(m)
			}
		}
		records = append(records, r)
	}
	return records
}

// tell sends one batch, and returns the position at which the peer is then.
func (s *sender) tell(ctx context.Context, b Batch) (answer Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	b.Clock = s.a.cfg.Ledger.Clock()
	if s.telling.CompareAndSwap(false, true) {
		defer s.telling.Store(false)
		b.Pulls, b.PullsUntil = s.a.cfg.Touches.Untold(s.to.Datacenter)
	}
	text, err := json.Marshal(b)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.to.Registry.URL().String()+peer.AnnouncePath, bytes.NewReader(text))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.to.RoundTrip(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict || json.NewDecoder(body).Decode(&answer) != nil {
		return answer, fmt.Errorf("%s answers %s", s.to.Name, resp.Status)
	}
	s.a.cfg.Ledger.Hear(answer.Clock)
	s.a.metrics.sentRecords(s.to.Datacenter, len(b.Records))
	if len(b.Pulls) > 0 {
		s.more.Store(s.a.cfg.Touches.Told(s.to.Datacenter, answer.Pulls))
	}
	return answer, nil
}
