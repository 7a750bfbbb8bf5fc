package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// note is an index of nothing: a manifest that needs no blobs, another one for each text.
func note(text string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"v":%q}}`, text)
}

const app = "/v2/multi-dc-demo/app/manifests/"

// pushNote pushes a note under a tag, and returns the answer.
func (s *site) pushNote(t *testing.T, tag, text string) answer {
	t.Helper()
	return s.pushManifest(t, tag, "application/vnd.oci.image.index.v1+json", note(text))
}

func (s *site) pushManifest(t *testing.T, tag, mediaType, manifest string) answer {
	t.Helper()
	return s.request(t, http.MethodPut, s.edge.URL+app+tag, s.asWriter(t, "multi-dc-demo/app")["Authorization"], mediaType, manifest)
}

// pullNote pulls a tag.
func (s *site) pullNote(t *testing.T, tag string) answer {
	t.Helper()
	return s.do(t, http.MethodGet, app+tag, s.as(t, reader, "multi-dc-demo/app"))
}

// harborHas is what the site's Harbor has under a tag: a digest, "" for nothing.
func (s *site) harborHas(t *testing.T, tag string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.harbor.URL()+app+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(s.harbor.Admin())
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}

// replicatesTo makes a Harbor's replication policy: by events, with override, as fleets
// have it that no edges own the tags of.
func (s *site) replicatesTo(t *testing.T, to *site, override bool) {
	t.Helper()
	username, password := to.harbor.Admin()
	_, location := s.harborCall(t, "/api/v2.0/registries", fmt.Sprintf(`{"name":%q,"type":"harbor","url":%q,"credential":{"type":"basic","access_key":%q,"access_secret":%q}}`,
		"to "+to.harbor.URL(), to.harbor.URL(), username, password))
	id := location[strings.LastIndexByte(location, '/')+1:]
	status, _ := s.harborCall(t, "/api/v2.0/replication/policies", fmt.Sprintf(`{"name":%q,"dest_registry":{"id":%s},"trigger":{"type":"event_based"},"dest_namespace":"multi-dc-demo","dest_namespace_replace_count":1,
		"filters":[{"type":"name","value":"multi-dc-demo/**"},{"type":"tag","value":"**"}],"enabled":true,"override":%t}`, "to "+to.harbor.URL(), id, override))
	if status != http.StatusCreated {
		t.Fatal(status)
	}
}

func (s *site) harborCall(t *testing.T, path, body string) (status int, location string) {
	t.Helper()
	username, password := s.harbor.Admin()
	return s.send(t, http.MethodPost, s.harbor.URL()+path, map[string]string{"Authorization": basicHeader(username, password), "Content-Type": "application/json"}, strings.NewReader(body))
}

// paced makes what edges do beside requests so much quicker.
func paced(pace time.Duration) option {
	return func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Pace = pace }
}

// agree waits until all edges and Harbors have the texts under the tags.
func (r *region) agree(t *testing.T, newest map[string]string) {
	t.Helper()
	trial.Until(t, func() error {
		for tag, text := range newest {
			if err := r.have(t, tag, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// have is nil where all edges and Harbors have the text under the tag.
func (r *region) have(t *testing.T, tag, text string) error {
	t.Helper()
	for i, s := range r.sites {
		if a := s.pullNote(t, tag); a.status != http.StatusOK || string(a.body) != note(text) {
			return fmt.Errorf("%s at edge %d: %d %s, want %s", tag, i, a.status, a.body, text)
		}
		if has := s.harborHas(t, tag); has != digest.FromString(note(text)).String() {
			return fmt.Errorf("%s at Harbor %d: %s, want %s (%s)", tag, i, has, text, digest.FromString(note(text)))
		}
	}
	return nil
}

// What was pushed here is what is served here, though Harbor dies and a peer has what was
// there before.
func TestAPushOutlivesItsHarbor(t *testing.T) {
	r := newRegion(t)
	par1, mad1 := r.sites[0], r.sites[1]
	par1.pushNote(t, "v1", "one")
	mad1.pushNote(t, "v1", "one")
	if a := par1.pushNote(t, "v1", "two"); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	par1.harbor.SetFaults(lab.Fault{Name: "down"}) //nolint:errcheck // a known fault
	for range 4 {
		if a := par1.pullNote(t, "v1"); string(a.body) != note("two") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

// A push that a peer's Harbor took is what the edge serves when its own is back, and what
// that Harbor gets.
func TestAPushThatFailedOverComesHome(t *testing.T) {
	r := newRegion(t, paced(50*time.Millisecond))
	par1 := r.sites[0]
	par1.pushNote(t, "v1", "one")
	par1.harbor.SetFaults(lab.Fault{Name: "down"}) //nolint:errcheck // a known fault
	if a := par1.pushNote(t, "v1", "two"); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	par1.harbor.ClearFaults()
	if a := par1.pullNote(t, "v1"); string(a.body) != note("two") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := par1.pushNote(t, "v1", "three"); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	if a := par1.pullNote(t, "v1"); string(a.body) != note("three") {
		t.Errorf("its own push: %d %s", a.status, a.body)
	}
	r.agree(t, map[string]string{"v1": "three"})
}

// Replication that arrives late and in any order undoes nothing: the tags move through one
// edge and through two, Harbors die and come back in between, and no edge ever shows an
// older version than one that it had acknowledged.
func TestReplicationUndoesNoPush(t *testing.T) {
	const pace = 50 * time.Millisecond // a second in production
	for name, override := range map[string]bool{"override": true, "no override": false} {
		t.Run(name, func(t *testing.T) {
			moves, tags := 12, 10
			if trial.Full() {
				moves, tags = 8, 30
			} else if testing.Short() {
				tags = 3
			}
			r := newRegionOf(t, func(i int) lab.HarborConfig {
				return lab.HarborConfig{Workers: 8, ReplicationDelay: time.Nanosecond, Replicating: lab.Busy(uint64(i), pace/4, 10*pace)}
			}, paced(pace))
			for _, from := range r.sites {
				for _, to := range r.sites {
					if from != to {
						from.replicatesTo(t, to, override)
					}
				}
			}
			stop := r.breakHarbors(t, 20*pace)
			newest := map[string]string{}
			var mu sync.Mutex
			var all sync.WaitGroup
			slots := make(chan struct{}, 20)
			for n := range tags {
				tag := fmt.Sprintf("v%d", n)
				all.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					text := r.moves(t, tag, moves, pace)
					mu.Lock()
					defer mu.Unlock()
					newest[tag] = text
				})
			}
			all.Wait()
			stop()
			r.agree(t, newest)
		})
	}
}

// moves moves a tag time and again through one edge or two, pulls after each push where
// it was acknowledged, and returns what was pushed last.
func (r *region) moves(t *testing.T, tag string, moves int, pace time.Duration) (newest string) {
	chance := rand.New(rand.NewPCG(uint64(len(tag)), uint64(tag[len(tag)-1])))
	edges := r.sites[:1+chance.IntN(2)]
	names := []string{"par1", "mad1", "drp1"}
	for n := range moves {
		s := edges[chance.IntN(len(edges))]
		text := fmt.Sprintf("%s-%d", tag, n)
		a := s.pushNote(t, tag, text)
		if a.status != http.StatusCreated {
			t.Errorf("push %s: %d %s %v", text, a.status, a.body, a.err)
			continue
		}
		newest = text
		for i, other := range r.sites {
			heard := other == s || strings.Contains(a.header.Get("Breakwater-Acknowledged"), names[i])
			if p := other.pullNote(t, tag); heard && string(p.body) != note(text) {
				t.Errorf("%s was acknowledged at %s, and a pull there is %d %s (%s)", text, names[i], p.status, p.body, p.header.Get("Cache-Status"))
			}
		}
		time.Sleep(time.Duration(chance.Int64N(int64(10 * pace)))) // a tag moves when it moves
	}
	return newest
}

// breakHarbors breaks one Harbor after another for a while, until it is stopped.
func (r *region) breakHarbors(t *testing.T, each time.Duration) (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			h := r.sites[i%len(r.sites)].harbor
			for _, broken := range []bool{true, false} {
				if broken {
					h.SetFaults(lab.Fault{Name: "down"}) //nolint:errcheck // a known fault
				} else {
					h.ClearFaults()
				}
				timer := time.NewTimer(each)
				select {
				case <-timer.C:
				case <-ended:
					timer.Stop()
					h.ClearFaults()
					return
				}
			}
		}
	}()
	return func() { close(ended); <-done }
}
