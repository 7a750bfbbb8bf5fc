package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

const artifacts = "/api/v2.0/projects/multi-dc-demo/repositories/app/artifacts/"

// portal sends what Harbor's portal would send, through the edge.
func (s *site) portal(t *testing.T, method, path, body string, want int) answer {
	t.Helper()
	a := s.request(t, method, s.edge.URL+path, s.asAdmin(), "application/json", body)
	if a.status != want {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// filled is a region with three tags, two of them of one digest, that all have.
func filled(t *testing.T) *region {
	t.Helper()
	r := newRegion(t, hooked(counters{}))
	newest := map[string]string{"v1": "one", "also": "one", "v2": "two"}
	for tag, text := range newest {
		if a := r.sites[0].pushNote(t, tag, text); a.status != http.StatusCreated {
			t.Fatal(a.status)
		}
	}
	r.agree(t, newest)
	return r
}

// What the portal deletes through an edge is deleted everywhere.
func TestThePortalDeletes(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		gone []string
		kept map[string]string
	}{
		"an artifact by its digest": {artifacts + noteDigest("one"), []string{"v1", "also", noteDigest("one")}, map[string]string{"v2": "two"}},
		"an artifact by a tag":      {artifacts + "v1", []string{"v1", "also", noteDigest("one")}, map[string]string{"v2": "two"}},
		"a tag":                     {artifacts + noteDigest("one") + "/tags/v1", []string{"v1"}, map[string]string{"also": "one", "v2": "two"}},
		"a tag by a tag":            {artifacts + "also/tags/v1", []string{"v1"}, map[string]string{"also": "one", "v2": "two"}},
		"a repository":              {strings.TrimSuffix(artifacts, "/artifacts/"), []string{"v1", "also", "v2", noteDigest("one"), noteDigest("two")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t)
			a := r.sites[0].portal(t, http.MethodDelete, c.path, "", http.StatusOK)
			if got := a.header.Get("Breakwater-Acknowledged"); got != "drp1, mad1" {
				t.Errorf("acknowledged by %q", got)
			}
			for _, s := range r.sites {
				s.gone(t, c.gone...)
				s.harborLoses(t, c.gone...)
				for tag, text := range c.kept {
					s.shows(t, "kept", tag, text)
				}
			}
			r.agree(t, c.kept)
			if a := r.sites[1].pushNote(t, "v1", "one"); a.status != http.StatusCreated {
				t.Fatal(a.status)
			}
			r.agree(t, map[string]string{"v1": "one"})
		})
	}
}

// What Harbor refuses changes nothing.
func TestThePortalIsRefused(t *testing.T) {
	r := filled(t)
	par1 := r.sites[0]
	for name, authorization := range map[string]string{"nobody": "", "a reader": basicHeader(reader, secret), "a wrong password": basicHeader("admin", "x")} {
		for _, path := range []string{artifacts + "v1", artifacts + "v1/tags/v1", strings.TrimSuffix(artifacts, "/artifacts/")} {
			if a := par1.request(t, http.MethodDelete, par1.edge.URL+path, authorization, "", ""); a.status/100 != 4 {
				t.Errorf("%s: %s: %d", name, path, a.status)
			}
		}
	}
	par1.portal(t, http.MethodDelete, artifacts+"never", "", http.StatusNotFound)
	par1.portal(t, http.MethodPost, artifacts+noteDigest("one")+"/tags", `{"name":"v2"}`, http.StatusConflict)
	for _, s := range r.sites {
		for tag, text := range map[string]string{"v1": "one", "also": "one", "v2": "two"} {
			s.shows(t, "refused", tag, text)
		}
	}
	if err := par1.harbor.SetFaults(lab.Fault{Name: "500", Path: "DELETE"}); err != nil {
		t.Fatal(err)
	}
	par1.portal(t, http.MethodDelete, artifacts+"v1", "", http.StatusInternalServerError)
	par1.shows(t, "Harbor failed", "v1", "one")
}

// A tag that the portal adds counts everywhere, over what was there and what was deleted.
func TestThePortalAddsATag(t *testing.T) {
	r := filled(t)
	par1 := r.sites[0]
	par1.portal(t, http.MethodPost, artifacts+noteDigest("one")+"/tags", `{"name":"new"}`, http.StatusCreated)
	for _, s := range r.sites {
		s.shows(t, "added", "new", "one")
	}
	r.agree(t, map[string]string{"new": "one", "v2": "two"})
	par1.portal(t, http.MethodDelete, artifacts+"v1/tags/v1", "", http.StatusOK)
	par1.portal(t, http.MethodPost, artifacts+"v2/tags", `{"id":0,"name":"v1","immutable":false}`, http.StatusCreated)
	r.agree(t, map[string]string{"v1": "two", "also": "one", "new": "one"})
}

