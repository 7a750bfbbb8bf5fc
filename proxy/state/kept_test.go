package state_test

import (
	"testing"
	"time"

	"example.org/breakwater/proxy/state"
)

// What stays is remembered with when its upstream deleted it, until it is let go.
func TestWhatStaysIsRemembered(t *testing.T) {
	since := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	twice(t, func(s *state.DB) {
		for _, repo := range []string{app, app2} {
			s.PutKept(repo, "v1", a, "type", since)
			s.PutKept(repo, "v2", b, "type", time.Time{})
			s.PutTag(repo, "v2", b, "type", "harbor", time.Now())
		}
		s.PutKept(app, "v3", a, "type", since)
		s.DropKept(app, "v3")
		s.LetGo(b)
	}, func(when string, s *state.DB) {
		for _, repo := range []string{app, app2} {
			d, mediaType, gone, ok := s.Kept(repo, "v1")
			if !ok || d != a || mediaType != "type" || !gone.Equal(since) {
				t.Errorf("%s: %s %s %v %t", when, d, mediaType, gone, ok)
			}
			if all := s.Gone(repo); len(all) != 1 || !all["v1"].Equal(since) {
				t.Errorf("%s: gone are %v", when, all)
			}
			if _, _, _, ok := s.Tag(repo, "v2"); ok {
				t.Errorf("%s: what was let go is remembered as a tag", when)
			}
		}
		for _, reference := range []string{"v2", "v3"} {
			if _, _, _, ok := s.Kept(app, reference); ok {
				t.Errorf("%s: %s is still there", when, reference)
			}
		}
	})
	var none *state.DB
	none.PutKept(app, "v1", a, "type", since)
	none.DropKept(app, "v1")
	none.LetGo(a)
	if _, _, _, ok := none.Kept(app, "v1"); ok || none.Gone(app) != nil {
		t.Error("no file remembers")
	}
}
