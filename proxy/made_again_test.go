package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

const eve = "robot$multi-dc-demo+eve"

// madeAgain deletes multi-dc-demo at Harbor, past the edge, and makes it again, for eve alone.
func (s *site) madeAgain(t *testing.T) {
	t.Helper()
	s.dropProject(t)
	s.harbor.CreateProject("multi-dc-demo", false)
	s.harbor.CreateRobot("multi-dc-demo", "eve", secret, "pull")
}

// dropProject deletes multi-dc-demo and all that is in it at Harbor, past the edge, which may
// just be giving it a tag back.
func (s *site) dropProject(t *testing.T) {
	t.Helper()
	s.dropProjectAt(t, s.harbor.URL())
}

// dropProjectAt deletes the project itself at an address that may be the edge's.
func (s *site) dropProjectAt(t *testing.T, url string) {
	t.Helper()
	trial.Until(t, func() error {
		for _, path := range []string{s.harbor.URL() + "/api/v2.0/projects/multi-dc-demo/repositories/app", url + "/api/v2.0/projects/multi-dc-demo"} {
			a := s.request(t, http.MethodDelete, path, s.asAdmin(), "", "")
			if a.status != http.StatusOK && a.status != http.StatusNotFound { // what refers to something goes with it
				return fmt.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		return nil
	})
}

// filled pushes an image with something that refers to it through the edge, pulls all of it
// as who may, and returns the paths of what the edge remembers then.
func (s *site) filled(t *testing.T) (paths []string) {
	t.Helper()
	img := image(t, 10<<10, 9)
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", img, basic(writer, secret))
	of := digestOf(t, img)
	sig := strings.Replace(note("sig"), `"manifests":[]`, fmt.Sprintf(`"manifests":[],"artifactType":"example/sig","subject":{"mediaType":%q,"digest":%q,"size":%d}`, indexType, of, 10), 1)
	if a := s.pushManifest(t, "sig", indexType, sig); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	layer, _ := layerOf(t, img)
	for _, rest := range []string{"manifests/v1", "manifests/" + of, "blobs/" + layer, "tags/list", "referrers/" + of} {
		paths = append(paths, "/v2/multi-dc-demo/app/"+rest)
	}
	h := s.as(t, reader, "multi-dc-demo/app")
	for _, path := range paths {
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusOK {
			t.Fatalf("before: %s is %d", path, a.status)
		}
	}
	return paths
}

// nothingOf fails where a path gives anything of what was pushed.
func (s *site) nothingOf(t *testing.T, when string, paths []string, h map[string]string) {
	t.Helper()
	for _, path := range paths {
		a := s.do(t, http.MethodGet, path, h)
		if a.status == http.StatusOK && !strings.Contains(string(a.body), `"manifests":[]`) { // nothing refers to anything
			t.Errorf("%s: %s is 200, %s: %.100q", when, path, a.header.Get("Cache-Status"), a.body)
		}
	}
}

// persistent is an edge's option, and what closes its state.
func persistent(t *testing.T, path string, also func(*access.Config, *proxy.Config)) (start option, end func()) {
	var db *state.DB
	return func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
			db = openState(t, path)
			a.Members, a.Grants, a.Keys, p.State, p.Deadline = db, db, peerKeys, db, 100*time.Millisecond
			if also != nil {
				also(a, p)
			}
		}, func() {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
}

// A project is deleted and made again by others, past the edge. What the edge remembers of
// the old one is not the new one's: at once, also where Harbor is not well right after, and
// not by an edge that is started again then.
func TestAProjectThatWasMadeAgainServesNothingOfTheOldOne(t *testing.T) {
	t.Parallel()
	probe := lab.Fault{Name: "502", Path: "^GET /v2/$"} // else a Harbor that hangs is waited for
	for _, fault := range []lab.Fault{{}, {Name: "hang", Path: "/v2/multi-dc-demo/"}, {Name: "500", Path: "/v2/multi-dc-demo/"}, {Name: "down"}} {
		t.Run("Harbor "+fault.Name, func(t *testing.T) {
			s, dir := newSite(t), t.TempDir()
			start, end := persistent(t, filepath.Join(t.TempDir(), "state.db"), func(_ *access.Config, p *proxy.Config) {
				p.Pace = time.Minute // Harbor is given nothing back just between the two projects
			})
			var paths []string
			check := func(when string, h map[string]string) {
				if fault.Name == "" { // Harbor itself gives the layer until its garbage is collected
					paths = append(paths[:2:2], paths[3:]...)
				}
				s.nothingOf(t, when, paths, h)
			}
			var eves map[string]string
			t.Run("one life", func(t *testing.T) {
				s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, start)
				paths = s.filled(t)
				s.madeAgain(t)
				eves = s.as(t, eve, "multi-dc-demo/app")
				s.do(t, http.MethodGet, "/v2/multi-dc-demo/other/manifests/x", s.as(t, eve, "multi-dc-demo/other"))
				if fault.Name != "" {
					if err := s.harbor.SetFaults(fault, probe); err != nil {
						t.Fatal(err)
					}
				}
				check("at once", eves)
			})
			end()
			if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
				t.Fatal(err)
			}
			s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, start)
			s.nothingOf(t, "after a restart", paths, eves)
			s.edge.Close()
			end()
		})
	}
}

