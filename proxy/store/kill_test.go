package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
)

// victimDir is the environment variable with the store's directory, in a process that is
// to be killed.
const victimDir = "BREAKWATER_TEST_VICTIM"

// traceeDir is the same in a process that is to be traced.
const traceeDir = "BREAKWATER_TEST_TRACEE"

// TestMain lets the test binary be such a process.
func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
		return
	}
	if dir := os.Getenv(traceeDir); dir != "" {
		tracee(dir)
		return
	}
	os.Exit(m.Run())
}

// victim fetches blobs of all sizes into a store, four at a time, without end. It prints
// the size of each blob that the store holds.
func victim(dir string) {
	s, err := Open(Config{Dir: dir})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	var all sync.WaitGroup
	start := rand.IntN(1 << 20) // other sizes than the victims before it
	for worker := range 4 {
		all.Go(func() {
			for n := start + worker; ; n += 4 {
				b, d := content(1 + n*7919%(1<<20))
				src := from(func(context.Context, int64, int64) (Body, error) {
					return Body{ReadCloser: io.NopCloser(iotest.HalfReader(bytes.NewReader(b))), Size: int64(len(b)), Offset: 0}, nil
				})
				r, err := s.Fetch(context.Background(), d, src)
				if err == nil {
					_, err = io.Copy(io.Discard, r)
					r.Close()
				}
				if err != nil {
					fmt.Println("fetch:", err)
					os.Exit(1)
				}
				settle(s, d) // the store holds the blob only when it is committed
				fmt.Println(len(b))
			}
		})
	}
	all.Wait()
}

// tracee opens a store and fetches one blob into it, and exits.
func tracee(dir string) {
	s, err := Open(Config{Dir: dir, Scrub: -1})
	if err == nil {
		b, d := content(300 << 10)
		var r *Reader
		r, err = s.Fetch(context.Background(), d, Source{Name: "test", Open: func(context.Context, int64, int64) (Body, error) {
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b)), Offset: 0}, nil
		}})
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			settle(s, d)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestKilledAtAnyMoment kills a process during its fills, many times. Each time the store
// opens, holds every blob that was complete, and has no temporary file.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	dir := t.TempDir()
	complete := map[string]bool{}
	for round := range rounds {
		for size := range killed(t, dir, 1+rand.IntN(12)) {
			complete[size] = true
		}
		s, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("round %d: left behind: %v, %v", round, left, err)
		}
		s.Close()
	}
	s := open(t, Config{Dir: dir})
	for size := range complete {
		var n int
		fmt.Sscan(size, &n)
		b, d := content(n)
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Errorf("a complete blob of %d bytes is gone: %v", n, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("a blob of %d bytes has %d others, %v", n, len(got), err)
		}
		r.Close()
	}
	<-s.scanned
	for _, slot := range s.blobs.slots { // also blobs that the victim did not print
		d := s.blobs.digest(s.blobs.at(slot))
		text, err := os.ReadFile(s.path(d))
		if err != nil || digest.FromBytes(text) != d {
			t.Errorf("%s is something else: %v", d, err)
		}
	}
	t.Logf("%d blobs were complete", len(complete))
}

// killed runs a victim, kills it when it has printed that many sizes, and returns all
// sizes that it printed.
func killed(t *testing.T, dir string, after int) map[string]bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sizes := map[string]bool{}
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // the pipe ends after everything that was printed before the kill
			break
		}
		if strings.Contains(line, ":") {
			t.Error(line)
			break
		}
		sizes[strings.TrimSpace(line)] = true
		if len(sizes) == after {
			cmd.Process.Kill()
		}
	}
	cmd.Process.Kill()
	cmd.Wait() //nolint:errcheck // it was killed
	return sizes
}

// A slow reader does not hold up the others: they read the whole blob before it has read
// a byte.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	s := open(t, Config{})
	b, d := content(2 << 20)
	src := from(func(context.Context, int64, int64) (Body, error) {
		return Body{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b)), Offset: 0}, nil
	})
	slow := mustFetch(t, s, d, src)
	var all sync.WaitGroup
	for range 63 {
		all.Go(func() {
			r, err := s.Fetch(t.Context(), d)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
	if got, err := io.ReadAll(slow); err != nil || !bytes.Equal(got, b) {
		t.Errorf("the slow one: %d bytes, %v", len(got), err)
	}
}
