package fetch

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/tags"
)

// noise is text that no compression makes much shorter than half of it.
func noise(n int) string {
	source := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%x", source.Uint64())
	}
	return b.String()[:n]
}

// labelled is an answer with content, what it says of it, and its length where that is said.
func labelled(body, label, contentType string, length bool) trial.Answer {
	a := trial.Answer{Header: http.Header{"Content-Type": {contentType}}, Body: body}
	if label != "" {
		a.Header.Set("Content-Encoding", label)
	}
	if length {
		a.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return a
}

// The bytes that match a digest are right, whatever is said of them: as they are, or as they
// were before they were compressed on the way. Nobody is given others first, however
// long the blob is, and whether a manifest of the repo says how long.
func TestOnlyTheDigestTellsWhatBytesAre(t *testing.T) {
	const bin, html = "application/octet-stream", "text/html; charset=utf-8"
	for _, size := range []int{0, 300 << 10} {
		text, page := noise(size), "<!doctype html>"+noise(size)
		file := trial.Gzip(text)
		for name, c := range map[string]struct {
			blob   string
			answer trial.Answer
			asked  int // at most, where a manifest says how long the blob is
		}{
			"a file that is said to be encoded":             {file, labelled(file, "x-gzip", bin, true), 1},
			"one of no length":                              {file, labelled(file, "gzip", bin, false), 2},
			"one that an upload's encoding is said of":      {file, labelled(file, "aws-chunked", bin, true), 1},
			"one that nobody knows the encoding of":         {text, labelled(text, "br", bin, false), 1},
			"a text that is said to be encoded, and is not": {text, labelled(text, "gzip", bin, true), 1},
			"a page":                                            {page, labelled(page, "", html, true), 1},
			"a page that is said to be encoded":                 {page, labelled(page, "deflate", html, false), 2},
			"a text that was encoded on the way":                {text, labelled(file, "gzip", bin, true), 1},
			"one of no length that was":                         {text, labelled(file, "gzip", "text/plain", false), 1},
			"a file that was encoded once more":                 {file, labelled(trial.Gzip(file), "gzip", bin, false), 1},
			"a page that was encoded on the way":                {page, labelled(trial.Gzip(page), "aws-chunked, gzip", html, true), 1},
			"what was encoded by another way than the label is": {text, labelled(file, "deflate", bin, true), 1},
		} {
			for _, named := range []bool{true, false} {
				w, d := newWorld(t), digest.FromString(c.blob)
				if named {
					w.harbor.Say("/v2/"+demo+"/manifests/v1", serve(fmt.Sprintf(`{"schemaVersion":2,"layers":[{"digest":%q,"size":%d}]}`, d, len(c.blob))))
					if _, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{}); err != nil {
						t.Fatal(err)
					}
				}
				at := "/v2/" + demo + "/blobs/" + d.String()
				w.harbor.Say(at, c.answer)
				b, err := w.Blob(t.Context(), blobOf(demo, d))
				if got := content(t, b, err); got != c.blob || !w.Holds(d) || !w.Access.Member(demo, d) {
					t.Errorf("%s, %d bytes, named %t: %d of %d bytes, held %t", name, size, named, len(got), len(c.blob), w.Holds(d))
				}
				if n := w.harbor.AskedFor("GET " + at); n > c.asked && size > 0 && named || n > 2 {
					t.Errorf("%s, %d bytes, named %t: asked %d times", name, size, named, n)
				}
			}
		}
	}
}

