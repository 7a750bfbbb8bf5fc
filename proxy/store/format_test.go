package store_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/store"
)

// listing returns every file and directory below dir, each with its mode, its time
// and its content.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var content []byte
		if !e.IsDir() {
			content, err = os.ReadFile(path)
		}
		all[path] = fmt.Sprintf("%v %v %q", info.Mode(), info.ModTime(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// write makes files, each with the directories above it. A name that ends in a
// slash is a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// formatOf returns what is in the store's format file.
func formatOf(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "format"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// oldBlob is the content of the blob in oldStore.
const oldBlob = "as it was"

// oldStore is what a store from before there were format numbers has on disk, and
// the digest of its blob.
func oldStore() (files map[string]string, d digest.Digest) {
	d = digest.FromString(oldBlob)
	return map[string]string{"lock": "", "tmp/": "", "blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded(): oldBlob}, d
}

// holds fails the test unless the store holds the old blob.
func holds(t *testing.T, s *store.Store, d digest.Digest) {
	t.Helper()
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != oldBlob {
		t.Errorf("%q, %v", got, err)
	}
}

// A directory without a format number is taken over, in every state that a crash
// can leave between the first system call and the last. The number is written
// once: a restart finds it and writes nothing.
func TestAStoreWithoutANumberIsTakenOver(t *testing.T) {
	old, d := oldStore()
	half := maps.Clone(old)
	half["tmp/format-1"], half["tmp/format-2"], half["tmp/fill-1"] = "", "1\n", "half a blo"
	for name, files := range map[string]map[string]string{
		"an old store": old, "after a crash": half, "nothing": {}, "locked once": {"lock": ""}, "without blobs": {"lock": "", "tmp/": ""},
		"number 0": {"format": "0\n"}, "number 1": {"format": "1\n"}, "without a line's end": {"format": "1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, files)
			var numbers []fs.FileInfo
			for range 2 {
				s, err := store.Open(store.Config{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(slices.Collect(maps.Values(files)), oldBlob) {
					holds(t, s, d)
				}
				s.Close()
				if got := strings.TrimSpace(formatOf(t, dir)); got != "1" {
					t.Errorf("the number is %q", got)
				}
				if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
				info, err := os.Stat(filepath.Join(dir, "format"))
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, info)
			}
			if !os.SameFile(numbers[0], numbers[1]) {
				t.Error("the restart wrote the number again")
			}
		})
	}
}

// A store of a newer program is refused in one sentence, and nothing in it is
// changed: not even the temporary files, whose names may mean something else.
func TestANewerFormatIsRefusedAndLeftAlone(t *testing.T) {
	old, _ := oldStore()
	old["format"], old["tmp/fill-1"], old["tmp/format-1"] = "2\n", "a newer program's", ""
	for name, files := range map[string]map[string]string{"like this one": old, "of another layout": {"lock": "", "format": "17\n", "packs/1": "x"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, files)
			before := listing(t, dir)
			s, err := store.Open(store.Config{Dir: dir})
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			want := fmt.Sprintf("open store: %s has format %s, this program knows formats up to 1: run the newer program again, or give edge.store.path an empty directory",
				dir, strings.TrimSpace(files["format"]))
			if err.Error() != want {
				t.Errorf("%v\nwant %s", err, want)
			}
			if after := listing(t, dir); !maps.Equal(before, after) {
				t.Errorf("it was changed:\n%v\n%v", before, after)
			}
			write(t, dir, map[string]string{"format": "1\n"})
			openStore(t, store.Config{Dir: dir}) // the refusal left no lock behind
		})
	}
}

// A damaged number is refused in a sentence that says what to do, and nothing is
// changed.
func TestADamagedFormatIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "a word": "one\n", "negative": "-1\n", "signed": "+1\n", "two numbers": "1 2\n", "a fraction": "1.5", "endless": strings.Repeat("1", 1<<20),
		"zeros": strings.Repeat("\x00", 4096), "a directory": "/",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files, _ := oldStore()
			files["tmp/fill-1"] = "half a blo"
			if content == "/" {
				files["format/"] = ""
			} else {
				files["format"] = content
			}
			write(t, dir, files)
			before := listing(t, dir)
			s, err := store.Open(store.Config{Dir: dir})
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			if text := err.Error(); !strings.HasPrefix(text, "open store: ") || !strings.Contains(text, filepath.Join(dir, "format")) ||
				!strings.Contains(text, "give edge.store.path an empty") || len(text) > 500 {
				t.Error(err)
			}
			if after := listing(t, dir); !maps.Equal(before, after) {
				t.Errorf("it was changed:\n%v\n%v", before, after)
			}
		})
	}
}

// Content that is fetched after the take-over is beside what was there.
func TestATakenOverStoreGoesOn(t *testing.T) {
	dir := t.TempDir()
	files, d := oldStore()
	write(t, dir, files)
	s, _ := openStore(t, store.Config{Dir: dir})
	b := bytes.Repeat([]byte("new"), 1000)
	if err := s.Put(digest.FromBytes(b), b); err != nil {
		t.Fatal(err)
	}
	holds(t, s, d)
	s.Close()
	s, _ = openStore(t, store.Config{Dir: dir})
	holds(t, s, d)
	if r, err := s.Get(t.Context(), digest.FromBytes(b)); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}
}
