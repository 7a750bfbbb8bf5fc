package push

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/registry"
)

// kept is how many files of uploads that have not ended there are.
func (w *world) kept(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(w.dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// putAs pushes a manifest of n bytes as a user. A length of -1 is not said.
func putAs(user string, n int, length int64) Request {
	r := request(http.MethodPut, "/v2/"+demo+"/manifests/v1", strings.Repeat("a", n))
	r.HTTP.SetBasicAuth(user, "Some1Secret")
	r.HTTP.ContentLength = length
	return r
}

// A manifest is as large as it may be and no larger, whether it says so or not; what is
// refused holds nothing.
func TestAManifestIsOfABoundedSize(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say("/v2/"+demo+"/manifests/v1", created("x"))
	const most = 4 << 20
	for name, c := range map[string]struct {
		n      int
		length int64
		want   int
	}{
		"as large as it may be": {most, most, 201}, "and of no length": {most, -1, 201}, "larger": {most + 1, most + 1, 413},
		"larger, and of no length": {most + 1, -1, 413}, "said to be larger": {10, most + 1, 413}, "empty": {0, 0, 201},
	} {
		for range 5 { // more than there is room for, if anything stayed
			if rw := w.write(putAs("ci", c.n, c.length)); rw.Code != c.want {
				t.Fatalf("%s: %d", name, rw.Code)
			}
		}
	}
}

// What manifests take while they are on their way is 16 MiB of one user and 64 MiB of all
// (README.md, "Writes"); what has ended leaves its room to others.
func TestManifestsOnTheirWayAreBounded(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say("/v2/"+demo+"/manifests/v1", created("x"))
	const large = 2<<20 - bufferPart // takes 2 MiB
	fill := func(user string) (held []*Write) {
		for {
			write, err := w.Begin(httptest.NewRecorder(), putAs(user, large, -1))
			if err != nil {
				if e, ok := err.(*registry.Error); !ok || e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0 {
					t.Errorf("when there is no room: %v", err)
				}
				return held
			}
			held = append(held, write)
		}
	}
	first := fill("first")
	if len(first) != 8 {
		t.Errorf("one user holds %d of 2 MiB", len(first))
	}
	others := 0
	for i := range 5 {
		others += len(fill(fmt.Sprint("other", i)))
	}
	if others != 24 {
		t.Errorf("others hold %d of 2 MiB", others)
	}
	for _, write := range first {
		if err := write.Serve(httptest.NewRecorder()); err != nil {
			t.Error(err)
		}
	}
	if again := fill("another"); len(again) != 8 {
		t.Errorf("when there is room again: %d of 2 MiB", len(again))
	}
}

// A client that stops in the middle of a manifest holds its room no longer than Stalled.
func TestAManifestThatStalls(t *testing.T) {
	w := newWorld(t)
	w.Stalled = 20 * time.Millisecond
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, in *http.Request) {
		r := putManifest("v1")
		r.HTTP = in
		_, err := w.Begin(rw, r)
		var e *registry.Error
		if errors.As(err, &e) {
			rw.WriteHeader(e.Status)
		}
	}))
	defer front.Close()
	half, stalls := io.Pipe()
	defer stalls.Close()
	go stalls.Write([]byte("{")) //nolint:errcheck // the edge is gone
	in, err := http.NewRequestWithContext(t.Context(), http.MethodPut, front.URL, half)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := front.Client().Do(in)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", resp.StatusCode)
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("it is read")
	return 0, io.EOF
}

// What is known to be refused, and what the edge does not keep, is not read into memory.
func TestWhatIsNotKeptIsNotRead(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		method, path string
		refused      bool
	}{
		"refused":              {http.MethodPut, "/v2/multi-dc-x/app/manifests/v1", true},
		"of a plain project":   {http.MethodPut, "/v2/plain/app/manifests/v1", false},
		"a blob":               {http.MethodPatch, "/v2/multi-dc-x/app/blobs/uploads/a", false},
		"a delete with a body": {http.MethodDelete, "/v2/multi-dc-x/app/manifests/v1", false},
	} {
		r := request(c.method, c.path, "")
		r.HTTP.Body, r.HTTP.ContentLength, r.Refused = io.NopCloser(unread{t}), -1, c.refused
		if _, err := w.Begin(httptest.NewRecorder(), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who opens sessions and sends nothing into them keeps so many files and no more.
func TestSessionsThatAreKeptAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 600 {
		w.harbor.Say("POST "+uploads, opened(fmt.Sprint(uploads, i)))
		if rw := w.write(request(http.MethodPost, uploads, "")); rw.Code != http.StatusAccepted {
			t.Fatal(rw.Code)
		}
	}
	trial.Until(t, func() error {
		if n := w.kept(t); n != 512 {
			return fmt.Errorf("%d files", n)
		}
		return nil
	})
}
