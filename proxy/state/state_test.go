package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"example.org/breakwater/proxy/state"
)

func open(t *testing.T, path string) *state.DB {
	t.Helper()
	m, err := state.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func isMember(m *state.DB, repo string, d digest.Digest) bool {
	_, _, ok := m.Member(repo, d)
	return ok
}

// What a repo was seen to hold is known also while it is being written down, and
// a delete at that moment is not undone by what is on its way to the disk.
func TestStateIsWholeWhileItIsWritten(t *testing.T) {
	path := t.TempDir() + "/state.db"
	m := open(t, path)
	var all []digest.Digest
	for i := range 2000 {
		all = append(all, digest.FromString(fmt.Sprint(i)))
		m.Join("cache-x/kept", all[i], 1)
		m.Join("cache-x/left", all[i], 1)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	left := false
	for i := 0; ; i++ { // the write comes within a second
		if !isMember(m, "cache-x/kept", all[i%len(all)]) {
			t.Fatal("forgotten while it was written")
		}
		if isMember(m, "cache-x/left", all[i%len(all)]) == left {
			t.Fatalf("left: %v, and the state says the opposite", left)
		}
		if i%len(all) > 0 {
			continue
		}
		now, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if now.ModTime() == before.ModTime() {
			continue
		}
		if left {
			break
		}
		m.Leave("cache-x/left") // as near to the write as one can see from outside
		left, before = true, now
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, path)
	defer m.Close()
	for _, d := range all {
		if !isMember(m, "cache-x/kept", d) || isMember(m, "cache-x/left", d) {
			t.Fatal("after a restart something else is remembered")
		}
	}
}

// A file that the disk has damaged is put aside, whatever is wrong with it: it
// does not end the edge, now or later.
func TestADamagedStateIsPutAside(t *testing.T) {
	if underRace {
		t.Skip("the race detector's own checks end the process")
	}
	if path := os.Getenv("BREAKWATER_DAMAGED_STATE"); path != "" { // a process of its own, which a fault would end
		useDamaged(t, path)
		return
	}
	path := t.TempDir() + "/state.db"
	m := open(t, path)
	for i := range 20_000 {
		m.Join("cache-x/app", digest.FromString(fmt.Sprint(i)), 1)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const head = 3 * 4096
	zeros, noise := bytes.Clone(whole), bytes.Clone(whole)
	clear(zeros[head:])
	for i := head; i < len(noise); i += 97 {
		noise[i] ^= 0x55
	}
	for name, content := range map[string][]byte{
		"empty": {}, "a few bytes": whole[:100], "half": whole[:len(whole)/2], "the head": whole[:head], "less the last page": whole[:len(whole)-4096],
		"zeros behind the head": zeros, "noise behind the head": noise, "no database": bytes.Repeat([]byte("no database"), 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/state.db"
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestADamagedStateIsPutAside$")
			cmd.Env = append(os.Environ(), "BREAKWATER_DAMAGED_STATE="+path)
			out, err := cmd.CombinedOutput()
			if bytes.Contains(out, []byte("checkptr")) { // the race detector's build checks the pointers that bolt makes of noise, and ends the process; other builds do not
				return
			}
			if err != nil {
				t.Errorf("%v: %.2000s", err, out)
			}
		})
	}
}

func useDamaged(t *testing.T, path string) {
	m := open(t, path)
	for i := range 20_000 {
		m.Member("cache-x/app", digest.FromString(fmt.Sprint(i)))
	}
	another := digest.FromString("another")
	m.Join("cache-x/app", another, 1)
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	m = open(t, path)
	defer m.Close()
	if !isMember(m, "cache-x/app", another) {
		t.Error("nothing is remembered any more")
	}
}

// A tag that has moved on stays when the digest that it left is deleted, whichever of the
// two the disk has.
func TestATagThatMovedOnOutlivesItsOldDigest(t *testing.T) {
	path := t.TempDir() + "/state.db"
	old, moved := digest.FromString("old"), digest.FromString("moved")
	s := open(t, path)
	put := func(tag string, d digest.Digest) {
		s.PutTag("multi-dc-x/app", tag, d, "type", "harbor", time.Now())
	}
	put("latest", old)
	put("stable", old)
	if err := s.Close(); err != nil { // the disk has them
		t.Fatal(err)
	}
	s = open(t, path)
	put("latest", moved)
	s.DropDigest("multi-dc-x/app", old)
	check := func(when string) {
		t.Helper()
		if d, _, _, ok := s.Tag("multi-dc-x/app", "latest"); !ok || d != moved {
			t.Errorf("%s: the tag that moved on is %s, %v", when, d, ok)
		}
		if _, _, _, ok := s.Tag("multi-dc-x/app", "stable"); ok {
			t.Errorf("%s: the tag that did not move is there", when)
		}
	}
	check("at once")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	check("after a restart")
}

// What is no file is put aside as a damaged one is, and nobody waits for a pipe.
func TestWhatIsNoStateFileIsPutAside(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a directory":       func(path string) error { return os.MkdirAll(path+"/x", 0o700) },
		"a pipe":            func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link to nowhere": func(path string) error { return os.Symlink(path+".gone", path) },
		"a link to a pipe": func(path string) error {
			return errors.Join(unix.Mkfifo(path+".pipe", 0o600), os.Symlink(path+".pipe", path))
		},
		"a directory, as link": func(path string) error {
			return errors.Join(os.Mkdir(path+".dir", 0o700), os.Symlink(path+".dir", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/state.db"
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			m := open(t, path)
			d := digest.FromString("a")
			m.Join("cache-x/app", d, 1)
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			m = open(t, path)
			defer m.Close()
			if !isMember(m, "cache-x/app", d) {
				t.Error("nothing is remembered")
			}
		})
	}
}
