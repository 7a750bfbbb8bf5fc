package state_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/state"
)

// Clients choose what is remembered: it takes so much of the disk and no more, and what was
// seen last is what stays.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	const rounds, each = 3, 45_000
	key := func(round, i int) string { return fmt.Sprintf("%064x", round*each+i) }
	for round := range rounds {
		for i := range each {
			s.Grant(key(round, i), time.Now().Add(time.Duration(round-rounds)*time.Minute))
		}
		trial.Until(t, func() error { // what waits is bounded too
			if info, err := os.Stat(path); err != nil || info.Size() < 1<<20 {
				return fmt.Errorf("nothing is written: %v", err)
			}
			return nil
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 48<<20 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
	s = open(t, path)
	defer s.Close()
	kept := make([]int, rounds)
	for round := range rounds {
		for i := range each {
			if _, ok := s.Granted(key(round, i)); ok {
				kept[round]++
			}
		}
	}
	if total := kept[0] + kept[1] + kept[2]; total > 8<<20/64 || total < 8<<20/128 {
		t.Errorf("%v grants are remembered; 8 MiB of them should be", kept)
	}
	if kept[2] != each || kept[0] == each {
		t.Errorf("%v of each round are remembered: the oldest should go first", kept)
	}
}

// A list that is larger than any should be is not remembered, nor is the one before it.
func TestAHugeListIsNotRemembered(t *testing.T) {
	s := open(t, t.TempDir()+"/state.db")
	defer s.Close()
	d := digest.FromString("subject")
	list := func(n int) []json.RawMessage {
		return []json.RawMessage{json.RawMessage(`"` + strings.Repeat("a", n) + `"`)}
	}
	s.PutReferrers("cache-x/app", d, list(1000))
	if got := s.Referrers("cache-x/app", d); len(got) != 1 {
		t.Fatalf("%d", len(got))
	}
	s.PutReferrers("cache-x/app", d, list(2<<20))
	if got := s.Referrers("cache-x/app", d); len(got) != 0 {
		t.Errorf("a list of %d bytes", len(got[0]))
	}
}

// smallDisk mounts a file system of 1 MiB, and fills it and frees it.
func smallDisk(t *testing.T) (dir string, fill, free func()) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := dir + "/ballast"
	return dir, func() { os.WriteFile(ballast, make([]byte, 2<<20), 0o600) }, func() { os.Remove(ballast) }
}

// log is what is logged, while it is being logged.
type log struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

// awaitRefusal waits until the log says that the disk has refused what was to be written.
func (l *log) awaitRefusal(t *testing.T) {
	t.Helper()
	trial.Until(t, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !strings.Contains(l.String(), "cannot be written") {
			return fmt.Errorf("the disk has taken it: %s", l.String())
		}
		return nil
	})
}

func openLogging(t *testing.T, path string) (*state.DB, *log) {
	t.Helper()
	var said log
	s, err := state.Open(path, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s, &said
}

// What the disk did not take is known all the same, and is written when it takes something
// again: what was remembered, and what was forgotten.
func TestWhatTheDiskDidNotTakeIsWrittenLater(t *testing.T) {
	dir, fill, free := smallDisk(t)
	path := dir + "/state.db"
	s := open(t, path)
	gone := digest.FromString("gone")
	s.Join("cache-x/left", gone, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, said := openLogging(t, path)
	fill()
	var all []digest.Digest
	s.Leave("cache-x/left")
	for i := range 2000 {
		all = append(all, digest.FromString(fmt.Sprint(i)))
		s.Join("cache-x/app", all[i], 1)
	}
	said.awaitRefusal(t)
	known := func(when string) {
		t.Helper()
		n := 0
		for _, d := range all {
			if isMember(s, "cache-x/app", d) {
				n++
			}
		}
		if n != len(all) || isMember(s, "cache-x/left", gone) {
			t.Errorf("%s: %d of %d are remembered, what was left: %v", when, n, len(all), isMember(s, "cache-x/left", gone))
		}
	}
	known("while the disk is full")
	free()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	known("after a restart")
}

// What waits for a disk that takes nothing is bounded. Where a removal finds no room there,
// all of its kind is forgotten: nothing that was removed, or replaced, is remembered.
func TestWhatWaitsForAFullDiskIsBounded(t *testing.T) {
	dir, fill, free := smallDisk(t)
	path := dir + "/state.db"
	s := open(t, path)
	d := digest.FromString("v1")
	s.PutReferrers("cache-x/app", d, []json.RawMessage{json.RawMessage(`"old"`)})
	for _, tag := range []string{"removed", "other"} {
		s.PutTag("cache-x/app", tag, d, "type", "harbor", time.Now())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, said := openLogging(t, path)
	fill()
	large := []json.RawMessage{json.RawMessage(`"` + strings.Repeat("a", 1_000_000) + `"`)}
	var all []digest.Digest
	for i := range 150 { // 64 MiB may wait, and as much may be on its way
		all = append(all, digest.FromString(fmt.Sprint(i)))
		s.PutReferrers("cache-x/app", all[i], large)
	}
	said.awaitRefusal(t)
	waiting := 0
	for _, d := range all {
		waiting += len(s.Referrers("cache-x/app", d))
	}
	if waiting > 2*64<<20/1_000_000 || waiting < 64<<20/1_000_000-1 {
		t.Errorf("%d MB wait for the disk", waiting)
	}
	s.PutReferrers("cache-x/app", d, large) // no room is left for it
	if got := s.Referrers("cache-x/app", d); len(got) > 0 {
		t.Errorf("what was replaced is remembered: %.20s", got)
	}
	for i := range 5000 { // removals take what is left, and more than that, whatever is on its way
		s.DropTag("cache-x/app", fmt.Sprintf("%030000d", i))
	}
	s.DropTag("cache-x/app", "removed")
	if _, _, _, ok := s.Tag("cache-x/app", "removed"); ok {
		t.Error("what was removed is remembered")
	}
	free()
	unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=400m") //nolint:errcheck // a failure shows below
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if got := s.Referrers("cache-x/app", d); len(got) > 0 {
		t.Errorf("what was replaced is remembered after a restart: %.20s", got)
	}
	for _, tag := range []string{"removed", "other"} { // which removals were lost nobody can say
		if _, _, _, ok := s.Tag("cache-x/app", tag); ok {
			t.Errorf("%s is remembered after a restart", tag)
		}
	}
}
