package fetch

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// A manifest is kept byte for byte, its repo is known to hold it, and it is named by the
// source's media type: helm's have none inside.
func TestAManifestIsKept(t *testing.T) {
	body, d := manifest("new")
	helm := `{"schemaVersion":2,"config":{"digest":"` + d.String() + `","size":7},"layers":[]}`
	list := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for name, c := range map[string]struct {
		answer    trial.Answer
		mediaType string
	}{
		"as it is said":               {serve(body, "Content-Type", "application/vnd.example+json; charset=utf-8"), "application/vnd.example+json"},
		"without a type inside":       {serve(helm), ociManifest},
		"without a type outside":      {serve(list, "Content-Type", "application/octet-stream"), "application/vnd.oci.image.index.v1+json"},
		"with a type that is none":    {serve(list, "Content-Type", "text/plain"), "application/vnd.oci.image.index.v1+json"},
		"with one that is too long":   {serve(list, "Content-Type", "application/vnd."+strings.Repeat("x", 300)), "application/vnd.oci.image.index.v1+json"},
		"with one of 256 characters":  {serve(list, "Content-Type", "application/vnd."+strings.Repeat("x", 240)), "application/vnd.oci.image.index.v1+json"},
		"with one of 255 characters":  {serve(list, "Content-Type", "application/vnd."+strings.Repeat("x", 239)), "application/vnd." + strings.Repeat("x", 239)},
		"without any":                 {serve(helm, "Content-Type", "text/html"), ociManifest},
		"without a digest in headers": {serve(body, "Docker-Content-Digest", ""), ociManifest},
		"with a word for a digest":    {serve(body, "Docker-Content-Digest", "foo"), ociManifest},
		"with half a digest":          {serve(body, "Docker-Content-Digest", "sha256:short"), ociManifest},
		"with a quoted digest":        {serve(body, "Docker-Content-Digest", `"`+digest.FromString(body).String()+`"`), ociManifest},
		"with a digest in capitals":   {serve(body, "Docker-Content-Digest", strings.ToUpper(digest.FromString(body).String())), ociManifest},
		"with one of another kind":    {serve(body, "Docker-Content-Digest", "md5:900150983cd24fb0d6963f7d28e17f72"), ociManifest},
	} {
		w := newWorld(t)
		w.harbor.Say("GET /v2/"+demo+"/manifests/v1", c.answer)
		found, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{})
		want := digest.FromString(c.answer.Body)
		if err != nil || found.Entry.Digest != want || found.Entry.MediaType != c.mediaType || found.Entry.Source != "harbor" || string(found.Body) != c.answer.Body || found.Stale {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if kept, err := w.Read(want); err != nil || string(kept) != c.answer.Body || !w.Access.Member(demo, want) {
			t.Errorf("%s: kept %q (%v), member %t", name, kept, err, w.Access.Member(demo, want))
		}
		if r := w.harbor.Asked()[0]; r.Header.Get("Accept") != ManifestTypes {
			t.Errorf("%s: accepts %q", name, r.Header.Get("Accept"))
		}
	}
}

// What is no manifest, or not the one that was asked for, is nobody's word: the next is
// asked, and nothing of it is kept.
func TestWhatIsNoManifest(t *testing.T) {
	body, d := manifest("new")
	other, otherDigest := manifest("other")
	for name, answer := range map[string]trial.Answer{
		"a page":                    serve("<html>", "Docker-Content-Digest", ""),
		"JSON, but no manifest":     serve(`{"token":"x"}`, "Docker-Content-Digest", ""),
		"other bytes than it names": serve(other, "Docker-Content-Digest", d.String()),
		"a broken registry":         broken,
	} {
		w := newWorld(t)
		w.harbor.Say("/v2/"+demo+"/manifests/v1", answer)
		if _, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{}); status(err) != http.StatusServiceUnavailable {
			t.Errorf("%s: %v", name, err)
		}
		w.mad1.Say("/v2/"+demo+"/manifests/v1", serve(body))
		if found, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{}); err != nil || found.Entry.Source != "peer-mad1" || found.Entry.Digest != d {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if w.Holds(otherDigest) || w.Access.Member(demo, otherDigest) {
			t.Errorf("%s: it is kept", name)
		}
	}
}

