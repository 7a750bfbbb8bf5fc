package fetch_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// fetcher is one of an edge in front of what stands in Harbor's place.
func fetcher(t *testing.T, harbor http.HandlerFunc) *fetch.Fetcher {
	t.Helper()
	srv := httptest.NewServer(harbor)
	t.Cleanup(srv.Close)
	client, err := registry.NewSource(registry.SourceConfig{URL: srv.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	check, err := access.New(access.Config{Harbor: client})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	own := source.New(t.Context(), source.Config{Name: "harbor", Kind: source.Harbor, Registry: client, Now: time.Now, Metrics: source.NewMetrics(nil)})
	return fetch.New(source.NewRoutes(own, nil, nil, namespace.NewTable(nil)), blobs, check, 5*time.Second, time.Now)
}

func question(repo, tag string) fetch.Question {
	project, _, _ := strings.Cut(repo, "/")
	return fetch.Question{Request: registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: repo, Tag: tag}, Namespace: namespace.NewTable(nil).Of(project)}
}

// What sources send of manifests takes so much memory and no more, of one project a part of
// that: who has a project's upstream in hand takes nothing from the others.
func TestASourcesManifestsAreBounded(t *testing.T) {
	text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"a":%q}}`, strings.Repeat("a", 200<<10))
	f := fetcher(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	f.Bodies = share.New(1<<20, 256<<10)
	busy := f.Bodies.Reader("multi-dc-evil", strings.NewReader(strings.Repeat("a", 100<<10)))
	for range 2 { // another manifest of that project is on its way
		if _, err := busy.Read(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Manifest(t.Context(), question("multi-dc-evil/app", "v1"), tags.Entry{}); !outcome.IsDontKnow(err) || err == nil {
		t.Errorf("of a project that has its share: %v", err)
	}
	for range 10 { // what was read is given back
		found, err := f.Manifest(t.Context(), question("multi-dc-good/app", "v1"), tags.Entry{})
		if err != nil || found.Entry.Digest != digest.FromString(text) {
			t.Fatalf("of another one: %v, %v", found.Entry, err)
		}
	}
	busy.Close()
	if _, err := f.Manifest(t.Context(), question("multi-dc-evil/app", "v1"), tags.Entry{}); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// A manifest is what its digest says, no larger than a manifest may be, and not a page.
func TestWhatIsNoManifestIsNotKept(t *testing.T) {
	const whole = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for name, c := range map[string]struct{ body, named, contentType string }{
		"another digest":  {whole, digest.FromString("another").String(), ""},
		"no digest":       {whole, "sha256:x", ""},
		"a page":          {"<html>", "", "text/html"},
		"JSON of no kind": {"{}", "", "application/json"},
		"too large":       {whole + strings.Repeat(" ", fetch.MaxManifest), "", ""},
	} {
		f := fetcher(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.named != "" {
				w.Header().Set("Docker-Content-Digest", c.named)
			}
			if c.contentType != "" {
				w.Header().Set("Content-Type", c.contentType)
			}
			fmt.Fprint(w, c.body)
		})
		if found, err := f.Manifest(t.Context(), question("multi-dc-x/app", "v1"), tags.Entry{}); err == nil || outcome.IsNo(err) {
			t.Errorf("%s: %v, %v", name, found.Entry, err)
		}
		if f.Holds(digest.FromString(c.body)) || f.Access.Member("multi-dc-x/app", digest.FromString(c.body)) {
			t.Errorf("%s: it is kept", name)
		}
	}
}

// A length that no blob has is nobody's word: neither a manifest's nor a HEAD's.
func TestALengthThatNoBlobHasIsNotTold(t *testing.T) {
	blob := strings.Repeat("a", 200<<10)
	d := digest.FromString(blob)
	for _, size := range []int64{math.MaxInt64, store.MaxBlob + 1, 0, -1, int64(len(blob))} {
		f := fetcher(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "/manifests/"):
				fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[{"digest":%q,"size":%d}]}`, d, size)
			case strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodHead:
				w.Header().Set("Content-Length", fmt.Sprint(max(0, size)))
			case strings.Contains(r.URL.Path, "/blobs/"):
				w.(http.Flusher).Flush() // no length
				io.WriteString(w, blob)  //nolint:errcheck // shown below
			}
		})
		if _, err := f.Manifest(t.Context(), question("multi-dc-x/app", "v1"), tags.Entry{}); err != nil {
			t.Fatal(err)
		}
		q := question("multi-dc-x/app", "")
		q.Request.Kind, q.Request.Digest, q.Request.Method = registry.KindBlob, d, http.MethodHead
		if b, err := f.Blob(t.Context(), q); err != nil || b.Origin == fetch.Told && b.Length > store.MaxBlob {
			t.Errorf("size %d: a HEAD is told %+v, %v", size, b, err)
		} else if b.Reader != nil {
			b.Close()
		}
		q.Request.Method = http.MethodGet
		b, err := f.Blob(t.Context(), q)
		if err != nil {
			t.Errorf("size %d: %v", size, err)
			continue
		}
		if n, known := b.Size(); known && n != int64(len(blob)) {
			t.Errorf("size %d: a GET is told %d", size, n)
		}
		if got, err := io.ReadAll(b); err != nil || string(got) != blob {
			t.Errorf("size %d: %d bytes, %v", size, len(got), err)
		}
		b.Close()
	}
}
