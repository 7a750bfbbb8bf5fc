package gslb

import "time"

// refresh makes the view anew: what is answered changes from one query to the next.
func (s *Node) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next := s.remake(now)
	if s.wake != nil {
		s.wake.Stop()
	}
	if !next.IsZero() {
		s.wake = time.AfterFunc(next.Sub(now), s.refresh)
	}
}

// remake makes the view of now, and says when it is another by itself, as when an override
// ends; zero: not. The lock is held.
func (s *Node) remake(now time.Time) (next time.Time) {
	s.state.said, next = s.state.living(now)
	if s.health != nil {
		s.state.Health, _ = s.health.snapshot()
	}
	if !s.serving {
		return next
	}
	was := s.isolated
	if s.state.Judged, s.isolated = s.judged(now); s.isolated != was {
		s.metrics.setIsolated(s.isolated)
		s.log.Warn("this name server is cut off, or is no longer: what it knew of the datacenters stays while it is", "isolated", s.isolated)
	}
	if s.state.Judged == nil { // it is cut off and knows nothing
		return next
	}
	if s.state.LastGood == nil {
		s.state.LastGood = map[string][]string{}
	}
	known := s.known(now, s.state.Overrides)
	if good := s.noteGood(known); next.IsZero() || !good.IsZero() && good.Before(next) {
		next = good
	}
	v := known.view(s.fleet.Fleet, s.metrics)
	if s.unsigned = s.fleet.signer.sign(v); s.unsigned != nil { // better what was answered before than what nobody believes
		s.log.Error("what is answered cannot be signed, and stays as it was", "err", s.unsigned.Error())
		return next
	}
	s.metrics.changed(v)
	first := s.view.Load() == nil
	s.given(now) // by the view of before
	s.view.Store(v)
	s.promise(v, now)
	if first {
		close(s.ready)
	}
	select {
	case s.changes <- struct{}{}:
	default:
	}
	return next
}