// A manifest by digest is that digest's, whatever a header says; 4 MiB are the most.
func TestAManifestByItsDigest(t *testing.T) {
	w := newWorld(t)
	body, d := manifest("new")
	q := tagOf(demo)
	q.Request.Tag, q.Request.Digest = "", d
	w.harbor.Say("/v2/"+demo+"/manifests/"+d.String(), serve(body, "Docker-Content-Digest", digest.FromString("x").String()))
	if found, err := w.Manifest(t.Context(), q, tags.Entry{}); err != nil || found.Entry.Digest != d {
		t.Errorf("%+v, %v", found, err)
	}
	for size, want := range map[int]int{registry.MaxManifest: http.StatusOK, registry.MaxManifest + 1: http.StatusRequestEntityTooLarge} {
		w := newWorld(t)
		large := `{"schemaVersion":2,"x":"` + strings.Repeat("x", size-len(`{"schemaVersion":2,"x":""}`)) + `"}`
		w.harbor.Say("/v2/"+demo+"/manifests/v1", serve(large))
		if got, err := w.askManifest(t.Context(), tagOf(demo), tagOf(demo).Route(w.Routes)[0], tags.Entry{}); status(err) != want {
			t.Errorf("%d bytes: %v, %d", size, err, len(got.Body))
		}
		if held := w.Holds(digest.FromString(large)); held != (want == http.StatusOK) {
			t.Errorf("%d bytes: held %t", size, held)
		}
	}
}

// The digest of a signed schema 1 is that of what is signed, by tag and by digest, whoever
// has it. The store has no such content: the sources are asked each time.
func TestASignedSchema1IsPassedOn(t *testing.T) {
	const signedType = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	payload := `{"schemaVersion":1,"name":"old/app","fsLayers":[]}`
	b64 := base64.RawURLEncoding.EncodeToString
	protected := b64(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":%q}`, len(payload)-1, b64([]byte("}"))))
	body, d := payload[:len(payload)-1]+`,"signatures":[{"protected":"`+protected+`"}]}`, digest.FromString(payload)
	w := newWorld(t)
	byDigest := tagOf(demo).By(d)
	for name, c := range map[string]struct {
		at     *trial.Registry
		answer trial.Answer
	}{
		"Harbor's":        {w.harbor, serve(body, "Content-Type", signedType, "Docker-Content-Digest", d.String())},
		"a peer's":        {w.mad1, serve(body, "Content-Type", "text/plain", "Docker-Content-Digest", d.String())},
		"without headers": {w.harbor, serve(body, "Content-Type", "", "Docker-Content-Digest", "")},
	} {
		for _, far := range []*trial.Registry{w.harbor, w.mad1} {
			for _, reference := range []string{"v1", d.String()} {
				far.Say("/v2/"+demo+"/manifests/"+reference, map[bool]trial.Answer{true: c.answer, false: refusal(404, "MANIFEST_UNKNOWN", "")}[far == c.at])
			}
		}
		for range 2 {
			for _, q := range []Question{tagOf(demo), byDigest} {
				found, err := w.Manifest(t.Context(), q, tags.Entry{Digest: d, MediaType: signedType})
				if err != nil || found.Entry.Digest != d || found.Entry.MediaType != signedType || string(found.Body) != body {
					t.Errorf("%s, %s: %+v, %v", name, q.Request.Reference(), found, err)
				}
			}
		}
		if w.Holds(d) || !w.Access.Member(demo, d) {
			t.Errorf("%s: held %t, member %t", name, w.Holds(d), w.Access.Member(demo, d))
		}
	}
	if err := w.KeepTold(d, []byte(body)); err != nil {
		t.Errorf("of another edge: %v", err)
	}
	if mediaType, err := w.KeepPushed(demo, d, []byte(body), "application/json"); err != nil || mediaType != signedType {
		t.Errorf("pushed: %q, %v", mediaType, err)
	}
}

