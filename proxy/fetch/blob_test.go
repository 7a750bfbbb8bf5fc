package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/tags"
)

const layer = "a layer's bytes"

var layerDigest = digest.FromString(layer)

func at(repo string) string { return "/v2/" + repo + "/blobs/" + layerDigest.String() }

func blob(body string) trial.Answer { return serve(body, "Docker-Content-Digest", "") }

// hold puts the layer into the store, as another project's transfer did.
func (w *world) hold(t *testing.T) {
	t.Helper()
	if err := w.Store.Put(layerDigest, []byte(layer)); err != nil {
		t.Fatal(err)
	}
}

// A blob that is not held comes from the first source that has it, and is held then.
func TestABlobIsFilled(t *testing.T) {
	for name, c := range map[string]struct {
		repo   string
		say    func(w *world)
		source string // "": nobody
		status int
	}{
		"from Harbor":             {demo, func(w *world) { w.harbor.Say(at(demo), blob(layer)); w.mad1.Say(at(demo), blob(layer)) }, "harbor", 200},
		"from a peer":             {demo, func(w *world) { w.harbor.Say(at(demo), noBlob); w.drp1.Say(at(demo), blob(layer)) }, "peer-drp1", 200},
		"past a Harbor that errs": {demo, func(w *world) { w.harbor.Say(at(demo), broken); w.mad1.Say(at(demo), blob(layer)) }, "peer-mad1", 200},
		"past one that sends a part of nothing": {demo, func(w *world) {
			a := blob(layer)
			a.Status = http.StatusPartialContent
			w.harbor.Say(at(demo), a)
			w.mad1.Say(at(demo), blob(layer))
		}, "peer-mad1", 200},
		"from the upstream":           {nginx, func(w *world) { w.harbor.Say(at(nginx), broken); w.hub.Say(at("nginx"), blob(layer)) }, "upstream-hub", 200},
		"from the upstream of a rule": {core, func(w *world) { w.hub.Say(at("nginx"), blob(layer)) }, "upstream-hub", 200},
		"from nobody":                 {demo, func(*world) {}, "", 404},
		"from nobody who can say":     {demo, func(w *world) { w.drp1.Say(at(demo), broken) }, "", 503},
		"not, as the upstream itself says": {nginx, func(w *world) {
			w.harbor.Say(at(nginx), refusal(404, "NOT_FOUND", "http status code: 404, body: x"))
			w.mad1.Say(at(nginx), blob(layer))
		}, "", 404},
		"not, as Harbor's policy says": {demo, func(w *world) { w.harbor.Say(at(demo), policy); w.mad1.Say(at(demo), blob(layer)) }, "", 412},
	} {
		w := newWorld(t)
		c.say(w)
		b, err := w.Blob(t.Context(), blobOf(c.repo, layerDigest))
		if status(err) != c.status || w.Access.Member(c.repo, layerDigest) != (err == nil) {
			t.Errorf("%s: %v, want %d", name, err, c.status)
		}
		if err != nil {
			continue
		}
		if got := content(t, b, err); got != layer || b.Origin != Filled || b.Source != c.source {
			t.Errorf("%s: %q, %+v", name, got, b)
		}
		again, err := w.Blob(t.Context(), blobOf(c.repo, layerDigest))
		if content(t, again, err) != layer || again.Origin != Held {
			t.Errorf("%s: then %+v", name, again)
		}
	}
}

// What a source sends under a digest that it has not is not given to anybody.
func TestOtherBytesAreNobodysBlob(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(at(demo), blob("other bytes now"))
	b, err := w.Blob(t.Context(), blobOf(demo, layerDigest))
	if err == nil {
		got, readErr := io.ReadAll(b)
		b.Close()
		if err = readErr; err == nil || len(got) >= len(layer) {
			t.Errorf("%q is given to the client", got)
		}
	}
	if w.Holds(layerDigest) {
		t.Error("it is held")
	}
	w.mad1.Say(at(demo), blob(layer))
	b, err = w.Blob(t.Context(), blobOf(demo, layerDigest))
	if got := content(t, b, err); got != layer {
		t.Errorf("%q", got)
	}
}

// A blob is where its repo's manifest was.
func TestBlobsAreAskedForWhereTheManifestWas(t *testing.T) {
	w := newWorld(t)
	body, _ := manifest("x")
	w.drp1.Say("/v2/"+demo+"/manifests/v1", serve(body))
	if _, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{}); err != nil {
		t.Fatal(err)
	}
	w.mad1.Say(at(demo), blob(layer))
	w.drp1.Say(at(demo), blob(layer))
	b, err := w.Blob(t.Context(), blobOf(demo, layerDigest))
	if content(t, b, err) != layer || b.Source != "peer-drp1" || w.mad1.AskedFor("GET "+at(demo)) != 0 || w.harbor.AskedFor("GET "+at(demo)) != 1 {
		t.Errorf("%+v", b)
	}
}

