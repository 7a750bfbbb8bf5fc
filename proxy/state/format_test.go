package state_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"example.org/breakwater/proxy/state"
)

// edit changes a state file as another program would.
func edit(t *testing.T, path string, change func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func setFormat(value string) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists([]byte("meta"))
		if err != nil {
			return err
		}
		return meta.Put([]byte("format"), []byte(value))
	}
}

func formatOf(t *testing.T, path string) (format string) {
	t.Helper()
	edit(t, path, func(tx *bolt.Tx) error {
		if meta := tx.Bucket([]byte("meta")); meta != nil {
			format = string(meta.Get([]byte("format")))
		}
		return nil
	})
	return format
}

// filled makes a state file that says that cache-x/app:v1 is d.
func filled(t *testing.T, d digest.Digest) (path string) {
	t.Helper()
	path = t.TempDir() + "/state.db"
	s := open(t, path)
	s.PutTag("cache-x/app", "v1", d, "type", "harbor", time.Now())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file from before there was a format number is taken over with what it says.
func TestAFileWithoutAFormatIsTakenOver(t *testing.T) {
	d := digest.FromString("v1")
	path := filled(t, d)
	edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("meta")) })
	s := open(t, path)
	if got, mediaType, source, ok := s.Tag("cache-x/app", "v1"); !ok || got != d || mediaType != "type" || source != "harbor" {
		t.Errorf("%s, %s, %s, %v", got, mediaType, source, ok)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if format := formatOf(t, path); format != "2" {
		t.Errorf("its format is %q", format)
	}
}

// An older program keeps its hands off what a newer one has written, and says so.
func TestANewerFormatIsRefusedAndStaysAsItIs(t *testing.T) {
	d := digest.FromString("v1")
	path := filled(t, d)
	edit(t, path, setFormat("3"))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := state.Open(path, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Fatal("it is opened")
		}
		for _, part := range []string{path, "format 3", "up to 2", "newer program"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("it was changed: %v", err)
	}
	if _, err := os.Stat(path + ".broken"); !os.IsNotExist(err) {
		t.Error("it was put aside")
	}
	edit(t, path, setFormat("2")) // the newer program's own way back
	s := open(t, path)
	defer s.Close()
	if got, _, _, ok := s.Tag("cache-x/app", "v1"); !ok || got != d {
		t.Error("what it said is lost")
	}
}

func TestAFormatThatIsNoNumberIsDamage(t *testing.T) {
	for _, format := range []string{"", "x", "-1", "1.5", "99999999999999999999"} {
		t.Run(fmt.Sprintf("%q", format), func(t *testing.T) {
			path := filled(t, digest.FromString("v1"))
			edit(t, path, setFormat(format))
			s := open(t, path)
			defer s.Close()
			if _, _, _, ok := s.Tag("cache-x/app", "v1"); ok {
				t.Error("it is believed")
			}
			if _, err := os.Stat(path + ".broken"); err != nil {
				t.Error(err)
			}
		})
	}
}