// A manifest that is too large is refused in a sentence, whatever others say.
func TestAManifestThatIsTooLargeIsRefused(t *testing.T) {
	large := `{"schemaVersion":2,"x":"` + strings.Repeat("x", registry.MaxManifest) + `"}`
	for _, others := range []trial.Answer{broken, refusal(404, "NOT_FOUND", "artifact nginx:v1 not found")} {
		w := newWorld(t)
		w.harbor.Say("/v2/cache-hub/nginx/manifests/v1", others)
		w.hub.Say("/v2/library/nginx/manifests/v1", serve(large))
		w.hub.Say("/v2/nginx/manifests/v1", serve(large))
		if _, err := w.Manifest(t.Context(), tagOf(nginx), tags.Entry{}); status(err) != http.StatusRequestEntityTooLarge || !errors.Is(err, &registry.Error{Code: registry.CodeManifestInvalid}) || !strings.Contains(err.Error(), "larger than 4194304 bytes") {
			t.Errorf("%v", err)
		}
	}
}

// With a copy a HEAD will do, where it names the same digest.
func TestACopyIsLookedAtByHead(t *testing.T) {
	body, d := manifest("held")
	next, nextDigest := manifest("next")
	at := "/v2/" + demo + "/manifests/v1"
	for name, c := range map[string]struct {
		say    func(w *world)
		digest digest.Digest
		gets   int
		status int
	}{
		"the same":               {func(w *world) { w.harbor.Say(at, serve(body)) }, d, 0, 200},
		"another":                {func(w *world) { w.harbor.Say(at, serve(next)) }, nextDigest, 1, 200},
		"a HEAD that is refused": {func(w *world) { w.harbor.Say("HEAD "+at, refusal(404, "x", "x")); w.harbor.Say("GET "+at, serve(body)) }, d, 1, 200},
		"a HEAD that is refused without a reason": {func(w *world) {
			w.harbor.Say("HEAD "+at, trial.Answer{Status: 499})
			w.harbor.Say("GET "+at, serve(body))
		}, d, 1, 200},
		"a HEAD that names nothing": {func(w *world) {
			w.harbor.Say("HEAD "+at, serve(body, "Docker-Content-Digest", ""))
			w.harbor.Say("GET "+at, serve(next))
		}, nextDigest, 1, 200},
		"a HEAD at which it breaks": {func(w *world) { w.harbor.Say("HEAD "+at, broken); w.harbor.Say("GET "+at, serve(next)) }, "", 0, 503},
		"a HEAD that is one of too many": {func(w *world) {
			w.harbor.Say("HEAD "+at, trial.Answer{Status: 429})
			w.harbor.Say("GET "+at, serve(next))
		}, "", 0, 429},
		"what Harbor's policy refuses now": {func(w *world) { w.harbor.Say(at, policy) }, "", 1, 412},
	} {
		w := newWorld(t)
		if err := w.Store.Put(d, []byte(body)); err != nil {
			t.Fatal(err)
		}
		c.say(w)
		q := tagOf(demo)
		found, err := w.askManifest(t.Context(), q, q.Route(w.Routes)[0], tags.Entry{Digest: d, MediaType: "application/vnd.held", Source: "before"})
		if status(err) != c.status || found.Entry.Digest != c.digest {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if err == nil && found.Entry.Source != "harbor" || found.Entry.Digest == d && c.gets == 0 && found.Entry.MediaType != "application/vnd.held" {
			t.Errorf("%s: %+v", name, found)
		}
		if heads, gets := w.harbor.AskedFor("HEAD /v2/"+demo), w.harbor.AskedFor("GET /v2/"+demo); heads != 1 || gets != c.gets {
			t.Errorf("%s: %d HEAD, %d GET", name, heads, gets)
		}
	}
	w := newWorld(t) // what is remembered, but held no more, is fetched
	w.harbor.Say(at, serve(body))
	if found, err := w.Manifest(t.Context(), tagOf(demo), tags.Entry{Digest: d}); err != nil || string(found.Body) != body || w.harbor.AskedFor("HEAD /v2/"+demo) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// A peer that only remembers says so, and what it says of a version is heard.
func TestWhatAPeerSays(t *testing.T) {
	body, d := manifest("theirs")
	at := "/v2/" + demo + "/manifests/v1"
	mark := version.Record{Digest: d, Version: version.Version{Time: 7, Datacenter: "mad1"}}
	claimed := mark
	claimed.Claimed = true
	for name, c := range map[string]struct {
		headers []string
		repo    string
		stale   bool
		heard   digest.Digest
	}{
		"what it knows":                    {nil, demo, false, ""},
		"what it remembers":                {[]string{"Cache-Status", "breakwater; hit; fwd=stale; detail=nobody-can-say"}, demo, true, ""},
		"what it found still to be right":  {[]string{"Cache-Status", "breakwater; fwd=stale; detail=harbor"}, demo, false, ""},
		"its version":                      {[]string{peer.RecordHeader, mark.Mark()}, demo, false, d},
		"a version that it has heard of":   {[]string{peer.RecordHeader, claimed.Mark()}, demo, false, d},
		"a version that cannot be read":    {[]string{peer.RecordHeader, "x"}, demo, false, ""},
		"a version of what has none there": {[]string{peer.RecordHeader, mark.Mark()}, core, false, ""},
	} {
		w := newWorld(t)
		w.mad1.Say(strings.Replace(at, demo, c.repo, 1), serve(body, c.headers...))
		found, err := w.Manifest(t.Context(), tagOf(c.repo), tags.Entry{})
		if err != nil || found.Entry.Digest != d || found.Stale != c.stale || found.Entry.Source != "peer-mad1" {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if w.heard["mad1"] != c.heard {
			t.Errorf("%s: heard %q", name, w.heard["mad1"])
		}
	}
	w := newWorld(t) // of a copy too, and with nobody to tell
	w.mad1.Say(at, serve(body, peer.RecordHeader, mark.Mark(), "Cache-Status", "breakwater; hit; fwd=stale"))
	if err := w.Store.Put(d, []byte(body)); err != nil {
		t.Fatal(err)
	}
	q := tagOf(demo)
	step := q.Route(w.Routes)[1]
	if found, err := w.askManifest(t.Context(), q, step, tags.Entry{Digest: d}); err != nil || !found.Stale || w.heard["mad1"] != d {
		t.Errorf("%+v, %v, heard %v", found, err, w.heard)
	}
	w.Heard = nil
	if _, err := w.askManifest(t.Context(), q, step, tags.Entry{Digest: d}); err != nil {
		t.Error(err)
	}
}

// Small manifests are in memory as long as the store has them.
func TestManifestsInMemory(t *testing.T) {
	w := newWorld(t)
	small, large := []byte(strings.Repeat("s", 32<<10)), []byte(strings.Repeat("l", 32<<10+1))
	for _, body := range [][]byte{small, large} {
		d := digest.FromBytes(body)
		if _, err := w.Read(d); err == nil {
			t.Error("it is not there yet")
		}
		if err := w.KeepTold(d, body); err != nil || w.Access.Member(demo, d) {
			t.Errorf("%v: what another edge sends is no proof", err)
		}
		for range 2 {
			if got, err := w.Read(d); err != nil || string(got) != string(body) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
		if inMemory := w.hot.Contains(d); inMemory != (len(body) <= 32<<10) {
			t.Errorf("%d bytes in memory: %t", len(body), inMemory)
		}
		if _, err := w.Store.Purge(d); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Read(d); err == nil {
			t.Errorf("%d bytes are read that the store has no more", len(body))
		}
	}
	if err := w.KeepTold(digest.FromString("x"), small); err == nil || w.Holds(digest.FromString("x")) {
		t.Error("other bytes are kept under the digest")
	}
}

// A pushed manifest is kept with the type that the client named.
func TestAPushedManifest(t *testing.T) {
	w := newWorld(t)
	body, d := manifest("pushed")
	if mediaType, err := w.KeepPushed(demo, d, []byte(body), "application/vnd.example"); err != nil || mediaType != "application/vnd.example" || !w.Holds(d) || !w.Access.Member(demo, d) {
		t.Errorf("%q, %v", mediaType, err)
	}
	if _, err := w.KeepPushed(demo, digest.FromString("x"), []byte(body), ociManifest); err == nil {
		t.Error("other bytes are kept under the digest")
	}
}
