package lists

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/registry"
)

var signed = digest.FromString("an image")

// descriptorOf is the descriptor of something that refers to the image.
func descriptorOf(name string) json.RawMessage {
	return json.RawMessage(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + digest.FromString(name).String() + `","size":1,"artifactType":"` + name + `"}`)
}

func index(names ...string) trial.Answer {
	i := Index{SchemaVersion: 2, Manifests: []json.RawMessage{}}
	for _, name := range names {
		i.Manifests = append(i.Manifests, descriptorOf(name))
	}
	body, _ := json.Marshal(i)
	return trial.Answer{Body: string(body)}
}

func api(repo string) string { return "/v2/" + repo + "/referrers/" + signed.String() }

func tagged(repo string) string {
	return "/v2/" + repo + "/manifests/" + strings.Replace(signed.String(), ":", "-", 1)
}

func referring(repo string) fetch.Question {
	q := question(repo)
	q.Request.Kind, q.Request.Digest = registry.KindReferrers, signed
	return q
}

// names are the types of the descriptors, in order.
func names(all []json.RawMessage) (names []string) {
	for _, raw := range all {
		var d descriptor
		json.Unmarshal(raw, &d) //nolint:errcheck // it was made here
		names = append(names, d.ArtifactType)
	}
	return names
}

// referrerCase is what sources say, and what becomes of it.
type referrerCase struct {
	repo   string
	known  []string
	say    func(w *world)
	want   string // the names, in order
	source string
	merged bool
	status int    // 0: 200
	after  string // what is remembered then; "": what was known
}

var referrerCases = map[string]referrerCase{
	"Harbor's": {repo: demo, say: func(w *world) {
		w.harbor.Say(api(demo), index("sig", "sbom"))
		w.mad1.Say(api(demo), index("other"))
	},
		want: "sig sbom", source: "harbor", after: "sig sbom"},
	"the API's and the tag's are one list, each once": {repo: demo,
		say: func(w *world) {
			w.harbor.Say(api(demo), index("sig", "sbom"))
			w.harbor.Say(tagged(demo), index("sbom", "old"))
		},
		want: "sig sbom old", source: "harbor", after: "sig sbom old"},
	"a registry without the API has the tag": {repo: demo, say: func(w *world) { w.harbor.Say(tagged(demo), index("old")) },
		want: "old", source: "harbor", after: "old"},
	"an API that fails is no registry without one": {repo: demo,
		say:    func(w *world) { w.harbor.Say(api(demo), broken); w.harbor.Say(tagged(demo), index("old")) },
		status: 503},
	"the API's list stands where the tag cannot be had": {repo: demo,
		say:  func(w *world) { w.harbor.Say(api(demo), index("sig")); w.harbor.Say(tagged(demo), broken) },
		want: "sig", source: "harbor", after: "sig"},
	"the peers are asked where Harbor knows of none": {repo: demo,
		say:  func(w *world) { w.harbor.Say(api(demo), index()); w.drp1.Say(api(demo), index("sig")) },
		want: "sig", source: "peer-drp1", after: "sig"},
	"the peers are asked where Harbor cannot say": {repo: demo,
		say:  func(w *world) { w.harbor.Say(api(demo), broken); w.drp1.Say(api(demo), index("sig")) },
		want: "sig", source: "peer-drp1", after: "sig"},
	"none, as everybody says": {repo: demo,
		say: func(w *world) {
			w.harbor.Say(api(demo), index())
			w.mad1.Say(api(demo), index())
			w.drp1.Say(api(demo), index())
		}, source: "a source"},
	"Harbor does not ask the upstream: it is asked too": {repo: nginx,
		say:  func(w *world) { w.harbor.Say(api(nginx), index()); w.hub.Say(api("nginx"), index("sig")) },
		want: "sig", source: "upstream-hub", after: "sig"},
	"an upstream that cannot say leaves no empty list": {repo: nginx,
		say: func(w *world) {
			w.harbor.Say(api(nginx), index())
			w.hub.Say(api("nginx"), broken)
			w.hub.Say(tagged("nginx"), broken)
		}, status: 503},
	"one that refuses says that it has none": {repo: nginx,
		say: func(w *world) {
			w.harbor.Say(api(nginx), index())
			w.hub.Say(api("nginx"), refuse)
			w.hub.Say(tagged("nginx"), refuse)
		}, source: "harbor"},
	"what is remembered completes it where one cannot say": {repo: nginx, known: []string{"sig"},
		say: func(w *world) {
			w.harbor.Say(api(nginx), index("sbom"))
			w.hub.Say(api("nginx"), broken)
		}, want: "sbom sig", merged: true, after: "sbom sig"},
	"nobody can say, and some are remembered": {repo: demo, known: []string{"sig"},
		say: func(w *world) {
			for _, s := range []*trial.Registry{w.harbor, w.mad1, w.drp1} {
				s.Say(api(demo), broken)
			}
		}, want: "sig", merged: true},
	"a firm no of all": {repo: demo, known: []string{"sig"}, say: func(*world) {}, status: 404},
	"the upstream of the rule has a replicated image's": {repo: core,
		say:  func(w *world) { w.harbor.Say(api(core), index()); w.hub.Say(api("nginx"), index("sig")) },
		want: "sig", source: "upstream-hub", after: "sig"},
	"what names no digest is left out": {repo: demo,
		say: func(w *world) {
			w.harbor.Say(api(demo), trial.Answer{Body: `{"manifests":[{"digest":"sha256:short"},7,` + string(descriptorOf("sig")) + `]}`})
		}, want: "sig", source: "harbor", after: "sig"},
}

