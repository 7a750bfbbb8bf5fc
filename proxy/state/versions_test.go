package state_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/version"
)

func put(t *testing.T, s *state.DB, values map[string][]byte, heard *version.Heard) {
	t.Helper()
	if err := s.PutVersioned(values, heard); err != nil {
		t.Fatal(err)
	}
}

func one(key, value string) map[string][]byte { return map[string][]byte{key: []byte(value)} }

func valueOf(s *state.DB, key string) []byte {
	value, _ := s.Versioned(key)
	return value
}

// since is what was written after a position: key=value, with its position.
func since(s *state.DB, position uint64, most int) (all []string, positions []uint64, last uint64) {
	last = s.Since(position, most, func(at uint64, key string, value []byte) {
		all, positions = append(all, key+"="+string(value)), append(positions, at)
	})
	return all, positions, last
}

func TestVersionsSurviveAReopen(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	put(t, s, one("a\x00v1", "1"), nil)
	put(t, s, one("a\x00v2", "2"), &version.Heard{Datacenter: "mad1", Epoch: "e", Position: 7})
	put(t, s, map[string][]byte{"a\x00v1": nil}, nil)
	epoch, _, last := s.Epoch(), 0, s.Since(0, 0, nil)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
		if got := valueOf(s, "a\x00v2"); string(got) != "2" {
			t.Errorf("v2 is %q", got)
		}
		if got := valueOf(s, "a\x00v1"); got != nil {
			t.Errorf("v1 was removed, and is %q", got)
		}
		if h := s.HeardOf("mad1"); h.Epoch != "e" || h.Position != 7 {
			t.Errorf("heard %v", h)
		}
		if h := s.HeardOf("drp1"); h != (version.Heard{}) {
			t.Errorf("heard of drp1: %v", h)
		}
		if e := s.Epoch(); e != epoch || e == "" || s.Since(0, 0, nil) != last {
			t.Errorf("its log is %q at %d, and was %q at %d", e, s.Since(0, 0, nil), epoch, last)
		}
	}
	defer s.Close()
	other := open(t, t.TempDir()+"/state.db")
	defer other.Close()
	if other.Epoch() == epoch {
		t.Error("two logs have one name")
	}
}

// How far other edges were heard is forgotten for good, and remembered anew.
func TestHowFarOthersWereHeardIsForgotten(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	for _, want := range []uint64{7, 3} {
		put(t, s, one("a\x00v1", "1"), &version.Heard{Datacenter: "mad1", Epoch: "e", Position: want})
		if h := s.HeardOf("mad1"); h.Position != want {
			t.Errorf("heard %v", h)
		}
		if err := s.ForgetHeard(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if h := s.HeardOf("mad1"); h != (version.Heard{}) || string(valueOf(s, "a\x00v1")) != "1" {
				t.Errorf("it is forgotten, and it is %v", h)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path)
		}
	}
	s.Close() //nolint:errcheck // nothing was written since
}