// Other bytes than the digest's are nobody's blob, by whatever reading: the next source is
// asked, and nobody is given any of them before.
func TestDoubtfulBytesThatAreWrong(t *testing.T) {
	right := noise(300 << 10)
	d, wrong := digest.FromString(right), noise(200<<10)
	for name, answer := range map[string]trial.Answer{
		"a page":                       labelled("<!doctype html>"+wrong, "", "text/html", true),
		"other bytes, encoded":         labelled(trial.Gzip(wrong), "gzip", "text/plain", false),
		"other bytes, said to be":      labelled(wrong, "gzip", "text/plain", true),
		"what is encoded and corrupt":  labelled(trial.Gzip(right)[:10]+strings.Repeat("\xff", 200<<10), "gzip", "text/plain", true),
		"a small file of a large text": labelled(trial.Gzip(strings.Repeat(right, 10)), "gzip", "text/plain", false),
	} {
		w := newWorld(t)
		w.harbor.Say("/v2/"+demo+"/manifests/v1", serve(fmt.Sprintf(`{"schemaVersion":2,"layers":[{"digest":%q,"size":%d}]}`, d, len(right))))
		if _, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{}); err != nil {
			t.Fatal(err)
		}
		at := "/v2/" + demo + "/blobs/" + d.String()
		w.harbor.Say(at, answer)
		w.mad1.Say(at, trial.Answer{Body: right})
		b, err := w.Blob(t.Context(), blobOf(demo, d))
		if got := content(t, b, err); got != right {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		alone := newWorld(t)
		for _, far := range []*trial.Registry{alone.harbor, alone.mad1, alone.drp1} {
			far.Say(at, answer)
		}
		if b, err := alone.Blob(t.Context(), blobOf(demo, d)); status(err) != http.StatusServiceUnavailable {
			t.Errorf("%s, at all: %v", name, err)
			b.Close()
		}
		if alone.Holds(d) || alone.Access.Member(demo, d) {
			t.Errorf("%s, at all: held %t, member %t", name, alone.Holds(d), alone.Access.Member(demo, d))
		}
	}
}

// A page proves nothing of a repo, and is no tag's digest.
func TestAPageProvesNothing(t *testing.T) {
	w := newWorld(t)
	w.hold(t)
	page := labelled("<html>", "", "text/html", true)
	w.harbor.Say("GET "+at(demo), page)
	w.harbor.Say("HEAD "+at(demo), refusal(405, "UNSUPPORTED", ""))
	if _, err := w.Blob(t.Context(), blobOf(demo, layerDigest)); status(err) != http.StatusServiceUnavailable {
		t.Errorf("a blob: %v", err)
	}
	w.harbor.Say("GET /v2/"+demo+"/manifests/v1", page)
	w.harbor.Say("HEAD /v2/"+demo+"/manifests/v1", refusal(405, "UNSUPPORTED", ""))
	if has, err := w.tagAt(t.Context(), tagOf(demo), tagOf(demo).Route(w.Routes)[0]); err == nil {
		t.Errorf("a tag: %q", has)
	}
}

// A page of a repo that is behind a cache is a blob where its bytes are: one that is held
// because of another project, too.
func TestAPageThatIsHeldAlready(t *testing.T) {
	page := "<!doctype html>" + noise(300<<10)
	d := digest.FromString(page)
	for body, want := range map[string]int{page: http.StatusOK, "<html>sign in": http.StatusServiceUnavailable} {
		w := newWorld(t)
		if err := w.Store.Put(d, []byte(page)); err != nil {
			t.Fatal(err)
		}
		w.harbor.Say("/v2/"+nginx+"/blobs/"+d.String(), refusal(404, "NOT_FOUND", "blob not found"))
		w.hub.Say("/v2/nginx/blobs/"+d.String(), labelled(body, "", "text/html", true))
		b, err := w.Blob(t.Context(), blobOf(nginx, d))
		if err == nil {
			var got []byte
			if got, err = io.ReadAll(b); err == nil && string(got) != page {
				t.Errorf("%d bytes", len(got))
			}
			b.Close()
		}
		if (err == nil) != (want == http.StatusOK) || w.Access.Member(nginx, d) != (err == nil) {
			t.Errorf("%.20s: %v, member %t", body, err, w.Access.Member(nginx, d))
		}
		q := blobOf(nginx, d)
		q.Request.Method = http.MethodHead
		if b, err := w.Blob(t.Context(), q); (err == nil) != (want == http.StatusOK) {
			t.Errorf("%.20s, a HEAD: %v", body, err)
		} else if err == nil {
			b.Close()
		}
	}
}

// A HEAD is not told how long a blob is by what may be the length of its encoding.
func TestAnEncodedBlobsLengthIsNotTold(t *testing.T) {
	w, text := newWorld(t), noise(1000)
	d := digest.FromString(text)
	w.harbor.Say("/v2/"+demo+"/blobs/"+d.String(), labelled(trial.Gzip(text), "gzip", "text/plain", true))
	q := blobOf(demo, d)
	q.Request.Method = http.MethodHead
	b, err := w.Blob(t.Context(), q)
	if got := content(t, b, err); got != text || b.Origin != Filled {
		t.Errorf("%+v, %v", b, err)
	}
}