// The store has the blob because of another project. Who asks for it through a repo gets
// it if the repo is found to hold it, at the price of a question; what an upstream says
// of any digest is no proof, and then it is the upstream's own bytes that are sent.
func TestABlobOfAnotherProject(t *testing.T) {
	aByte := blob(layer[:1])
	aByte.Status = http.StatusPartialContent
	noHead := trial.Answer{Status: http.StatusNotFound}
	for name, c := range map[string]struct {
		repo   string
		say    func(w *world)
		origin Origin
		status int
		gets   int // of Harbor
	}{
		"Harbor has it":                    {demo, func(w *world) { w.harbor.Say("HEAD "+at(demo), blob(layer)) }, Held, 200, 0},
		"Harbor says so to a GET":          {demo, func(w *world) { w.harbor.Say("HEAD "+at(demo), noHead); w.harbor.Say("GET "+at(demo), aByte) }, Held, 200, 1},
		"a peer has it":                    {demo, func(w *world) { w.drp1.Say(at(demo), blob(layer)) }, Held, 200, 1},
		"nobody has it":                    {demo, func(*world) {}, 0, 404, 1},
		"one cannot say":                   {demo, func(w *world) { w.mad1.Say(at(demo), broken) }, 0, 503, 1},
		"Harbor's policy":                  {demo, func(w *world) { w.harbor.Say(at(demo), policy); w.mad1.Say(at(demo), blob(layer)) }, 0, 412, 1},
		"Harbor's cache holds it itself":   {nginx, func(w *world) { w.harbor.Say("HEAD "+at(nginx), blob(layer)) }, Held, 200, 0},
		"Harbor's cache would fetch it":    {nginx, func(w *world) { w.harbor.Say("HEAD "+at(nginx), noHead); w.harbor.Say("GET "+at(nginx), blob(layer)) }, Streamed, 200, 2},
		"a peer's cache has it":            {nginx, func(w *world) { w.harbor.Say(at(nginx), broken); w.mad1.Say(at(nginx), blob(layer)) }, Streamed, 200, 2},
		"the upstream says that it has it": {nginx, func(w *world) { w.harbor.Say(at(nginx), broken); w.hub.Say(at("nginx"), blob(layer)) }, Streamed, 200, 2},
		"the upstream itself says no": {nginx, func(w *world) {
			w.harbor.Say(at(nginx), refusal(404, "NOT_FOUND", "http status code: 404, body: x"))
			w.mad1.Say(at(nginx), blob(layer))
		}, 0, 404, 1},
	} {
		w := newWorld(t)
		w.hold(t)
		c.say(w)
		b, err := w.Blob(t.Context(), blobOf(c.repo, layerDigest))
		if status(err) != c.status || err == nil && b.Origin != c.origin {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		if err == nil && content(t, b, err) != layer {
			t.Errorf("%s: other bytes", name)
		}
		if w.Access.Member(c.repo, layerDigest) != (err == nil) {
			t.Errorf("%s: member %t", name, err != nil)
		}
		if gets := w.harbor.AskedFor("GET " + at(c.repo)); gets != c.gets {
			t.Errorf("%s: Harbor was asked by %d GETs", name, gets)
		}
		for _, r := range w.harbor.Asked() {
			if proof := r.Header.Get("Range"); r.Method == http.MethodGet && c.gets == 1 && proof != "bytes=0-0" || r.Method == http.MethodHead && proof != "" {
				t.Errorf("%s: %s of %q", name, r.Method, proof)
			}
		}
	}
}

// Bytes that an upstream makes up for a digest that it has not are not the blob's.
func TestAnUpstreamsWordIsNoProof(t *testing.T) {
	w := newWorld(t)
	w.hold(t)
	w.harbor.Say(at(nginx), broken)
	w.hub.Say(at("nginx"), blob("other bytes now"))
	b, err := w.Blob(t.Context(), blobOf(nginx, layerDigest))
	if err == nil {
		got, _ := io.ReadAll(b)
		b.Close()
		if strings.Contains(string(got), layer) {
			t.Errorf("the secret is given away: %q", got)
		}
	}
	if w.Access.Member(nginx, layerDigest) {
		t.Error("it counts as the repo's")
	}
	w.Access.Join("cache-hub/other", layerDigest) // who may read that repo may read this one
	b, err = w.Blob(t.Context(), blobOf(nginx, layerDigest))
	if content(t, b, err) != layer || b.Origin != Held {
		t.Errorf("%+v, %v", b, err)
	}
}

// A HEAD is answered by the local Harbor's word for the length, where that is the last.
func TestAHeadOfABlob(t *testing.T) {
	for name, c := range map[string]struct {
		repo   string
		own    bool // a peer asks
		say    func(w *world)
		origin Origin
		status int
		gets   int
	}{
		"Harbor knows": {demo, false, func(w *world) { w.harbor.Say("HEAD "+at(demo), blob(layer)) }, Told, 200, 0},
		"Harbor does not say how long": {demo, false, func(w *world) {
			w.harbor.Say("HEAD "+at(demo), trial.Answer{})
			w.harbor.Say("GET "+at(demo), blob(layer))
		}, Filled, 200, 1},
		"a peer knows": {demo, false, func(w *world) { w.mad1.Say(at(demo), blob(layer)) }, Filled, 200, 1},
		"a cache that has not pulled it": {nginx, false, func(w *world) {
			w.harbor.Say("HEAD "+at(nginx), trial.Answer{Status: 404})
			w.harbor.Say("GET "+at(nginx), blob(layer))
		}, Filled, 200, 1},
		"nobody":               {demo, false, func(*world) {}, 0, 404, 1},
		"not here, for a peer": {demo, true, func(w *world) { w.mad1.Say(at(demo), blob(layer)) }, 0, 404, 0},
		"what is no registry, for a peer": {demo, true, func(w *world) {
			w.harbor.Say("HEAD "+at(demo), trial.Answer{Status: 404, Header: http.Header{"Content-Type": {"text/plain"}}})
			w.harbor.Say("GET "+at(demo), blob(layer))
		}, Filled, 200, 1},
		"a cache's, for a peer": {nginx, true, func(w *world) { w.harbor.Say("HEAD "+at(nginx), noBlob); w.harbor.Say("GET "+at(nginx), blob(layer)) }, Filled, 200, 1},
	} {
		w := newWorld(t)
		c.say(w)
		q := blobOf(c.repo, layerDigest)
		q.Request.Method, q.OwnOnly = http.MethodHead, c.own
		b, err := w.Blob(t.Context(), q)
		if status(err) != c.status || err == nil && b.Origin != c.origin {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		if err == nil && b.Origin == Told && (b.Length != int64(len(layer)) || b.Source != "harbor" || b.Reader != nil || !w.Access.Member(c.repo, layerDigest)) {
			t.Errorf("%s: %+v", name, b)
		}
		if err == nil && b.Reader != nil {
			b.Close()
		}
		if gets := w.harbor.AskedFor("GET " + at(c.repo)); gets != c.gets {
			t.Errorf("%s: %d GETs", name, gets)
		}
	}
}

// A layer that comes without a length is as long as this repo's manifest says; another
// repo's is not believed.
func TestALayerWithoutALength(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	d := digest.FromString(long)
	size := func(n int) string {
		return `{"schemaVersion":2,"config":{"digest":"sha256:short","size":7},"layers":[{"digest":"` + d.String() + `","size":` + strconv.Itoa(n) + `}]}`
	}
	for name, c := range map[string]struct {
		repo string
		size int
		want bool
	}{
		"as its manifest says":        {demo, len(long), true},
		"another repo's manifest":     {"multi-dc-demo/other", len(long), false},
		"a manifest that says zero":   {demo, 0, false},
		"a manifest that says minus1": {demo, -1, false},
	} {
		w := newWorld(t)
		body := size(c.size)
		if _, err := w.KeepPushed(c.repo, digest.FromString(body), []byte(body), ociManifest); err != nil {
			t.Fatal(err)
		}
		if _, known := w.sizes.Get(named{demo, d}); known != c.want {
			t.Errorf("%s: known %t", name, known)
		}
		w.harbor.Say("/v2/"+demo+"/blobs/"+d.String(), trial.Answer{Body: long})
		b, err := w.Blob(t.Context(), blobOf(demo, d))
		if content(t, b, err) != long {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := newWorld(t)
	w.learnSizes(demo, []byte("<html>"))
	if w.sizes.Len() != 0 {
		t.Error("a page says how long blobs are")
	}
}

func TestContentRange(t *testing.T) {
	for s, want := range map[string]struct {
		first, size int64
		ok          bool
	}{
		"bytes 0-0/7": {0, 7, true}, "bytes 3-6/7": {3, 7, true}, "bytes 3-6/*": {3, -1, true}, "bytes 3-6/-7": {3, -1, true}, "bytes 0-6/0": {0, 0, true},
		"": {}, "3-6/7": {}, "bytes 3/7": {}, "bytes 3-6": {}, "bytes x-6/7": {}, "bytes -6/7": {}, "bytes */7": {},
	} {
		first, size, err := contentRange(s)
		if (err == nil) != want.ok || want.ok && (first != want.first || size != want.size) {
			t.Errorf("%q: %d, %d, %v", s, first, size, err)
		}
	}
}

// A client that leaves is told nothing of what sources say.
func TestAClientThatLeaves(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Blob(ctx, blobOf(demo, layerDigest)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	w.hold(t)
	if _, err := w.Blob(ctx, blobOf(demo, layerDigest)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