// Names with slashes come escaped twice.
func TestThePortalOfARepoWithSlashes(t *testing.T) {
	r := newRegion(t, hooked(counters{}))
	par1, mad1 := r.sites[0], r.sites[1]
	img := image(t, 1000, 1)
	mustPush(t, par1.edge.URL, "multi-dc-demo/team/app:v1", img, basic(writer, secret))
	path := "/v2/multi-dc-demo/team/app/manifests/v1"
	if a := mad1.do(t, http.MethodGet, path, mad1.as(t, reader, "multi-dc-demo/team/app")); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	par1.portal(t, http.MethodDelete, "/api/v2.0/projects/multi-dc-demo/repositories/team%252Fapp/artifacts/v1", "", http.StatusOK)
	for i, s := range r.sites {
		if a := s.do(t, http.MethodGet, path, s.as(t, reader, "multi-dc-demo/team/app")); a.status != http.StatusNotFound || !strings.Contains(a.header.Get("Cache-Status"), "tombstone") {
			t.Errorf("edge %d: %d (%s)", i, a.status, a.header.Get("Cache-Status"))
		}
	}
}

// A plain project of the same name is another one in each datacenter.
func TestThePortalOfAPlainProject(t *testing.T) {
	r := newRegion(t, hooked(counters{}))
	img := image(t, 1000, 1)
	for _, s := range r.sites {
		s.harbor.CreateProject("plain", true)
		mustPush(t, s.harbor.URL(), "plain/app:v1", img, s.admin())
	}
	a := r.sites[0].portal(t, http.MethodDelete, "/api/v2.0/projects/plain/repositories/app/artifacts/v1", "", http.StatusOK)
	if got := a.header.Get("Breakwater-Acknowledged"); got != "" {
		t.Errorf("it is told to %s", got)
	}
	for i, want := range []int{http.StatusNotFound, http.StatusOK, http.StatusOK} {
		s := r.sites[i]
		if a := s.do(t, http.MethodGet, manifests("plain/app"), map[string]string{"Authorization": s.asAdmin()}); a.status != want {
			t.Errorf("at edge %d: %d", i, a.status)
		}
	}
}

// What the edge reads of a request reaches Harbor as it came.
func TestThePortalsBodyReachesHarborUnchanged(t *testing.T) {
	got := make(chan []byte, 1)
	harbor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			got <- body
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer harbor.Close()
	s := newSite(t)
	s.edge = startEdge(t, harbor.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	large := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{1}).Read(large)
	for name, body := range map[string]string{"a tag": `{"name":"v9"}`, "with spaces": " {\n\"name\" : \"v9\", \"x\": 1e2}\n\n", "nothing": "", "garbage": "\x00\xff{", "large": string(large), "two values": `{"name":"v9"}{"name":"v8"}`} {
		for _, project := range []string{"multi-dc-demo", "plain"} {
			a := s.request(t, http.MethodPost, s.edge.URL+strings.Replace(artifacts, "multi-dc-demo", project, 1)+"v1/tags", basicHeader("admin", "x"), "application/json", body)
			if a.err != nil || a.status != http.StatusBadRequest {
				t.Fatalf("%s: %d %v", name, a.status, a.err)
			}
			if b := <-got; !bytes.Equal(b, []byte(body)) {
				t.Errorf("%s of %s: %d bytes came as %d: %.100q", name, project, len(body), len(b), b)
			}
		}
	}
}

// What was never pushed through an edge is deleted by the portal all the same.
func TestThePortalDeletesWhatHasNoVersion(t *testing.T) {
	for name, path := range map[string]string{"an artifact": artifacts + "v1", "a tag": artifacts + "v1/tags/v1", "a repository": strings.TrimSuffix(artifacts, "/artifacts/")} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, hooked(counters{}))
			img := image(t, 1000, 1)
			for _, s := range r.sites {
				mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
			}
			r.sites[0].portal(t, http.MethodDelete, path, "", http.StatusOK)
			for i, s := range r.sites {
				waitFor(t, fmt.Sprint("404 at edge ", i), func() bool { return s.pullNote(t, "v1").status == http.StatusNotFound })
			}
		})
	}
}
