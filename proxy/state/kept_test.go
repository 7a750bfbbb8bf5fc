package state_test

import (
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.org/breakwater/proxy/state"
)

// What stays has its blobs' memberships stay, of whatever age.
func TestWhatStaysKeepsItsBlobs(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	s.PutKept(app, "v1", a, "type", time.Now())
	for _, repo := range []string{app, app2} {
		s.Join(repo, b, 7)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error { // they are of long ago
		members := tx.Bucket([]byte("members"))
		return members.ForEach(func(key, _ []byte) error { return members.Put(key, []byte(`{"c":1000,"p":7}`)) })
	})
	for range 2 { // a start forgets what is old
		s = open(t, path)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, path)
	defer s.Close()
	for repo, want := range map[string]bool{app: true, app2: false} {
		if _, _, ok := s.Member(repo, b); ok != want {
			t.Errorf("the membership of %s is remembered: %t", repo, ok)
		}
	}
}

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
