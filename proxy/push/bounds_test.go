package push_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/push"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// notes is what writes change of what an edge knows: a push.Manifests.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

func (n *notes) Written(repo, moved string) { n.note("written %s %s", repo, moved) }
func (n *notes) Deleted(_ namespace.Namespace, repo string, d digest.Digest, _ version.Version, _ http.Header) {
	n.note("deleted %s %s", repo, d)
}
func (n *notes) Pushed(p push.Pushed)  { n.note("pushed %s %s %s", p.Repo, p.Reference, p.Digest) }
func (n *notes) Doubted(p push.Pushed) { n.note("doubted %s %s", p.Repo, p.Reference) }
func (n *notes) Begun(_ string, _ digest.Digest, b version.Begun) (version.Begun, string) {
	return b, ""
}
func (n *notes) Read(digest.Digest) ([]byte, error) { return nil, errors.New("nothing is held") }

// edge is a Pusher before what stands in Harbor's place.
type edge struct {
	*push.Pusher
	notes *notes
	check *access.Checker
	blobs *store.Store
	dir   string // of the store
}

func newEdge(t *testing.T, harbor http.HandlerFunc) *edge {
	t.Helper()
	srv := httptest.NewServer(harbor)
	t.Cleanup(srv.Close)
	client, err := registry.NewSource(registry.SourceConfig{URL: srv.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{notes: &notes{}, dir: t.TempDir()}
	if e.check, err = access.New(access.Config{Harbor: client}); err != nil {
		t.Fatal(err)
	}
	if e.blobs, err = store.Open(store.Config{Dir: e.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.blobs.Close() })
	own := source.New(t.Context(), source.Config{Name: "harbor", Kind: source.Harbor, Registry: client, Now: time.Now, Metrics: source.NewMetrics(nil)})
	e.Pusher = push.New(push.Config{Harbor: own, Pass: pass.ToHarbor("harbor", client), Store: e.blobs, Access: e.check, Manifests: e.notes,
		Deadline: 5 * time.Second, Stalled: time.Minute, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	return e
}

// write is a write of a project's repo, as user.
func write(t *testing.T, method, path, user string, body io.Reader) push.Request {
	t.Helper()
	in := httptest.NewRequestWithContext(t.Context(), method, path, body)
	in.SetBasicAuth(user, "Some1Secret")
	in.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	parsed, err := registry.ParseRequest(method, in.URL)
	if err != nil {
		t.Fatal(err)
	}
	return push.Request{HTTP: in, Parsed: parsed, Namespace: namespace.NewTable(nil).Of(parsed.Project())}
}

func statusOf(err error) int {
	var e *registry.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// A manifest is as large as it may be and no larger, whether it says so or not; of one user
// so much is held at once; what is refused or given up holds nothing.
func TestManifestsAreHeldWithinTheirBounds(t *testing.T) {
	e := newEdge(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it is not looked at
		w.WriteHeader(http.StatusCreated)
	})
	const path = "/v2/multi-dc-x/app/manifests/v1"
	const most = 4 << 20
	begin := func(user string, n int, length int64) (*push.Write, error) {
		r := write(t, http.MethodPut, path, user, strings.NewReader(strings.Repeat("a", n)))
		r.HTTP.ContentLength = length
		return e.Begin(httptest.NewRecorder(), r)
	}
	for name, c := range map[string]struct {
		n      int
		length int64
		want   int
	}{
		"as large as it may be": {most, most, 0}, "and of no length": {most, -1, 0}, "larger": {most + 1, most + 1, 413},
		"larger, and of no length": {most + 1, -1, 413}, "said to be larger": {10, most + 1, 413}, "empty": {0, 0, 0},
	} {
		for range 20 { // more than there is room for, if anything stayed
			w, err := begin("ci", c.n, c.length)
			if statusOf(err) != c.want {
				t.Fatalf("%s: %v", name, err)
			}
			if err == nil {
				if err := w.Serve(httptest.NewRecorder()); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
	}
	var held []*push.Write
	for {
		w, err := begin("greedy", most-1, -1)
		if err != nil {
			if statusOf(err) != http.StatusServiceUnavailable {
				t.Errorf("when there is no room: %v", err)
			}
			break
		}
		if held = append(held, w); len(held) > 16 {
			t.Fatal("one user has no bound")
		}
	}
	if _, err := begin("modest", most-1, -1); err != nil {
		t.Errorf("another user's: %v", err)
	}
	for _, w := range held {
		if err := w.Serve(httptest.NewRecorder()); err != nil {
			t.Error(err)
		}
	}
	if _, err := begin("greedy", most-1, -1); err != nil {
		t.Errorf("when there is room again: %v", err)
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
	e := newEdge(t, http.NotFound)
	refused := write(t, http.MethodPut, "/v2/multi-dc-x/app/manifests/v1", "ci", unread{t})
	refused.Refused = true
	for name, r := range map[string]push.Request{
		"refused":              refused,
		"of a plain project":   write(t, http.MethodPut, "/v2/plain/app/manifests/v1", "ci", unread{t}),
		"a blob":               write(t, http.MethodPatch, "/v2/multi-dc-x/app/blobs/uploads/a", "ci", unread{t}),
		"a delete with a body": write(t, http.MethodDelete, "/v2/multi-dc-x/app/manifests/v1", "ci", unread{t}),
	} {
		if _, err := e.Begin(httptest.NewRecorder(), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What Harbor has accepted is noted before the client hears of it; what it refuses is not.
func TestWhatHarborAcceptsIsNoted(t *testing.T) {
	var status int
	e := newEdge(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it is not looked at
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
	})
	d := digest.FromString(manifest)
	for _, c := range []struct {
		method, reference, body string
		status                  int
		want                    []string
	}{
		{http.MethodPut, "v1", manifest, 201, []string{"written multi-dc-x/app v1", "pushed multi-dc-x/app v1 " + d.String()}},
		{http.MethodPut, d.String(), manifest, 201, []string{"written multi-dc-x/app ", "pushed multi-dc-x/app " + d.String() + " " + d.String()}},
		{http.MethodPut, "v1", manifest, 403, nil},
		{http.MethodPut, "v1", manifest, 412, nil},
		{http.MethodDelete, d.String(), "", 202, []string{"written multi-dc-x/app ", "deleted multi-dc-x/app " + d.String()}},
		{http.MethodDelete, d.String(), "", 404, nil},
	} {
		status, e.notes.all = c.status, nil
		e.check.Join("multi-dc-x/app", d)
		w, err := e.Begin(httptest.NewRecorder(), write(t, c.method, "/v2/multi-dc-x/app/manifests/"+c.reference, "ci", strings.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		if err := w.Serve(answer); err != nil || answer.Code != c.status {
			t.Errorf("%s %s: %d, %v", c.method, c.reference, answer.Code, err)
		}
		if fmt.Sprint(e.notes.all) != fmt.Sprint(c.want) {
			t.Errorf("%s %s, %d: noted %q, want %q", c.method, c.reference, c.status, e.notes.all, c.want)
		}
		if gone := !e.check.Member("multi-dc-x/app", d); gone != (c.method == http.MethodDelete && c.status == 202) {
			t.Errorf("%s %s, %d: the repo holds nothing any more: %v", c.method, c.reference, c.status, gone)
		}
	}
}

// A blob that Harbor says it has is the one that it names, whatever the client's query says:
// that one's bytes are kept, and the repo holds it.
func TestABlobIsTheOneThatHarborNames(t *testing.T) {
	blob, other := "some content", digest.FromString("other")
	d := digest.FromString(blob)
	for name, location := range map[string]string{"the right one": d.String(), "another one": other.String(), "none": ""} {
		e := newEdge(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) //nolint:errcheck // it is not looked at
			w.Header().Set("Location", "/v2/multi-dc-x/app/blobs/"+location)
			w.WriteHeader(http.StatusCreated)
		})
		w, err := e.Begin(httptest.NewRecorder(), write(t, http.MethodPost, "/v2/multi-dc-x/app/blobs/uploads/?digest="+d.String(), "ci", strings.NewReader(blob)))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Serve(httptest.NewRecorder()); err != nil {
			t.Fatal(err)
		}
		r, err := e.blobs.Get(t.Context(), d)
		if (err == nil) != (location == d.String()) {
			t.Errorf("%s: the content is held: %v", name, err == nil)
		}
		if err == nil {
			r.Close()
		}
		if got := e.check.Member("multi-dc-x/app", d); got != (location == d.String()) {
			t.Errorf("%s: the repo holds it: %v", name, got)
		}
		if _, err := e.blobs.Get(t.Context(), other); err == nil {
			t.Errorf("%s: something is held as %s", name, other)
		}
	}
}

// Who opens sessions and sends nothing into them keeps so many files and no more.
func TestSessionsThatAreKeptAreBounded(t *testing.T) {
	n := 0
	e := newEdge(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Location", fmt.Sprintf("/v2/multi-dc-x/app/blobs/uploads/%d", n))
		w.WriteHeader(http.StatusAccepted)
	})
	for range 600 {
		w, err := e.Begin(httptest.NewRecorder(), write(t, http.MethodPost, "/v2/multi-dc-x/app/blobs/uploads/", "ci", http.NoBody))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Serve(httptest.NewRecorder()); err != nil {
			t.Fatal(err)
		}
	}
	trial.Until(t, func() error {
		files, err := os.ReadDir(filepath.Join(e.dir, "tmp"))
		if err != nil || len(files) > 512 {
			return fmt.Errorf("%d files, %v", len(files), err)
		}
		return nil
	})
}
