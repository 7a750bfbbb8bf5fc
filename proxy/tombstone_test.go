package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// versionOf is the version that a client is told of its push.
func versionOf(t *testing.T, a answer) version.Version {
	t.Helper()
	text, datacenter, _ := strings.Cut(a.header.Get("Breakwater-Version"), "@")
	n, err := strconv.ParseInt(text, 16, 64)
	if err != nil || datacenter == "" {
		t.Fatalf("a push has the version %q", a.header.Get("Breakwater-Version"))
	}
	return version.Version{Time: n, Datacenter: datacenter}
}

// deleteNote deletes a note by its digest, through the edge.
func (s *site) deleteNote(t *testing.T, text string) {
	t.Helper()
	if a := s.request(t, http.MethodDelete, s.edge.URL+app+noteDigest(text), s.asAdmin(), "", ""); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

// A delete by digest is seen at once, everywhere, by tags and by digest; so is a push of the
// same digest after it.
func TestADeleteAndAPushAfterIt(t *testing.T) {
	r := newRegion(t, hooked(counters{}))
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	par1.pushNote(t, "v1", "one")
	par1.pushNote(t, "v2", "one")
	r.agree(t, map[string]string{"v1": "one", "v2": "one"})
	mad1.deleteNote(t, "one")
	for _, s := range r.sites {
		for _, reference := range []string{"v1", "v2", noteDigest("one")} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				a := s.do(t, method, app+reference, s.as(t, reader, "multi-dc-demo/app"))
				if a.status != http.StatusNotFound || !strings.Contains(a.header.Get("Cache-Status"), "detail=tombstone") {
					t.Errorf("%s %s: %d (%s)", method, reference, a.status, a.header.Get("Cache-Status"))
				}
			}
		}
	}
	a := drp1.pushNote(t, noteDigest("one"), "one")
	if a.status != http.StatusCreated || a.header.Get("Breakwater-Acknowledged") != "mad1, par1" {
		t.Fatalf("%d, acknowledged by %q", a.status, a.header.Get("Breakwater-Acknowledged"))
	}
	for i, s := range []*site{drp1, par1, mad1} {
		if a := s.pullNote(t, noteDigest("one")); a.status != http.StatusOK || string(a.body) != note("one") {
			t.Errorf("its digest, pushed again, at %d: %d %s", i, a.status, a.body)
		}
		if a := s.pullNote(t, "v1"); a.status != http.StatusNotFound {
			t.Errorf("a tag that was deleted with it, at %d: %d %s", i, a.status, a.body)
		}
	}
	mad1.pushNote(t, "v1", "one")
	r.agree(t, map[string]string{"v1": "one"})
	par1.shows(t, "the other tag", "v2", "")
}

// A list has what was pushed and not what was deleted, though Harbor can be given neither.
func TestListsKnowVersions(t *testing.T) {
	r := newRegion(t, hooked(counters{}))
	par1, mad1 := r.sites[0], r.sites[1]
	par1.pushNote(t, "old", "one")
	par1.pushNote(t, "stays", "two")
	signature := func(of string) string {
		return strings.Replace(note("signs "+of), `"manifests":[]`, fmt.Sprintf(`"manifests":[],"artifactType":"example/sig","subject":{"mediaType":%q,"digest":%q,"size":%d}`, indexType, noteDigest(of), len(note(of))), 1)
	}
	first, second := signature("two"), signature("three")
	par1.pushManifest(t, "sig1", indexType, first)
	r.agree(t, map[string]string{"old": "one", "stays": "two"})
	waitFor(t, "the signature at mad1's Harbor", func() bool { return mad1.harborHas(t, "sig1") != "" })
	if err := mad1.harbor.SetFaults(lab.Fault{Name: "500", Path: "^(PUT|POST|DELETE) "}); err != nil {
		t.Fatal(err)
	}
	par1.deleteNote(t, "one")
	par1.pushNote(t, "new", "three")
	par1.pushManifest(t, "sig2", indexType, second)
	for i, s := range r.sites {
		if tags, a := s.tags(t, "multi-dc-demo/app", "", s.as(t, reader, "multi-dc-demo/app")); fmt.Sprint(tags) != "[new sig1 sig2 stays]" {
			t.Errorf("edge %d: %v (%s)", i, tags, a.header.Get("Cache-Status"))
		}
	}
	par1.request(t, http.MethodDelete, par1.edge.URL+app+digest.FromString(first).String(), par1.asAdmin(), "", "")
	for i, s := range r.sites {
		for of, want := range map[string]string{"two": "", "three": digest.FromString(second).String()} {
			if got := s.refer(t, noteDigest(of)); got != want {
				t.Errorf("referrers of %s at edge %d: %q, want %q", of, i, got, want)
			}
		}
	}
}

// refer are the digests of what refers to a digest.
func (s *site) refer(t *testing.T, of string) string {
	t.Helper()
	a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/referrers/"+of, s.as(t, reader, "multi-dc-demo/app"))
	var list struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(a.body, &list); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	var all []string
	for _, m := range list.Manifests {
		all = append(all, m.Digest)
	}
	return strings.Join(all, " ")
}