// The first request of a user of the new project is enough, whatever it is for.
func TestANewUserShowsThatAProjectWasMadeAgain(t *testing.T) {
	t.Parallel()
	for i, kind := range []string{"tag", "digest", "blob", "list", "referrers"} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Deadline = 100 * time.Millisecond })
			paths := s.filled(t)
			s.madeAgain(t)
			h := s.as(t, eve, "multi-dc-demo/app")
			if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/multi-dc-demo/"}); err != nil {
				t.Fatal(err)
			}
			s.nothingOf(t, "the first", paths[i:i+1], h)
		})
	}
}

// What Harbor granted in the old project is not granted in the new one when no Harbor
// answers, nor is Harbor's yes of a moment ago a yes there.
func TestWhatWasGrantedIsOfOneProject(t *testing.T) {
	s := newSite(t)
	start, end := persistent(t, filepath.Join(t.TempDir(), "state.db"), func(a *access.Config, _ *proxy.Config) { a.OutageGrace = time.Hour })
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, start)
	defer end()
	defer s.edge.Close()
	path, inBasic := manifests("multi-dc-demo/app"), map[string]string{"Authorization": basicHeader(reader, secret)}
	s.filled(t)
	if a := s.do(t, http.MethodGet, path, inBasic); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	s.madeAgain(t)
	if status, _ := s.askToken(t, eve, secret, pullApp); status != http.StatusOK {
		t.Fatal(status)
	}
	if a := s.do(t, http.MethodGet, path, inBasic); a.status != http.StatusUnauthorized {
		t.Errorf("a password of the old project: %d", a.status)
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]int{reader: http.StatusServiceUnavailable, eve: http.StatusOK} {
		if status, _ := s.askToken(t, who, secret, pullApp); status != want {
			t.Errorf("%s gets %d in the outage, want %d", who, status, want)
		}
	}
}

// The edge does not give Harbor's new project the tags of the old one, and serves none that
// other edges know.
func TestAnOldProjectsTagsAreNotPutIntoTheNewOne(t *testing.T) {
	r := newRegion(t, paced(20*time.Millisecond))
	s := r.sites[0]
	if a := s.pushNote(t, "v1", "old"); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	r.agree(t, map[string]string{"v1": "old"})
	for _, all := range r.sites {
		all.madeAgain(t)
		all.harbor.CreateRobot("multi-dc-demo", "writer2", secret, "pull", "push")
		all.harbor.ResetRequests()
	}
	put := s.request(t, http.MethodPut, s.edge.URL+app+"v2", basicHeader("robot$multi-dc-demo+writer2", secret), indexType, note("new"))
	if put.status != http.StatusCreated {
		t.Fatal(put.status)
	}
	trial.Until(t, func() error {
		for i, all := range r.sites {
			if has := all.harborHas(t, "v2"); has != noteDigest("new") {
				return fmt.Errorf("v2 is %q at Harbor %d", has, i)
			}
			if a := all.do(t, http.MethodGet, app+"v1", all.as(t, eve, "multi-dc-demo/app")); a.status != http.StatusNotFound {
				return fmt.Errorf("v1 is %d, %s at edge %d", a.status, a.header.Get("Cache-Status"), i)
			}
		}
		return nil
	})
	for i, all := range r.sites {
		for request, n := range all.harbor.Requests() {
			if strings.HasPrefix(request, "PUT") && (strings.HasSuffix(request, "/v1") || strings.HasSuffix(request, noteDigest("old"))) {
				t.Errorf("Harbor %d got it again: %s, %d times", i, request, n)
			}
		}
	}
}

