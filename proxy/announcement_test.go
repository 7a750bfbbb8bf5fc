package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/version"
)

// announces sends a batch to the edge of par1 as mad1's edge would.
func (r *region) announces(t *testing.T, epoch string, records ...version.Announced) answer {
	t.Helper()
	text, err := json.Marshal(announce.Batch{Run: version.Run{Epoch: epoch}, Until: 1, Records: records})
	if err != nil {
		t.Fatal(err)
	}
	return r.sites[0].post(t, peer.AnnouncePath, asPeer(t)["Authorization"], string(text))
}

func said(repo, reference, text string, v version.Version) version.Announced {
	a := version.Announced{Repo: repo, Reference: reference, Record: version.Record{Digest: digest.FromString(note(text)), MediaType: indexType, Version: v}}
	if text == "" {
		a.Digest = ""
	}
	return a
}

func (c counters) heard(t *testing.T, result string) int {
	t.Helper()
	return c.value(t, "par1", "breakwater_edge_announcements_heard_total", result)
}

// now is a version that mad1's edge could make.
func now(ahead time.Duration) version.Version {
	return version.Version{Time: time.Now().Add(ahead).UnixMilli() << 16, Datacenter: "mad1"}
}

// What peers say of projects that they have nothing to do with is refused, and counted.
func TestAnnouncementsOfOtherProjectsAreRefused(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1 := r.sites[0]
	par1.harbor.CreateProject("plain", true)
	img := image(t, 1000, 1)
	mustPush(t, par1.harbor.URL(), "plain/app:v1", img, par1.admin())
	for i, project := range []string{"plain", "cache-dockerhub", "repl-core", "nothing"} {
		if a := r.announces(t, project, said(project+"/app", "v1", "", now(0)), said(project+"/app", "v1", "x", now(0))); a.status != http.StatusOK || c.heard(t, "refused") != 2*(i+1) {
			t.Errorf("%s: %d, %d are counted", project, a.status, c.heard(t, "refused"))
		}
	}
	if a := par1.do(t, http.MethodGet, manifests("plain/app"), map[string]string{"Authorization": par1.asAdmin()}); a.status != http.StatusOK {
		t.Errorf("a plain project's tag: %d", a.status)
	}
	good, err := json.Marshal(announce.Batch{Run: version.Run{Epoch: "e"}, Until: 1, Records: []version.Announced{said("multi-dc-demo/app", "v1", "one", now(0))}})
	if err != nil {
		t.Fatal(err)
	}
	for name, authorization := range map[string]string{"nobody": "", "a client": par1.as(t, reader, "multi-dc-demo/app")["Authorization"], "an administrator": par1.asAdmin()} {
		if a := par1.post(t, peer.AnnouncePath, authorization, string(good)); a.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	if n := c.heard(t, "taken"); n != 0 {
		t.Errorf("%d were taken", n)
	}
}

// An announcement that is replayed changes nothing.
func TestAReplayedAnnouncement(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1, mad1 := r.sites[0], r.sites[1]
	first := mad1.pushNote(t, "v1", "one")
	if got := first.header.Get("Breakwater-Acknowledged"); got != "drp1, par1" {
		t.Fatalf("acknowledged by %q", got)
	}
	replay := said("multi-dc-demo/app", "v1", "one", versionOf(t, first))
	mad1.pushNote(t, "v1", "two")
	for i := range 3 {
		if a := r.announces(t, fmt.Sprint(i), replay); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
		par1.shows(t, "a replay of a push", "v1", "two")
	}
	if n := c.heard(t, "old"); n < 3 {
		t.Errorf("%d replays are counted as old", n)
	}
	mad1.deleteNote(t, "two")
	r.announces(t, "again", replay)
	for _, s := range r.sites {
		s.shows(t, "a replay after a delete", "v1", "")
	}
}

// An announcement of what its edge does not serve has no effect that lasts, and is counted.
func TestAnAnnouncementOfWhatIsNotServed(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1 := r.sites[0]
	par1.pushNote(t, "v1", "one")
	r.agree(t, map[string]string{"v1": "one"})
	for i, a := range []version.Announced{said("multi-dc-demo/app", "v1", "forged", now(time.Hour)), said("multi-dc-demo/app", "v1", "", now(2*time.Hour)),
		said("multi-dc-demo/app", noteDigest("one"), "", now(3*time.Hour)), said("multi-dc-demo/app", "v1", "forged", now(4*time.Hour))} {
		if i == 3 {
			a.Manifest = []byte("another")
		}
		r.announces(t, fmt.Sprint(i), a)
		trial.Until(t, func() error {
			if n := c.heard(t, "unserved"); n != i+1 {
				return fmt.Errorf("%d of %d are counted", n, i+1)
			}
			return nil
		})
		for _, s := range r.sites {
			s.shows(t, fmt.Sprint("after ", i), "v1", "one")
		}
	}
	for i, s := range r.sites {
		if s.harborHas(t, "v1") != noteDigest("one") {
			t.Errorf("Harbor %d has %s", i, s.harborHas(t, "v1"))
		}
	}
}

// rebuilt makes a Harbor that was wiped ready for its robots and clients.
func (s *site) rebuilt(t *testing.T) {
	t.Helper()
	if err := s.harbor.Wipe(); err != nil {
		t.Fatal(err)
	}
	s.harbor.CreateProject("multi-dc-demo", false)
	s.harbor.CreateRobot("*", "edge", secret, "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
	s.harbor.CreateRobot("multi-dc-demo", "reader", secret, "pull")
	s.harbor.CreateRobot("multi-dc-demo", "writer", secret, "pull", "push")
}

// A Harbor that was rebuilt, or restored from an old backup, is filled again while clients
// pull what was acknowledged, and nothing is deleted anywhere.
func TestARebuiltHarborIsFilledAgain(t *testing.T) {
	for _, how := range []string{"rebuilt", "restored"} {
		t.Run(how, func(t *testing.T) {
			r := newRegion(t, hooked(counters{}))
			par1 := r.sites[0]
			newest := map[string]string{}
			push := func(from, to int, text string) {
				for i := from; i < to; i++ {
					tag := fmt.Sprint("v", i)
					newest[tag] = text + tag
					if a := r.sites[i%3].pushNote(t, tag, newest[tag]); a.status != http.StatusCreated {
						t.Fatal(a.status)
					}
				}
			}
			push(0, 6, "old")
			r.agree(t, newest)
			backup, err := par1.harbor.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			push(3, 9, "new")
			r.agree(t, newest)
			tokens := []map[string]string{}
			for _, s := range r.sites {
				s.harbor.ResetRequests()
				tokens = append(tokens, s.as(t, reader, "multi-dc-demo/app"))
			}
			pulls := func(when string) {
				for tag, text := range newest {
					for i, s := range r.sites {
						if a := s.do(t, http.MethodGet, app+tag, tokens[i]); a.status != http.StatusOK || string(a.body) != note(text) {
							t.Errorf("%s: %s at edge %d: %d %s", when, tag, i, a.status, a.body)
						}
					}
				}
			}
			if how == "rebuilt" {
				par1.rebuilt(t)
			} else if err := par1.harbor.Restore(backup); err != nil {
				t.Fatal(err)
			}
			trial.Until(t, func() error {
				pulls("while it is filled")
				for tag, text := range newest {
					if has := par1.harborHas(t, tag); has != noteDigest(text) {
						return fmt.Errorf("its Harbor has %q as %s", has, tag)
					}
				}
				return nil
			})
			pulls("in the end")
			r.agree(t, newest)
			for i, s := range r.sites {
				for request, n := range s.harbor.Requests() {
					if strings.HasPrefix(request, "DELETE") {
						t.Errorf("Harbor %d: %s, %d times", i, request, n)
					}
				}
			}
		})
	}
}
