package fetch

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// An edge that knows the newest version of a tag serves that, whatever Harbor has; Harbor
// is asked first, for its policy.
func TestTheVersionThatIsWanted(t *testing.T) {
	body, d := manifest("wanted")
	older, olderDigest := manifest("older")
	tag, byDigest := "/v2/"+demo+"/manifests/v1", "/v2/"+demo+"/manifests/"+d.String()
	olderAt := "/v2/" + demo + "/manifests/" + olderDigest.String()
	for name, c := range map[string]struct {
		held    bool
		settled bool // the push is more than an hour ago
		accepts bool
		say     func(w *world)
		want    digest.Digest
		source  string
		status  int
		offered []digest.Digest
	}{
		"Harbor has it, and it is held": {held: true, say: func(w *world) { w.harbor.Say(tag, serve(body)) }, want: d, source: "harbor", status: 200},
		"Harbor has it, and it is not held": {say: func(w *world) { w.harbor.Say(tag, serve(body)); w.harbor.Say(byDigest, serve(body)) },
			want: d, source: "harbor", status: 200},
		"Harbor has an older one, and it is held": {held: true, say: func(w *world) { w.harbor.Say(tag, serve(older)) },
			want: d, source: "version-mad1", status: 200, offered: []digest.Digest{olderDigest}},
		"Harbor has an older one, a peer the wanted": {say: func(w *world) { w.harbor.Say(tag, serve(older)); w.mad1.Say(byDigest, serve(body)) },
			want: d, source: "peer-mad1", status: 200, offered: []digest.Digest{olderDigest}},
		"nobody has the wanted": {say: func(w *world) { w.harbor.Say(tag, serve(older)); w.mad1.Say(byDigest, broken) },
			status: 503, offered: []digest.Digest{olderDigest}},
		"Harbor lacks the tag, and it is held": {held: true, say: func(*world) {}, want: d, source: "version-mad1", status: 200, offered: []digest.Digest{""}},
		"Harbor cannot say, and it is held":    {held: true, say: func(w *world) { w.harbor.Say(tag, broken) }, want: d, source: "version-mad1", status: 200},
		"Harbor's policy forbids the tag":      {held: true, say: func(w *world) { w.harbor.Say(tag, policy) }, status: 412},
		"Harbor's policy forbids the digest":   {held: true, say: func(w *world) { w.harbor.Say(byDigest, policy) }, status: 412, offered: []digest.Digest{""}},
		"what Harbor has is accepted, and fetched": {accepts: true, held: true, say: func(w *world) { w.harbor.Say(tag, serve(older)); w.harbor.Say(olderAt, serve(older)) },
			want: olderDigest, source: "harbor", status: 200, offered: []digest.Digest{olderDigest}},
		"what Harbor has is accepted, and held": {accepts: true, say: func(w *world) {
			if err := w.Store.Put(olderDigest, []byte(older)); err != nil {
				t.Fatal(err)
			}
			w.harbor.Say(tag, serve(older))
			w.harbor.Say(olderAt, serve(older))
		}, want: olderDigest, source: "harbor", status: 200, offered: []digest.Digest{olderDigest}},
		"it is settled: who has it is asked": {held: true, settled: true, say: func(w *world) { w.harbor.Say(tag, serve(older)); w.drp1.Say(byDigest, serve(body)) },
			want: d, source: "peer-drp1", status: 200, offered: []digest.Digest{olderDigest}},
		"it is settled, and no Harbor has it any more": {held: true, settled: true, say: func(*world) {}, status: 404, offered: []digest.Digest{""}},
	} {
		w := newWorld(t)
		w.accepts = c.accepts
		c.say(w)
		if c.held {
			if err := w.Store.Put(d, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		q := tagOf(demo)
		q.Want = version.Record{Digest: d, MediaType: ociManifest, Version: version.Version{Time: 7, Datacenter: "mad1"}, Heard: time.Now().UnixMilli()}
		if c.settled {
			q.Want.Heard = time.Now().Add(-Settled - time.Minute).UnixMilli()
		}
		found, err := w.Manifest(t.Context(), q, tags.Entry{})
		if status(err) != c.status || err == nil && (found.Entry.Digest != c.want || found.Entry.Source != c.source || found.Entry.MediaType != ociManifest) {
			t.Errorf("%s: %+v, %v", name, found.Entry, err)
		}
		if !slices.Equal(w.offered, c.offered) {
			t.Errorf("%s: accepts was asked about %q, want %q", name, w.offered, c.offered)
		}
		if n := len(w.harbor.Asked()); name == "Harbor has it, and it is held" && n != 1 {
			t.Errorf("%s: Harbor was asked %d times", name, n)
		}
	}
}

// Of a project that Harbor says it has not, and lists no more, nothing is given though it is
// held; where it lists it, Harbor has lost the repo alone.
func TestTheVersionOfAProjectThatIsGone(t *testing.T) {
	body, d := manifest("wanted")
	gone := refusal(http.StatusNotFound, string(registry.CodeNameUnknown), "x")
	for name, c := range map[string]struct {
		project string // as Harbor lists it by then
		status  int
	}{
		"it is there": {`[{"name":"multi-dc-demo","project_id":7}]`, http.StatusOK},
		"it is gone":  {`[]`, http.StatusNotFound},
	} {
		w := newWorld(t)
		robot, err := registry.NewSource(registry.SourceConfig{URL: w.harbor.URL, Username: "edge", Password: "Some1Secret"}) // Harbor lists projects for it
		if err != nil {
			t.Fatal(err)
		}
		if w.Access, err = access.New(access.Config{Harbor: robot}); err != nil {
			t.Fatal(err)
		}
		projects := "/api/v2.0/projects"
		w.harbor.Say(projects, trial.Answer{Body: `[{"name":"multi-dc-demo","project_id":7}]`})
		w.Access.LookNow(t.Context(), demo)
		w.harbor.Say(projects, trial.Answer{Body: c.project})
		w.harbor.Say("/v2/"+demo+"/manifests/v1", gone)
		w.harbor.Say("/v2/"+demo+"/manifests/"+d.String(), gone)
		if err := w.Store.Put(d, []byte(body)); err != nil {
			t.Fatal(err)
		}
		q := tagOf(demo)
		q.Want = version.Record{Digest: d, MediaType: ociManifest, Version: version.Version{Time: 7, Datacenter: "mad1"}, Heard: time.Now().UnixMilli()}
		if found, err := w.Manifest(t.Context(), q, tags.Entry{}); status(err) != c.status {
			t.Errorf("%s: %+v, %v", name, found.Entry, err)
		}
	}
}

// The digest under a reference: a refused HEAD does not say why, so a GET does.
func TestTheDigestAtASource(t *testing.T) {
	body, d := manifest("x")
	tag := "/v2/" + demo + "/manifests/v1"
	for name, c := range map[string]struct {
		head, get trial.Answer
		digest    digest.Digest
		status    int
		gets      int
	}{
		"a HEAD":                       {serve(body), broken, d, 200, 0},
		"a HEAD that is refused":       {trial.Answer{Status: 404}, serve(body), d, 200, 1},
		"a policy":                     {trial.Answer{Status: 412}, policy, "", 412, 1},
		"a no":                         {trial.Answer{Status: 404}, refusal(404, "NOT_FOUND", "x"), "", 404, 1},
		"a HEAD that it breaks at":     {broken, serve(body), "", 503, 0},
		"one that does not say":        {serve(body, "Docker-Content-Digest", ""), serve(body, "Docker-Content-Digest", ""), d, 200, 1},
		"one that does not say twice":  {serve(body, "Docker-Content-Digest", ""), broken, "", 503, 1},
		"a status that is the largest": {trial.Answer{Status: 499}, serve(body), d, 200, 1},
	} {
		w := newWorld(t)
		w.harbor.Say("HEAD "+tag, c.head)
		w.harbor.Say("GET "+tag, c.get)
		q := tagOf(demo)
		got, err := w.tagAt(t.Context(), q, q.Route(w.Routes)[0])
		if got != c.digest || status(err) != c.status || w.harbor.AskedFor("GET "+tag) != c.gets {
			t.Errorf("%s: %q, %v, %d GETs", name, got, err, w.harbor.AskedFor("GET "+tag))
		}
		for _, r := range w.harbor.Asked() {
			if r.Header.Get("Accept") != ManifestTypes {
				t.Errorf("%s: accepts %q", name, r.Header.Get("Accept"))
			}
		}
	}
}

// Elsewhere is the other datacenters alone.
func TestElsewhere(t *testing.T) {
	w := newWorld(t)
	body, d := manifest("theirs")
	w.harbor.Say("/v2/"+demo+"/manifests/v1", serve(body))
	if _, err := w.Elsewhere(t.Context(), tagOf(demo)); !outcome.IsNo(err) || len(w.harbor.Asked()) > 0 {
		t.Errorf("%v, Harbor was asked %d times", err, len(w.harbor.Asked()))
	}
	w.drp1.Say("/v2/"+demo+"/manifests/v1", serve(body, "Cache-Status", "breakwater; hit; fwd=stale"))
	if found, err := w.Elsewhere(t.Context(), tagOf(demo)); err != nil || found.Entry.Digest != d || !found.Stale {
		t.Errorf("%+v, %v", found, err)
	}
	w.Routes.Use(nil, nil)
	if _, err := w.Elsewhere(t.Context(), tagOf(demo)); !outcome.IsNo(err) {
		t.Errorf("without a peer: %v", err)
	}
}

// What a peer serves under a reference: its manifest and version, or that it is deleted
// or forbidden there.
func TestWhatAPeerServes(t *testing.T) {
	body, d := manifest("theirs")
	mark := version.Record{Digest: d, Version: version.Version{Time: 7, Datacenter: "mad1"}}
	deleted := version.Record{Version: version.Version{Time: 8, Datacenter: "mad1"}}
	with := func(a trial.Answer, r version.Record) trial.Answer {
		header := a.Header.Clone()
		if header == nil {
			header = http.Header{}
		}
		header.Set(peer.RecordHeader, r.Mark())
		a.Header = header
		return a
	}
	for name, c := range map[string]struct {
		reference string
		answer    trial.Answer
		want      version.Record
		status    int
		kept      bool
	}{
		"a tag with its version": {"v1", with(serve(body), mark), version.Record{Digest: d, MediaType: ociManifest, Version: mark.Version}, 200, true},
		"a tag without one":      {"v1", serve(body), version.Record{Digest: d, MediaType: ociManifest}, 200, true},
		"a digest":               {d.String(), with(serve(body), mark), version.Record{Digest: d, MediaType: ociManifest, Version: mark.Version}, 200, true},
		"a tag that is deleted":  {"v1", with(refusal(404, "MANIFEST_UNKNOWN", "x"), deleted), deleted, 200, false},
		"one that is forbidden":  {"v1", with(policy, mark), mark, 200, false},
		"one that it has not":    {"v1", refusal(404, "MANIFEST_UNKNOWN", "x"), version.Record{}, 404, false},
		"one that breaks":        {"v1", with(broken, mark), version.Record{}, 503, false},
	} {
		w := newWorld(t)
		w.mad1.Say("/v2/"+demo+"/manifests/"+c.reference, c.answer)
		got, err := w.Served(t.Context(), w.Routes.Peers()[0], version.Key{Repo: demo, Reference: c.reference}, table.Of("multi-dc-demo"))
		if status(err) != c.status || err == nil && (got.Digest != c.want.Digest || got.Version != c.want.Version || got.MediaType != c.want.MediaType && c.kept) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if w.Holds(d) != c.kept {
			t.Errorf("%s: kept %t", name, w.Holds(d))
		}
	}
}
