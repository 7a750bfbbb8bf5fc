package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/tags"
)

// What sources send of manifests takes so much memory and no more, of one project a part of
// that: who has a project's upstream in hand takes nothing from the others.
func TestASourcesManifestsAreBounded(t *testing.T) {
	w := newWorld(t)
	body, d := manifest(strings.Repeat("a", 200<<10))
	evil, good := "multi-dc-evil/app", "multi-dc-good/app"
	for _, repo := range []string{evil, good} {
		w.harbor.Say("/v2/"+repo+"/manifests/v1", serve(body))
	}
	w.Bodies = share.New(1<<20, 256<<10)
	busy := w.Bodies.Reader("multi-dc-evil", strings.NewReader(strings.Repeat("a", 100<<10)))
	for range 2 { // another manifest of that project is on its way
		if _, err := busy.Read(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Manifest(t.Context(), tagOf(evil), tags.Entry{}); !outcome.IsDontKnow(err) || err == nil {
		t.Errorf("of a project that has its share: %v", err)
	}
	for range 10 { // what was read is given back
		if found, err := w.Manifest(t.Context(), tagOf(good), tags.Entry{}); err != nil || found.Entry.Digest != d {
			t.Fatalf("of another one: %v, %v", found.Entry, err)
		}
	}
	busy.Close()
	if _, err := w.Manifest(t.Context(), tagOf(evil), tags.Entry{}); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// That is 64 MiB of one project and 128 MiB of all (SECURITY.md).
func TestHowMuchOfManifestsIsOnItsWay(t *testing.T) {
	w := newWorld(t)
	for i, want := range []int64{64 << 20, 64 << 20, 0} {
		in := w.Bodies.Reader(fmt.Sprint("multi-dc-", i), zeros{})
		defer in.Close()
		if n, err := io.Copy(io.Discard, in); n != want || !errors.Is(err, share.ErrNone) {
			t.Errorf("project %d: %d bytes, %v", i, n, err)
		}
	}
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A length that no blob has is nobody's word: neither a manifest's nor a HEAD's.
func TestALengthThatNoBlobHasIsNotTold(t *testing.T) {
	blob := strings.Repeat("a", 200<<10)
	d := digest.FromString(blob)
	for _, size := range []int64{math.MaxInt64, store.MaxBlob + 1, 0, -1, int64(len(blob))} {
		w := newWorld(t)
		at := "/v2/" + demo + "/blobs/" + d.String()
		w.harbor.Say("/v2/"+demo+"/manifests/v1", serve(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"layers":[{"digest":%q,"size":%d}]}`, ociManifest, d, size)))
		w.harbor.Say("HEAD "+at, trial.Answer{Header: http.Header{"Content-Length": {strconv.FormatInt(max(0, size), 10)}}})
		w.harbor.Say("GET "+at, trial.Answer{Body: blob}) // it is so long that no length is said
		if _, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{}); err != nil {
			t.Fatal(err)
		}
		q := blobOf(demo, d)
		q.Request.Method = http.MethodHead
		if b, err := w.Blob(t.Context(), q); err != nil || b.Origin == Told && b.Length > store.MaxBlob {
			t.Errorf("size %d: a HEAD is told %+v, %v", size, b, err)
		} else if b.Reader != nil {
			b.Close()
		}
		b, err := w.Blob(t.Context(), blobOf(demo, d))
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

// Two edges that want the same blob of each other do not wait for each other: another edge
// is given what the Harbor here has, though a transfer from elsewhere is under way.
func TestTwoEdgesDoNotWaitForEachOther(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(at(demo), noBlob)
	w.mad1.Say(at(demo), trial.Answer{Never: true}) // it asks this edge meanwhile
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan struct{})
	go func() {
		defer close(first)
		if b, err := w.Blob(ctx, blobOf(demo, layerDigest)); err == nil {
			b.Close()
		}
	}()
	trial.Until(t, func() error {
		if w.mad1.AskedFor("GET "+at(demo)) == 0 {
			return errors.New("mad1 is not asked yet")
		}
		return nil
	})
	w.harbor.Say(at(demo), blob(layer))
	q := blobOf(demo, layerDigest)
	q.OwnOnly = true
	b, err := w.Blob(t.Context(), q)
	if content(t, b, err) != layer || b.Source != "harbor" {
		t.Errorf("%+v, %v", b, err)
	}
	leave()
	<-first
}
