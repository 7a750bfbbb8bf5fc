package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// lossy is a way to a peer on which announcements are lost, late, doubled and out of order.
type lossy struct {
	inner http.RoundTripper
	most  time.Duration // that one is late

	mu     sync.Mutex
	chance *rand.Rand
	met    map[string]int // by what happened
}

// fate says what happens to the next announcement, and how late it is.
func (l *lossy) fate() (what string, late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what = []string{"lost", "unanswered", "late", "doubled", "repeated", "", "", "", "", ""}[l.chance.IntN(10)]
	l.met[what]++
	return what, time.Duration(l.chance.Int64N(int64(l.most)))
}

// RoundTrip implements http.RoundTripper.
func (l *lossy) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != peer.AnnouncePath {
		return l.inner.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	send := func(ctx context.Context) (*http.Response, error) {
		r := req.Clone(ctx)
		r.Body = io.NopCloser(bytes.NewReader(body))
		return l.inner.RoundTrip(r)
	}
	forget := func(ctx context.Context) {
		if resp, err := send(ctx); err == nil {
			resp.Body.Close()
		}
	}
	what, late := l.fate()
	switch what {
	case "lost":
		return nil, errors.New("lost on the way")
	case "unanswered":
		forget(req.Context())
		return nil, errors.New("its answer was lost")
	case "late":
		time.Sleep(late) // this is what it is for
	case "doubled":
		forget(req.Context())
	case "repeated": // behind others that were sent later
		later := context.WithoutCancel(req.Context())
		time.AfterFunc(late, func() { forget(later) })
	}
	return send(req.Context())
}

// race is a region whose clocks are minutes apart, and whose announcements are lossy.
type race struct {
	*region
	log  lockedBuffer
	ways []*lossy
}

func newRace(t *testing.T, pace time.Duration) *race {
	c := &race{}
	skew := map[string]time.Duration{"par1": 5 * time.Minute, "mad1": -5 * time.Minute}
	c.region = newRegion(t, paced(pace), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(skew[p.Datacenter]) }
		p.Log = slog.New(slog.NewJSONHandler(&c.log, nil))
		for i, other := range p.Peers {
			way := &lossy{most: 4 * pace, chance: rand.New(rand.NewPCG(uint64(len(c.ways)), 1)), met: map[string]int{}}
			var err error
			if p.Peers[i].Edge, err = registry.NewSource(registry.SourceConfig{URL: other.Edge.URL().String(), Prefix: peer.Path, Trusted: true,
				Wrap: func(inner http.RoundTripper) http.RoundTripper { way.inner = inner; return way }}); err != nil {
				t.Fatal(err)
			}
			c.ways = append(c.ways, way)
		}
	})
	return c
}

// pushedLine is what an edge logs of a push.
type pushedLine struct {
	Msg, Reference, Version string
	Digest                  digest.Digest
}

// pushed reads from the log which pushes edges have acknowledged, by tag.
func (c *race) pushed(t *testing.T) map[string][]pushedLine {
	all := map[string][]pushedLine{}
	for line := range strings.Lines(c.log.String()) {
		var l pushedLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Msg == "pushed" {
			all[l.Reference] = append(all[l.Reference], l)
		}
	}
	return all
}

// ended waits until all edges and Harbors have one of the two pushes of a tag, and returns
// its text and the other's.
func (c *race) ended(t *testing.T, tag string) (text, other string) {
	t.Helper()
	texts := []string{"par1" + tag, "mad1" + tag}
	trial.Until(t, func() error {
		body := string(c.sites[0].pullNote(t, tag).body)
		if body == note(texts[1]) {
			texts[0], texts[1] = texts[1], texts[0]
		}
		return c.have(t, tag, texts[0])
	})
	return texts[0], texts[1]
}

// logged: both pushes are in the logs, with versions of their own.
func logged(t *testing.T, tag string, lines []pushedLine) {
	t.Helper()
	versions := map[digest.Digest]string{}
	for _, l := range lines {
		versions[l.Digest] = l.Version
	}
	one, two := versions[digest.FromString(note("par1"+tag))], versions[digest.FromString(note("mad1"+tag))]
	if len(lines) != 2 || !strings.HasSuffix(one, "@par1") || !strings.HasSuffix(two, "@mad1") {
		t.Errorf("%s: the log has %+v", tag, lines)
	}
}

// replicated puts a note under a tag in a Harbor, as a replication that is late does.
func (s *site) replicated(t *testing.T, tag, text string) {
	t.Helper()
	status, _ := s.send(t, http.MethodPut, s.harbor.URL()+app+tag, map[string]string{"Authorization": basicHeader("robot$multi-dc-demo+sync", secret),
		"Content-Type": "application/vnd.oci.image.index.v1+json"}, strings.NewReader(note(text)))
	if status != http.StatusCreated {
		t.Fatalf("put %s: %d", text, status)
	}
}

// Two pushes of one tag in two datacenters at once end on one of them everywhere, whatever
// becomes of the announcements and however wrong clocks are; replication that brings the
// other one later changes nothing.
func TestTwoPushesAtOnceEndOnOne(t *testing.T) {
	const pace, atOnce = 50 * time.Millisecond, 8
	times := 24
	if trial.Full() {
		times = 60
	}
	c := newRace(t, pace)
	var tags []string
	for n := range times {
		tags = append(tags, fmt.Sprintf("v%d", n))
	}
	eachOf(tags, atOnce, func(tag string) {
		var both sync.WaitGroup
		for i, dc := range []string{"par1", "mad1"} {
			both.Go(func() {
				if a := c.sites[i].pushNote(t, tag, dc+tag); a.status != http.StatusCreated {
					t.Errorf("push %s at %s: %d %s %v", tag, dc, a.status, a.body, a.err)
				}
			})
		}
		both.Wait()
	})
	if t.Failed() {
		return
	}
	lines, begun := c.pushed(t), time.Now()
	texts, others := map[string]string{}, map[string]string{}
	for _, tag := range tags {
		logged(t, tag, lines[tag])
		texts[tag], others[tag] = c.ended(t, tag)
	}
	t.Logf("all edges and Harbors agree on %d tags %v after the last push", len(tags), time.Since(begun).Round(time.Millisecond))
	for _, s := range c.sites {
		s.harbor.CreateRobot("multi-dc-demo", "sync", secret, "pull", "push")
	}
	eachOf(tags, atOnce, func(tag string) {
		for _, late := range c.sites {
			late.replicated(t, tag, others[tag])
			for i, s := range c.sites {
				if a := s.pullNote(t, tag); a.status != http.StatusOK || string(a.body) != note(texts[tag]) {
					t.Errorf("%s at edge %d is %d %s after a late replication, want %s", tag, i, a.status, a.body, texts[tag])
				}
			}
		}
	})
	for _, tag := range tags {
		trial.Until(t, func() error { return c.have(t, tag, texts[tag]) })
	}
	c.everythingMet(t)
}

// everythingMet: what the test is about did happen to announcements.
func (c *race) everythingMet(t *testing.T) {
	t.Helper()
	met := map[string]int{}
	for _, way := range c.ways {
		way.mu.Lock()
		for what, n := range way.met {
			met[what] += n
		}
		way.mu.Unlock()
	}
	for _, what := range []string{"lost", "unanswered", "late", "doubled", "repeated"} {
		if met[what] == 0 {
			t.Errorf("no announcement was %s: %v", what, met)
		}
	}
}

// eachOf does something for every tag, so many at once.
func eachOf(tags []string, atOnce int, do func(tag string)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, tag := range tags {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			do(tag)
		})
	}
	all.Wait()
}