// What several sources say of what refers to an image, and what is remembered of it.
func TestReferrers(t *testing.T) {
	for name, c := range referrerCases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range c.known {
				w.PutReferrers(c.repo, signed, append(w.remembered.Referrers(c.repo, signed), descriptorOf(name)))
			}
			c.say(w)
			got, err := w.Lists.Referrers(t.Context(), referring(c.repo))
			if status(err) != max(c.status, http.StatusOK) {
				t.Fatalf("%v, want %d", err, c.status)
			}
			if c.source == "a source" {
				c.source = got.Source
			}
			if all := strings.Join(names(got.All), " "); all != c.want || got.Source != c.source || got.Merged != c.merged {
				t.Errorf("got %q of %q, merged %t; want %q of %q", all, got.Source, got.Merged, c.want, c.source)
			}
			if c.after == "" {
				c.after = strings.Join(c.known, " ")
			}
			if after := strings.Join(names(w.remembered.Referrers(c.repo, signed)), " "); after != c.after {
				t.Errorf("remembers %q, want %q", after, c.after)
			}
		})
	}
}

// Referrers may be many, and the tag is asked for as an index.
func TestReferrersOfSeveralPages(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(api(demo), linked(index("sig"), api(demo)+"?last=sig"))
	w.harbor.Say(api(demo)+"?last=sig", index("sbom"))
	got, err := w.Lists.Referrers(t.Context(), referring(demo))
	if all := strings.Join(names(got.All), " "); err != nil || all != "sig sbom" {
		t.Errorf("%q, %v", all, err)
	}
	for _, r := range w.harbor.Asked() {
		if accept := r.Header.Get("Accept"); strings.Contains(r.URL.Path, "/manifests/") != (accept == fetch.ManifestTypes) {
			t.Errorf("%s accepts %q", r.URL, accept)
		}
	}
}

// Who leaves is told nothing.
func TestListsOfAClientThatLeaves(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(api(demo), hangs)
	w.harbor.Say(path(demo), hangs)
	w.PutReferrers(demo, signed, []json.RawMessage{descriptorOf("sig")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Lists.Referrers(ctx, referring(demo)); err != ctx.Err() {
		t.Errorf("%v", err)
	}
	if _, err := w.Tags(ctx, question(demo)); err != ctx.Err() {
		t.Errorf("%v", err)
	}
}

// A tag has 128 characters at most, and the tag of a digest 32 and 64 of its parts.
func TestTheTagOfADigest(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		digest.FromString("x"):        "sha256-" + digest.FromString("x").Encoded(),
		digest.SHA512.FromString("x"): "sha512-" + digest.SHA512.FromString("x").Encoded()[:64],
	} {
		if got := fallbackTag(d); got != want || !registry.ValidTag(got) {
			t.Errorf("%s: %s", d, got)
		}
	}
}

// What lies under the tag is an index, whatever it is called.
func TestWhatLiesUnderTheTag(t *testing.T) {
	for body, want := range map[string]string{
		`{"manifests":[` + string(descriptorOf("sig")) + `]}`:                    "sig",
		`{"mediaType":"application/vnd.oci.image.index.v1+json"}`:                "",
		`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`: "",
		`{"schemaVersion":2,"config":{},"layers":[]}`:                            "no list",
		"<html>": "no list",
	} {
		w := newWorld(t)
		w.harbor.Say(api(nginx), index())
		w.hub.Say(tagged("nginx"), trial.Answer{Header: http.Header{"Content-Type": {"text/html"}}, Body: body})
		got, err := w.Lists.Referrers(t.Context(), referring(nginx))
		if all := strings.Join(names(got.All), " "); (err == nil) != (want != "no list") || err == nil && all != want {
			t.Errorf("%s: %q, %v", body, all, err)
		}
	}
}

// A registry may take the tag for the digest that it is made of: what lies there is the
// manifest itself then, and its own list is none of referrers.
func TestATagThatIsTakenForADigest(t *testing.T) {
	for _, body := range []string{index("child").Body, index("child").Body + "\n", `{"schemaVersion":2,"config":{},"layers":[]}`} {
		for _, q := range []digest.Digest{digest.FromString(body), digest.SHA512.FromString(body)} {
			w := newWorld(t)
			w.harbor.Say(strings.Replace(api(nginx), signed.String(), q.String(), 1), index())
			w.hub.Say(strings.Replace(tagged("nginx"), fallbackTag(signed), fallbackTag(q), 1), trial.Answer{Body: body})
			asked := referring(nginx)
			asked.Request.Digest = q
			if got, err := w.Lists.Referrers(t.Context(), asked); err != nil || len(got.All) > 0 {
				t.Errorf("%s: %q, %v", q, names(got.All), err)
			}
		}
	}
}

// Who is told that nobody can say is told when to come back as well.
func TestAnUpstreamsLimitOfReferrersSaysWhenToComeBack(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(api(nginx), index())
	w.hub.Say(api("nginx"), trial.Answer{Status: 429, Header: http.Header{"Retry-After": {"77"}}})
	_, err := w.Lists.Referrers(t.Context(), referring(nginx))
	var e *registry.Error
	if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.RetryAfter != 77*time.Second {
		t.Errorf("%v, %+v", err, e)
	}
}
