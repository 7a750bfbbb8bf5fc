package source_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
)

// many are seven peers behind the fleet's Harbor, nearest first.
func many(t *testing.T, f *fleet, repo, tag string) source.Question {
	var peers []*source.Source
	for i := range 7 {
		p, _ := newSource(t, t.Context(), fmt.Sprintf("peer-%d", i+1), source.Peer)
		peers = append(peers, p)
	}
	f.routes = source.NewRoutes(f.harbor, peers, nil, f.routes.Namespaces)
	return question(f, repo, tag, false)
}

// Peers are asked three at a time, nearest first, until one has it; what one only remembers is
// taken when all the others have been asked.
func TestPeersAreAskedAFewAtATime(t *testing.T) {
	const all = "harbor peer-1 peer-2 peer-3 peer-4 peer-5 peer-6 peer-7"
	for name, c := range map[string]struct {
		replies      map[string]reply
		found, asked string
		within       time.Duration
	}{
		"the nearest has it":        {replies: map[string]reply{"peer-2": {found: "2"}}, found: "2", asked: "harbor peer-1 peer-2 peer-3", within: moment},
		"one further away has it":   {replies: map[string]reply{"peer-5": {found: "5"}}, found: "5", asked: "harbor peer-1 peer-2 peer-3 peer-4 peer-5 peer-6", within: 2 * moment},
		"nobody has it":             {asked: all, within: 3 * moment},
		"one only remembers it":     {replies: map[string]reply{"peer-1": {found: "1", stale: true}}, found: "1", asked: all, within: 3 * moment},
		"another knows":             {replies: map[string]reply{"peer-1": {found: "1", stale: true}, "peer-7": {found: "7"}}, found: "7", asked: all, within: 3 * moment},
		"a slow one is not alone":   {replies: map[string]reply{"peer-3": {found: "3", after: time.Minute}, "peer-4": {found: "4"}}, found: "4", asked: "harbor peer-1 peer-2 peer-3 peer-4 peer-5 peer-6", within: 200*time.Millisecond + moment},
		"Harbor is slow, as others": {replies: map[string]reply{"harbor": {found: "own", after: time.Minute}, "peer-1": {found: "1", stale: true}}, found: "1", asked: all, within: deadline + 3*moment},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fleet) {
				s := &script{replies: map[string]reply{}}
				for _, name := range strings.Fields(all) {
					s.replies[name] = reply{err: no}
					if name != "harbor" {
						s.replies[name] = reply{err: no, after: moment}
					}
				}
				for name, r := range c.replies {
					if r.after == 0 {
						r.after = moment
					}
					s.replies[name] = r
				}
				begun := time.Now()
				found, err := source.Ask(t.Context(), many(t, f, replicated, "v1"), s.ask)
				if took := time.Since(begun); found != c.found || (err == nil) != (c.found != "") || took != c.within {
					t.Errorf("%q, %v, after %v; want %q after %v", found, err, took, c.found, c.within)
				}
				if got := sorted(s.asked); got != c.asked {
					t.Errorf("asked %s, want %s", got, c.asked)
				}
			})
		})
	}
}

// In a cache each peer's Harbor would ask the upstream: the next are asked when those before
// have had their time.
func TestPeersOfACacheAreNotHurried(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		s := &script{replies: map[string]reply{"harbor": {err: status(500)}, "peer-1": {found: "1", after: time.Second}, "peer-2": {err: status(500)}, "peer-3": {err: status(500)}}}
		q := many(t, f, cached, "v1")
		if q.Namespace.Kind != namespace.Cache {
			t.Fatal(q.Namespace)
		}
		if found, err := source.Ask(t.Context(), q, s.ask); found != "1" || err != nil || sorted(s.asked) != "harbor peer-1 peer-2 peer-3" {
			t.Errorf("%q, %v; asked %v", found, err, s.asked)
		}
	})
}

// sorted is who was asked, by name.
func sorted(asked []string) string {
	asked = slices.Clone(asked)
	slices.Sort(asked)
	return strings.Join(asked, " ")
}
