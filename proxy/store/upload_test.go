package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// upload writes content in pieces, as a request's body arrives.
func upload(t *testing.T, u *Upload, content []byte) {
	t.Helper()
	for len(content) > 0 {
		n := min(len(content), 70_001)
		if wrote, err := u.Write(content[:n]); wrote != n || err != nil {
			t.Fatal(wrote, err)
		}
		content = content[n:]
	}
}

func reservedBytes(s *Store) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserved
}

// A committed upload is held, whatever the algorithm of its digest. An upload with a
// wrong digest, or one that is discarded, leaves nothing.
func TestUploads(t *testing.T) {
	s := open(t, Config{})
	b, d := content(3 << 20)
	for name, c := range map[string]struct {
		content []byte
		digest  digest.Digest
		held    bool
	}{
		"as it is": {b, d, true}, "sha512": {b[:1<<20], digest.SHA512.FromBytes(b[:1<<20]), true}, "empty": {nil, digest.FromString(""), true},
		"again": {b, d, true}, "a wrong digest": {b[:1000], digest.FromString("something else"), false},
	} {
		u := s.NewUpload()
		upload(t, u, c.content)
		if err := u.Commit(c.digest); (err == nil) != c.held || err != nil && !errors.Is(err, ErrWrongContent) {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := u.Write([]byte("late")); n != 4 || err != nil {
			t.Errorf("%s: a late write: %d, %v", name, n, err)
		}
		r, err := s.Get(t.Context(), c.digest)
		if (err == nil) != c.held {
			t.Fatalf("%s: %v", name, err)
		}
		if err == nil {
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, c.content) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
			r.Close()
		}
	}
	given := s.NewUpload()
	upload(t, given, b)
	given.Discard()
	given.Discard()
	if n := reservedBytes(s); n != 0 {
		t.Errorf("%d bytes are still reserved", n)
	}
	if left, err := os.ReadDir(s.tempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// An upload of many requests takes no memory between them.
func TestAnUploadInParts(t *testing.T) {
	s := open(t, Config{})
	b, d := content(1 << 20)
	u := s.NewUpload()
	for at := 0; at < len(b); at += 300_000 {
		end := min(at+300_000, len(b))
		upload(t, u, b[at:end])
		u.Flush()
		if u.Size() != int64(end) || u.buf != nil {
			t.Fatalf("%d of %d bytes, %d in memory", u.Size(), end, cap(u.buf))
		}
	}
	if err := u.Commit(d); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Uploads respect the budget: a blob that is larger than its share is not kept, and every
// reservation ends.
func TestUploadsRespectTheBudget(t *testing.T) {
	s := open(t, Config{Size: 40 << 20})
	b, _ := content(64 << 20)
	large := s.NewUpload()
	upload(t, large, b[:30<<20])
	if err := large.Commit(digest.FromBytes(b[:30<<20])); err != nil {
		t.Error(err)
	}
	if r, err := s.Get(t.Context(), digest.FromBytes(b[:30<<20])); err == nil {
		r.Close()
		t.Error("a blob of three quarters of the budget is held")
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			part := b[i<<22 : (i+1)<<22]
			u := s.NewUpload()
			upload(t, u, part)
			if err := u.Commit(digest.FromBytes(part)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.mu.Lock()
	held, coming := s.blobs.bytes, s.reserved
	s.mu.Unlock()
	if held > 40<<20 || held == 0 || coming != 0 {
		t.Errorf("%d bytes held, %d coming", held, coming)
	}
}
