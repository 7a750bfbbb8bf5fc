package state_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"example.org/breakwater/proxy/state"
)

// twice has a check made of what waits to be written, and of what a restart finds.
func twice(t *testing.T, fill func(*state.DB), check func(when string, s *state.DB)) {
	t.Helper()
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	fill(s)
	check("before it is written", s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	check("after a restart", s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

const app, app2 = "multi-dc-demo/app", "multi-dc-demo/app2" // one name begins with the other

var a, b = digest.FromString("a"), digest.FromString("b")

func TestTagsAreRemembered(t *testing.T) {
	twice(t, func(s *state.DB) {
		s.PutTag(app, "v1", a, "type", "harbor", time.Now())
		s.PutTag(app, "v2", a, "type", "harbor", time.Now())
		s.PutTag(app, "v2", b, "other", "peer-mad1", time.Now())
		s.PutTag(app, "v3", a, "type", "harbor", time.Now())
		s.DropTag(app, "v3")
		s.PutTag(app2, "v1", a, "type", "harbor", time.Now())
	}, func(when string, s *state.DB) {
		for reference, want := range map[string]string{"v1": a.String() + " type harbor true", "v2": b.String() + " other peer-mad1 true", "v3": "   false", "v": "   false"} {
			d, mediaType, source, ok := s.Tag(app, reference)
			if got := fmt.Sprint(d, " ", mediaType, " ", source, " ", ok); got != want {
				t.Errorf("%s: %s is %q, want %q", when, reference, got, want)
			}
		}
	})
	twice(t, func(s *state.DB) {
		for _, repo := range []string{app, app2} {
			s.PutTag(repo, "v1", a, "type", "harbor", time.Now())
			s.PutTag(repo, "v2", b, "type", "harbor", time.Now())
		}
		s.DropDigest(app, a)
	}, func(when string, s *state.DB) {
		for at, want := range map[[2]string]bool{{app, "v1"}: false, {app, "v2"}: true, {app2, "v1"}: true, {app2, "v2"}: true} {
			if _, _, _, ok := s.Tag(at[0], at[1]); ok != want {
				t.Errorf("%s: %v is remembered: %t", when, at, ok)
			}
		}
	})
}

func TestListsAreRemembered(t *testing.T) {
	sig := []json.RawMessage{json.RawMessage(`{"digest":"x"}`)}
	twice(t, func(s *state.DB) {
		for _, repo := range []string{app, app2} {
			s.PutTagList(repo, []string{"v1", "v2"})
			s.PutReferrers(repo, a, sig)
		}
		s.DropLists(app)
		s.PutReferrers(app, b, sig)
	}, func(when string, s *state.DB) {
		if got := s.TagList(app); got != nil {
			t.Errorf("%s: a list that was dropped: %q", when, got)
		}
		if got := s.TagList(app2); !slices.Equal(got, []string{"v1", "v2"}) {
			t.Errorf("%s: %q", when, got)
		}
		for repo, d := range map[string]digest.Digest{app: b, app2: a} {
			if got := s.Referrers(repo, d); len(got) != 1 || string(got[0]) != string(sig[0]) {
				t.Errorf("%s: of %s %s", when, repo, got)
			}
		}
		if got := s.Referrers(app, a); got != nil {
			t.Errorf("%s: %s", when, got)
		}
	})
}

func TestMembersAndGrantsAreRemembered(t *testing.T) {
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	twice(t, func(s *state.DB) {
		s.Join(app, a, 7)
		s.Join(app2, a, 8)
		s.Leave(app)
		s.Join(app, b, 9)
		s.Grant("kept", at)
		s.Grant("revoked", at)
		s.Revoke("revoked")
	}, func(when string, s *state.DB) {
		for at, want := range map[[2]string]int64{{app, a.String()}: 0, {app, b.String()}: 9, {app2, a.String()}: 8, {app2, b.String()}: 0} {
			if project, _, ok := s.Member(at[0], digest.Digest(at[1])); project != want || ok != (want != 0) {
				t.Errorf("%s: %v is of %d, %t", when, at, project, ok)
			}
		}
		if got, ok := s.Granted("kept"); !ok || !got.Equal(at) {
			t.Errorf("%s: granted at %v, %t", when, got, ok)
		}
		if got, ok := s.Granted("revoked"); ok || !got.IsZero() {
			t.Errorf("%s: a grant that was revoked: %v", when, got)
		}
	})
}

// What nobody asked about for 90 days is forgotten at a start, and nothing else.
func TestWhatIsOldIsForgotten(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	for name, age := range map[string]time.Duration{"old": 91 * 24 * time.Hour, "kept": 89 * 24 * time.Hour, "new": 0} {
		s.PutTag(app, name, a, "type", "harbor", time.Now().Add(-age))
		s.Grant(name, time.Now().Add(-age))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("tags")).Put([]byte(app+"\x00broken"), []byte("{")) })
	s = open(t, path)
	if err := s.Close(); err != nil { // it forgets first
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	for name, want := range map[string]bool{"old": false, "kept": true, "new": true, "broken": false} {
		if _, _, _, ok := s.Tag(app, name); ok != want {
			t.Errorf("the tag %s is remembered: %t", name, ok)
		}
		if _, ok := s.Granted(name); ok != want {
			t.Errorf("the grant %s is remembered: %t", name, ok)
		}
	}
}

// A record whose digest is none is no record.
func TestARecordWithoutADigest(t *testing.T) {
	path := t.TempDir() + "/state.db"
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("tags")).Put([]byte(app+"\x00v1"), fmt.Appendf(nil, `{"d":"sha256:short","c":%d}`, time.Now().Unix()))
	})
	s := open(t, path)
	defer s.Close()
	if d, _, _, ok := s.Tag(app, "v1"); ok {
		t.Errorf("it is %s", d)
	}
}

// An edge without a store has no state, and asks again after a restart.
func TestNoStateIsAnEmptyOne(t *testing.T) {
	var none *state.DB
	none.PutTag(app, "v1", a, "type", "harbor", time.Now())
	none.PutTagList(app, []string{"v1"})
	none.PutReferrers(app, a, nil)
	none.DropTag(app, "v1")
	none.DropDigest(app, a)
	none.DropLists(app)
	if _, _, _, ok := none.Tag(app, "v1"); ok || none.TagList(app) != nil || none.Referrers(app, a) != nil {
		t.Error("nothing remembers something")
	}
}

// A file of each older format is taken over with what it says.
func TestOlderFormatsAreTakenOver(t *testing.T) {
	for _, value := range []string{"0", "1"} {
		path := filled(t, a)
		edit(t, path, setFormat(value))
		s := open(t, path)
		if _, _, _, ok := s.Tag("cache-x/app", "v1"); !ok {
			t.Errorf("format %s: what was in it is lost", value)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := formatOf(t, path); got != "2" {
			t.Errorf("format %s is %s then", value, got)
		}
	}
}

// Two edges do not share a file.
func TestAFileServesOneEdge(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	defer s.Close()
	if _, err := state.Open(path, nil); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("%v", err)
	}
}

// What is in the file is for the edge alone.
func TestTheFileIsTheEdgesAlone(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	defer s.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
