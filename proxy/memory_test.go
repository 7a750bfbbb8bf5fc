package proxy_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy"
)

func openMemory(t *testing.T, path string) *proxy.Memory {
	t.Helper()
	m, err := proxy.OpenMemory(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func isMember(m *proxy.Memory, repo string, d digest.Digest) bool {
	_, ok := m.Member(repo, d)
	return ok
}

// What a repo was seen to hold is known also while it is being written down, and
// a delete at that moment is not undone by what is on its way to the disk.
func TestMemoryIsWholeWhileItIsWritten(t *testing.T) {
	path := t.TempDir() + "/state.db"
	m := openMemory(t, path)
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
			t.Fatalf("left: %v, and the memory says the opposite", left)
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
	m = openMemory(t, path)
	defer m.Close()
	for _, d := range all {
		if !isMember(m, "cache-x/kept", d) || isMember(m, "cache-x/left", d) {
			t.Fatal("after a restart something else is remembered")
		}
	}
}