// What was remembered before edges knew of projects' ids is asked for again.
func TestWhatHasNoProjectIsAskedForAgain(t *testing.T) {
	s, dir, path := newSite(t), t.TempDir(), filepath.Join(t.TempDir(), "state.db")
	var paths []string
	t.Run("filled", func(t *testing.T) {
		s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey)
		paths = s.filled(t)
	})
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey)
	h := s.as(t, reader, "multi-dc-demo/app")
	s.edge.Close()
	db := openState(t, path) // as an older program wrote it
	db.PutTag("multi-dc-demo/app", "v1", digest.Digest(paths[1][strings.LastIndex(paths[1], "/")+1:]), "application/vnd.docker.distribution.manifest.v2+json", "harbor", time.Now())
	db.PutTagList("multi-dc-demo/app", []string{"v1"})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	start, end := persistent(t, path, nil)
	s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, start)
	s.nothingOf(t, "Harbor down", paths, h)
	s.harbor.ClearFaults()
	trial.Until(t, func() error {
		if a := s.do(t, http.MethodGet, paths[0], h); a.status != http.StatusOK {
			return fmt.Errorf("Harbor well: %d", a.status)
		}
		return nil
	})
	s.edge.Close()
	end()
}

// What is held is served in an outage for a day after Harbor last said which project it is.
func TestAProjectThatNobodySawForADayIsNotKnown(t *testing.T) {
	var passed atomic.Int64
	start, end := persistent(t, filepath.Join(t.TempDir(), "state.db"), func(a *access.Config, p *proxy.Config) {
		a.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
		p.Now = a.Now
	})
	s := newSite(t)
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, start)
	defer end()
	defer s.edge.Close()
	paths := s.filled(t)
	h := s.as(t, reader, "multi-dc-demo/app")
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	passed.Store(int64(23 * time.Hour))
	for _, path := range paths {
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusOK {
			t.Errorf("within a day: %s is %d", path, a.status)
		}
	}
	passed.Store(int64(25 * time.Hour))
	s.nothingOf(t, "after a day", paths, h)
}

// A project that was deleted past the edge is served to nobody, not even what was pushed a
// moment ago.
func TestAProjectThatIsGoneIsNotServed(t *testing.T) {
	s := newSite(t)
	paths := s.filled(t)
	h := s.as(t, reader, "multi-dc-demo/app")
	s.dropProject(t)
	for _, path := range paths {
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusNotFound {
			t.Errorf("%s: %d, %s", path, a.status, a.header.Get("Cache-Status"))
		}
	}
}

// A blob that is still on its way for the old project is not the new one's, neither while it
// comes nor when it is there.
func TestAFillOfTheOldProjectIsNotJoined(t *testing.T) {
	s := newSite(t)
	img := image(t, 600<<10, 9)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	blob, layer := layerOf(t, img)
	path, old := "/v2/multi-dc-demo/app/blobs/"+blob, s.as(t, reader, "multi-dc-demo/app")
	if err := s.harbor.SetFaults(lab.Fault{Name: "slow", Path: "/blobs/", Bytes: 512 << 10}); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.edge.URL+path, nil) //nolint:errcheck // the address is good
	req.Header.Set("Authorization", old["Authorization"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	s.madeAgain(t)
	if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/multi-dc-demo/"}); err != nil {
		t.Fatal(err)
	}
	eves := s.as(t, eve, "multi-dc-demo/app")
	s.nothingOf(t, "while it comes", []string{path}, eves)
	if all, err := io.ReadAll(resp.Body); err != nil || len(all) != len(layer) {
		t.Errorf("the old one's reader has %d bytes, %v", len(all), err)
	}
	s.nothingOf(t, "when it is there", []string{path}, eves)
}
