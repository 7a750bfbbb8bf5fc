package state_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"example.org/breakwater/proxy/state"
)

// Who is told of what was written may read and write meanwhile: a file that grows waits for
// all who read it.
func TestTheLogIsToldWithTheFileLetGo(t *testing.T) {
	s, err := state.Open(filepath.Join(t.TempDir(), "state.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.PutVersioned(map[string][]byte{"a\x00v1": []byte("one")}, nil); err != nil {
		t.Fatal(err)
	}
	told := 0
	s.Since(0, 10, func(_ uint64, key string, value []byte) {
		told++
		if err := s.PutVersioned(map[string][]byte{"b\x00v1": make([]byte, 4<<20)}, nil); err != nil {
			t.Error(err)
		}
		if now, _ := s.Versioned(key); string(now) != "one" || string(value) != "one" {
			t.Errorf("%q, told %q", now, value)
		}
	})
	if told != 1 {
		t.Errorf("told of %d", told)
	}
}