// What edges tell each other in headers is not for clients to say: it changes no version,
// and reaches no Harbor.
func TestClientsForgeNoVersions(t *testing.T) {
	var mu sync.Mutex
	var leaked []string
	listen := func(_ *access.Config, p *proxy.Config, s *registry.SourceConfig) {
		target, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		front := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			pr.Out.Host = pr.In.Host
			mu.Lock()
			defer mu.Unlock()
			for name := range pr.In.Header {
				if strings.HasPrefix(name, "Breakwater-") {
					leaked = append(leaked, pr.In.Method+" "+pr.In.URL.Path+" "+name)
				}
			}
		}}
		server := httptest.NewServer(front)
		t.Cleanup(server.Close)
		s.URL = server.URL
	}
	r := newRegion(t, listen)
	par1, mad1 := r.sites[0], r.sites[1]
	future := version.Version{Time: time.Now().Add(24*time.Hour).UnixMilli() << 16, Datacenter: "zzz9"}
	mark := version.Record{Digest: digest.FromString(note("forged")), Version: future, Knew: version.Knew{"par1": future.Time}}.Mark()
	forged := map[string]string{peer.RecordHeader: mark, peer.AskedHeader: "mad1, drp1", peer.PushHeader: "1", peer.ClientHeader: par1.asAdmin(), "Content-Type": indexType}
	put := func(s *site, method, path, authorization, body string) int {
		h := map[string]string{"Authorization": authorization}
		for k, v := range forged {
			h[k] = v
		}
		status, _ := s.send(t, method, path, h, strings.NewReader(body))
		return status
	}
	token := par1.asWriter(t, "multi-dc-demo/app")["Authorization"]
	if status := put(par1, http.MethodPut, app+"v1", token, note("one")); status != http.StatusCreated {
		t.Fatal(status)
	}
	put(par1, http.MethodGet, app+"v1", token, "")
	put(par1, http.MethodPut, "/v2/plain/app/manifests/v1", par1.asAdmin(), note("one"))
	put(par1, http.MethodGet, "/v2/plain/app/manifests/v1", par1.asAdmin(), "")
	put(par1, http.MethodGet, "/api/v2.0/projects", par1.asAdmin(), "")
	put(par1, http.MethodDelete, app+noteDigest("never"), token, "")
	a := mad1.pushNote(t, "v1", "two")
	if a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	for _, s := range r.sites {
		s.shows(t, "after a client's word", "v1", "two")
	}
	if v := versionOf(t, a); time.UnixMilli(v.Time >> 16).After(time.Now().Add(time.Hour)) {
		t.Errorf("the push has the version %v: the client's word has moved the edge's clock", v)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, l := range leaked {
		if strings.HasSuffix(l, "Record") || strings.Contains(l, "Client") || strings.Contains(l, "Push") || strings.Contains(l, "Asked") {
			t.Errorf("Harbor was told %s", l)
		}
	}
}

// What was deleted is not served again by an edge that knew it, though it and its Harbor are
// killed at the next moment.
func TestADeleteOutlivesAKill(t *testing.T) {
	memories, dir := map[string]*state.DB{}, t.TempDir()
	r := newRegion(t, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		memory := openState(t, filepath.Join(dir, p.Datacenter))
		t.Cleanup(func() { memory.Close() })
		memories[p.Datacenter], a.Members, p.State = memory, memory, memory
	})
	par1, mad1 := r.sites[0], r.sites[1]
	headers := map[string]map[string]string{}
	for name, s := range map[string]*site{"par1": par1, "mad1": mad1} {
		for tag, text := range map[string]string{"v1": "one", "stays": "two"} { // they have no versions: no edge is told
			s.putPast(t, tag, text)
			same(t, tag, s.pullNote(t, tag), []byte(note(text)))
		}
		headers[name] = s.as(t, reader, "multi-dc-demo/app")
		s.tags(t, "multi-dc-demo/app", "", headers[name])
		if err := memories[name].Save(); err != nil {
			t.Fatal(err)
		}
	}
	if a := par1.request(t, http.MethodDelete, par1.edge.URL+app+noteDigest("one"), par1.asAdmin(), "", ""); !strings.Contains(a.header.Get("Breakwater-Acknowledged"), "mad1") {
		t.Fatalf("%d, acknowledged by %q", a.status, a.header.Get("Breakwater-Acknowledged"))
	}
	killed := t.TempDir() // what kill -9 leaves
	for name, from := range map[string]string{"state": dir, "par1": par1.dir, "mad1": mad1.dir} {
		if err := os.CopyFS(filepath.Join(killed, name), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	r.everywhere(t, lab.Fault{Name: "down"})
	for name, s := range map[string]*site{"par1": par1, "mad1": mad1} {
		h := headers[name]
		s.edge = startEdge(t, s.harbor.URL(), filepath.Join(killed, name), &s.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
			memory := openState(t, filepath.Join(killed, "state", name))
			t.Cleanup(func() { memory.Close() })
			p.Datacenter, p.Keys, a.Members, p.State = name, peerKeys, memory, memory
		})
		same(t, "what was not deleted", s.do(t, http.MethodGet, app+"stays", h), []byte(note("two")))
		for _, reference := range []string{"v1", noteDigest("one")} {
			if a := s.do(t, http.MethodGet, app+reference, h); a.status != http.StatusNotFound && a.status != http.StatusServiceUnavailable {
				t.Errorf("%s at %s: %d, %q", reference, name, a.status, a.header.Get("Cache-Status"))
			}
		}
		if tags, a := s.tags(t, "multi-dc-demo/app", "", h); slices.Contains(tags, "v1") {
			t.Errorf("%s lists %v (%s)", name, tags, a.header.Get("Cache-Status"))
		}
	}
}