// A key stands in the log once, where it was written last; positions never come twice.
func TestTheLogIsCompact(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	for _, key := range []string{"a", "b", "c", "a", "b"} {
		put(t, s, one(key, key), nil)
	}
	all, positions, last := since(s, 0, 100)
	if !slices.Equal(all, []string{"c=c", "a=a", "b=b"}) || !slices.Equal(positions, []uint64{3, 4, 5}) || last != 5 {
		t.Errorf("%v at %v, last %d", all, positions, last)
	}
	if all, positions, last = since(s, 3, 1); !slices.Equal(all, []string{"a=a"}) || positions[0] != 4 || last != 5 {
		t.Errorf("after 3: %v at %v, last %d", all, positions, last)
	}
	put(t, s, map[string][]byte{"b": nil, "never": nil}, nil)
	if all, _, last = since(s, 0, 100); !slices.Equal(all, []string{"c=c", "a=a"}) || last != 5 {
		t.Errorf("after a removal: %v, last %d", all, last)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	put(t, s, one("b", "again"), nil)
	if all, positions, last = since(s, 5, 100); !slices.Equal(all, []string{"b=again"}) || positions[0] != 6 || last != 6 {
		t.Errorf("a position came twice: %v at %v, last %d", all, positions, last)
	}
	if all, _, last = since(s, 100, 100); len(all) > 0 || last != 6 {
		t.Errorf("after the end: %v, last %d", all, last)
	}
}

// All of a prefix, and nothing else, however much that is; what is called may write.
func TestEachVersionedReadsPageByPage(t *testing.T) {
	s := open(t, t.TempDir()+"/state.db")
	defer s.Close()
	for _, n := range []int{0, 1, 999, 1000, 1001, 2000, 2001} {
		values, want := map[string][]byte{}, map[string]bool{}
		repo := fmt.Sprintf("r%d\x00", n)
		for i := range n {
			key := fmt.Sprint(repo, i)
			values[key], want[key] = []byte("x"), true
		}
		values[fmt.Sprintf("r%d", n)], values[fmt.Sprintf("r%d\x01", n)] = []byte("no"), []byte("no")
		put(t, s, values, nil)
		got := map[string]bool{}
		s.EachVersioned(repo, func(key string, value []byte) {
			if got[key] || string(value) != "x" {
				t.Errorf("%q twice, or not its value: %q", key, value)
			}
			if got[key] = true; len(got) == 1 { // a transaction that is open here would wait for ever
				put(t, s, one("zz\x00"+key, "y"), nil)
			}
		})
		if !maps.Equal(got, want) {
			t.Errorf("%d of %d", len(got), n)
		}
	}
	n := 0
	s.EachVersioned("", func(string, []byte) { n++ })
	if want := 1 + 999 + 1000 + 1001 + 2000 + 2001 + 2*7 + 6; n != want {
		t.Errorf("%d in all, want %d", n, want)
	}
}

// What PutVersioned has returned for is there though the process is killed.
func TestAVersionIsOnDiskWhenItIsSaid(t *testing.T) {
	if path := os.Getenv("STATE_TO_WRITE"); path != "" {
		s := open(t, path)
		put(t, s, one("a\x00v1", "1"), &version.Heard{Datacenter: "mad1", Position: 3})
		os.Exit(7) // neither Close nor the writer behind it
	}
	path := t.TempDir() + "/state.db"
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "STATE_TO_WRITE="+path)
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("%v: %s", err, out)
	}
	s := open(t, path)
	defer s.Close()
	if string(valueOf(s, "a\x00v1")) != "1" || s.HeardOf("mad1").Position != 3 {
		t.Error("it is lost")
	}
}

// A file of the format before is taken over, with all it says, and keeps versions from then on.
func TestAFileOfFormat1KeepsVersions(t *testing.T) {
	d := digest.FromString("v1")
	path := filled(t, d)
	edit(t, path, func(tx *bolt.Tx) error {
		for _, name := range []string{"versions", "log", "heard"} {
			if err := tx.DeleteBucket([]byte(name)); err != nil {
				return err
			}
		}
		if err := tx.Bucket([]byte("meta")).Delete([]byte("epoch")); err != nil {
			return err
		}
		return setFormat("1")(tx)
	})
	s := open(t, path)
	if got, _, _, ok := s.Tag("cache-x/app", "v1"); !ok || got != d {
		t.Error("its tag is lost")
	}
	if s.Epoch() == "" || s.Since(0, 0, nil) != 0 {
		t.Error("it has no log")
	}
	put(t, s, one("a\x00v1", "1"), nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if format := formatOf(t, path); format != "2" {
		t.Errorf("its format is %q", format)
	}
	s = open(t, path)
	defer s.Close()
	if string(valueOf(s, "a\x00v1")) != "1" {
		t.Error("it keeps no versions")
	}
	if matches, _ := os.ReadDir(strings.TrimSuffix(path, "/state.db")); len(matches) != 1 {
		t.Errorf("beside it lies %v", matches)
	}
}
