package source_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// reply is what a source says to a question of a test, and after how long.
type reply struct {
	found string
	stale bool
	err   error
	after time.Duration
}

// script is what the sources say, by name, and what they were asked, in order.
type script struct {
	replies map[string]reply
	mu      sync.Mutex
	asked   []string
}

func (s *script) ask(ctx context.Context, step source.Step) (string, bool, error) {
	s.mu.Lock()
	s.asked = append(s.asked, step.Name)
	r := s.replies[step.Name]
	s.mu.Unlock()
	select {
	case <-time.After(r.after):
		return r.found, r.stale, r.err
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
}

func status(code int) error { return &registry.Error{Status: code, Code: "X"} }

const deadline = 5 * time.Second

func question(f *fleet, repo, tag string, held bool) source.Question {
	project, _, _ := strings.Cut(repo, "/")
	return source.Question{Namespace: f.routes.Namespaces.Of(project), Route: f.route(repo, tag), Tag: tag != "", Held: held, Deadline: deadline}
}

const (
	cached     = "cache-dockerhub/library/app"
	replicated = "multi-dc-demo/app"
	never      = time.Hour
	moment     = time.Millisecond // in which the others of a stage are asked too
	givenUp    = time.Second      // after the deadline: the time of a probe
)

var no = status(404)

// asks are questions, what the sources say, and what becomes of it.
var asks = map[string]struct {
	repo, tag string
	held      bool
	replies   map[string]reply
	down      []string
	silent    []string // whose probes get no answer either
	found     string
	status    int // of the error
	asked     string
	within    time.Duration
}{
	"Harbor has it": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {found: "own"}}, found: "own", asked: "harbor"},
	"a peer has it": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {err: no}, "peer-mad1": {err: no}, "peer-drp1": {found: "drp1", after: moment}},
		found: "drp1", asked: "harbor peer-drp1 peer-mad1", within: moment},
	"nobody has it": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {err: no}, "peer-mad1": {err: no}, "peer-drp1": {err: no}},
		status: 404, asked: "harbor peer-drp1 peer-mad1"},
	"somebody cannot say": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {err: no}, "peer-mad1": {err: status(500)}, "peer-drp1": {err: no}},
		status: 503, asked: "harbor peer-drp1 peer-mad1"},
	"Harbor is slow, and a tag might be older elsewhere": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {found: "own", after: 4 * time.Second}, "peer-mad1": {found: "mad1"}},
		found: "own", asked: "harbor", within: 4 * time.Second},
	"Harbor is slow, and a digest is the same everywhere": {repo: replicated, replies: map[string]reply{"harbor": {found: "own", after: 4 * time.Second}, "peer-mad1": {found: "mad1", after: moment}, "peer-drp1": {err: no}},
		found: "mad1", asked: "harbor peer-drp1 peer-mad1", within: 200*time.Millisecond + moment},
	"Harbor is slow, and what is replicated may be another tag at its origin": {repo: "repl-core/app", tag: "v1", replies: map[string]reply{"harbor": {found: "own", after: 4 * time.Second}, "peer-mad1": {err: no}, "peer-drp1": {err: no}, "upstream-dockerhub": {found: "hub"}},
		found: "own", asked: "harbor peer-drp1 peer-mad1", within: 4 * time.Second},
	"Harbor hangs": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {after: never}, "peer-mad1": {found: "mad1", after: moment}, "peer-drp1": {err: no}},
		found: "mad1", asked: "harbor peer-drp1 peer-mad1", within: deadline + moment},
	"a slow Harbor is not given up": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {found: "own", after: 7 * time.Second}, "peer-mad1": {err: no}, "peer-drp1": {err: no}},
		found: "own", asked: "harbor peer-drp1 peer-mad1", within: 7 * time.Second},
	"a slow Harbor that is alive is waited for": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {found: "own", after: 200 * time.Second}, "peer-mad1": {err: no}, "peer-drp1": {err: no}},
		found: "own", asked: "harbor peer-drp1 peer-mad1", within: 200 * time.Second},
	"all are slow, and the first that answers wins": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {found: "own", after: 40 * time.Second}, "peer-mad1": {found: "mad1", after: 30 * time.Second}, "peer-drp1": {after: never}},
		found: "mad1", asked: "harbor peer-drp1 peer-mad1", within: deadline + 30*time.Second},
	"all hang": {repo: replicated, tag: "v1", silent: []string{"harbor", "peer-mad1", "peer-drp1"}, replies: map[string]reply{"harbor": {after: never}, "peer-mad1": {after: never}, "peer-drp1": {after: never}},
		status: 503, asked: "harbor peer-drp1 peer-mad1", within: 2*deadline + givenUp},
	"one that hangs is given up, and a slow one is waited for": {repo: replicated, tag: "v1", silent: []string{"peer-mad1"}, replies: map[string]reply{"harbor": {found: "own", after: time.Minute}, "peer-mad1": {after: never}, "peer-drp1": {err: no}},
		found: "own", asked: "harbor peer-drp1 peer-mad1", within: time.Minute},
	"none is waited for without end": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {after: never}, "peer-mad1": {err: no}, "peer-drp1": {err: no}},
		status: 503, asked: "harbor peer-drp1 peer-mad1", within: 15 * time.Minute},
	"an upstream that is slow is waited for, though Harbor cannot": {repo: cached, tag: "v1", replies: map[string]reply{"harbor": {err: status(500)}, "peer-mad1": {err: status(500)}, "peer-drp1": {err: status(500)}, "upstream-dockerhub": {found: "hub", after: time.Minute}},
		found: "hub", asked: "harbor peer-drp1 peer-mad1 upstream-dockerhub", within: time.Minute},
	"a cache's Harbor is slow, and the upstream refuses": {repo: cached, tag: "v1", replies: map[string]reply{"harbor": {found: "own", after: 200 * time.Second}, "peer-mad1": {err: status(500)}, "peer-drp1": {err: status(500)}, "upstream-dockerhub": {err: status(503)}},
		found: "own", asked: "harbor peer-drp1 peer-mad1 upstream-dockerhub", within: 200 * time.Second},
	"an upstream hangs, and Harbor with it": {repo: cached, tag: "v1", silent: []string{"upstream-dockerhub"}, replies: map[string]reply{"harbor": {after: never}, "peer-mad1": {after: never}, "peer-drp1": {after: never}, "upstream-dockerhub": {after: never}},
		status: 503, asked: "harbor peer-drp1 peer-mad1 upstream-dockerhub", within: 3*deadline + givenUp + 3*deadline},
	"an upstream hangs, and Harbor has it": {repo: cached, tag: "v1", silent: []string{"upstream-dockerhub"}, replies: map[string]reply{"harbor": {found: "own", after: 25 * time.Second}, "peer-mad1": {err: status(500)}, "peer-drp1": {err: status(500)}, "upstream-dockerhub": {after: never}},
		found: "own", asked: "harbor peer-drp1 peer-mad1 upstream-dockerhub", within: 25 * time.Second},
	"in a cache peers are no hedge": {repo: cached, tag: "v1", replies: map[string]reply{"harbor": {found: "own", after: 4 * time.Second}, "peer-mad1": {found: "mad1"}},
		found: "own", asked: "harbor", within: 4 * time.Second},
	"in a cache a no is the last word": {repo: cached, tag: "v1", replies: map[string]reply{"harbor": {err: no}, "peer-mad1": {found: "mad1"}}, status: 404, asked: "harbor"},
	"policy is the last word":          {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {err: status(412)}, "peer-mad1": {found: "mad1"}}, status: 412, asked: "harbor"},
	"what a peer only remembers": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {err: status(500)}, "peer-mad1": {found: "mad1", stale: true}, "peer-drp1": {err: status(503)}},
		found: "mad1", asked: "harbor peer-drp1 peer-mad1"},
	"what a peer knows goes before what another remembers": {repo: replicated, tag: "v1", replies: map[string]reply{"harbor": {err: status(500)}, "peer-mad1": {found: "mad1", stale: true}, "peer-drp1": {found: "drp1", after: time.Second}},
		found: "drp1", asked: "harbor peer-drp1 peer-mad1", within: time.Second},
	"what a peer only remembers replaces no copy": {repo: replicated, tag: "v1", held: true, replies: map[string]reply{"harbor": {err: status(500)}, "peer-mad1": {found: "mad1", stale: true}, "peer-drp1": {err: status(503)}},
		status: 503, asked: "harbor peer-drp1 peer-mad1"},
	"who is down is skipped with a copy": {repo: replicated, tag: "v1", held: true, down: []string{"harbor"}, replies: map[string]reply{"peer-mad1": {err: no}, "peer-drp1": {err: no}},
		status: 503, asked: "peer-drp1 peer-mad1"},
	"who is down is asked last without one": {repo: replicated, tag: "v1", down: []string{"harbor"}, replies: map[string]reply{"harbor": {found: "own"}, "peer-mad1": {err: no}, "peer-drp1": {err: no}},
		found: "own", asked: "peer-drp1 peer-mad1 harbor"},
	"all are down, and asked all the same": {repo: replicated, tag: "v1", held: true, down: []string{"harbor", "peer-mad1", "peer-drp1"}, replies: map[string]reply{"harbor": {found: "own"}},
		found: "own", asked: "harbor"},
}

func TestSourcesAreAskedInOrderUntilOneHasIt(t *testing.T) {
	for name, c := range asks {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fleet) {
				for _, s := range []struct {
					*source.Source
					far *far
				}{{f.harbor, f.harborFar}, {f.mad1, f.mad1Far}, {f.drp1, f.drp1Far}, {f.hub, f.hubFar}} {
					if slices.Contains(c.down, s.Name) {
						down(t, s.Source, s.far)
					}
					if slices.Contains(c.silent, s.Name) {
						s.far.hangs()
					}
				}
				s := &script{replies: c.replies}
				begun := time.Now()
				found, err := source.Ask(t.Context(), question(f, c.repo, c.tag, c.held), s.ask)
				if took := time.Since(begun); took != c.within {
					t.Errorf("it took %v, want %v", took, c.within)
				}
				var e *registry.Error
				if errors.As(err, &e); found != c.found || (e == nil) != (c.status == 0) || e != nil && e.Status != c.status {
					t.Errorf("%q, %v; want %q, %d", found, err, c.found, c.status)
				}
				if got := inStages(s.asked); got != c.asked {
					t.Errorf("asked %s, want %s", got, c.asked)
				}
			})
		})
	}
}

// inStages is who was asked, those who are asked at once in the order of their names.
func inStages(asked []string) string {
	asked = slices.Clone(asked)
	for i := 1; i < len(asked); i++ {
		if a, b := asked[i-1], asked[i]; strings.HasPrefix(a, "peer-") && strings.HasPrefix(b, "peer-") && a > b {
			asked[i-1], asked[i] = b, a
		}
	}
	return strings.Join(asked, " ")
}

// The tables of meanings and verdicts say what proxy/README.md's "Manifests" says.
func TestWhatASourcesErrorMeans(t *testing.T) {
	const (
		none   = ""
		no     = "no"
		policy = "policy"
		many   = "429"
		unsure = "don't-know"
		unsaid = "a no that was not said"
	)
	f := newFleet(t, t.Context())
	type said struct {
		status                                           int
		code, message                                    string
		cacheHarbor, harbor, peerOfCache, peer, upstream string
	}
	rows := []said{
		{404, "MANIFEST_UNKNOWN", "", no, no, no, no, no},
		{404, "NOT_FOUND", "artifact cache-dockerhub/library/app:v1 not found", unsure, no, no, no, no},
		{404, "NOT_FOUND", "repository cache-dockerhub/library/app not found", unsure, no, no, no, no},
		{404, "NOT_FOUND", "resource not found: library/app:v1", no, no, no, no, no},
		{404, "NOT_FOUND", "http status code: 404, body: ", no, no, no, no, no},
		{404, "BLOB_UNKNOWN", "blob unknown to registry", unsure, no, no, no, no},
		{404, "NAME_UNKNOWN", "there is no such project", no, no, unsure, no, no},
		{404, "", "default backend", unsure, unsure, unsure, unsure, unsure},
		{401, "UNAUTHORIZED", "project multi-dc-demo not found", no, no, unsure, unsure, unsaid},
		{401, "UNAUTHORIZED", "", unsure, unsure, unsure, unsure, unsaid},
		{403, "DENIED", "", unsure, unsure, unsure, unsure, unsaid},
		{412, "PROJECTPOLICYVIOLATION", "", policy, policy, policy, policy, unsure},
		{412, "", "", unsure, unsure, unsure, unsure, unsure},
		{429, "TOOMANYREQUESTS", "", many, many, many, many, many},
		{500, "UNKNOWN", "", unsure, unsure, unsure, unsure, unsure},
		{503, "", "", unsure, unsure, unsure, unsure, unsure},
		{410, "MANIFEST_UNKNOWN", "", no, no, no, no, no},
		{410, "", "the registry has moved", unsure, unsure, unsure, unsure, unsure},
	}
	for status := 400; status < 600; status++ { // and every other says nothing, with a registry's words or without
		if !slices.Contains([]int{401, 403, 404, 410, 412, 429}, status) {
			rows = append(rows, said{status, "", "", unsure, unsure, unsure, unsure, unsure}, said{status, "MANIFEST_UNKNOWN", "manifest unknown", unsure, unsure, unsure, unsure, unsure})
		}
	}
	for _, c := range rows {
		cache, replicating := f.routes.Namespaces.Of("cache-dockerhub"), f.routes.Namespaces.Of("multi-dc-demo")
		for _, at := range []struct {
			of   *source.Source
			ns   namespace.Namespace
			want string
		}{{f.harbor, cache, c.cacheHarbor}, {f.harbor, replicating, c.harbor}, {f.mad1, cache, c.peerOfCache}, {f.mad1, replicating, c.peer}, {f.hub, cache, c.upstream}} {
			e := source.Step{Source: at.of, Repo: at.ns.Project + "/app", Namespace: at.ns}.
				Meaning(&registry.Error{Status: c.status, Code: registry.Code(c.code), Message: c.message})
			got := none
			switch {
			case outcome.IsPolicy(e):
				got = policy
			case outcome.IsFirmNo(e):
				got = no
			case outcome.IsNo(e):
				got = unsaid
			case e.Status == 429:
				got = many
			case e.Status == 503 && e.RetryAfter > 0:
				got = unsure
			}
			if got != at.want {
				t.Errorf("%d %s %q of %s for %s is %s, want %s", c.status, c.code, c.message, at.of.Name, at.ns.Project, got, at.want)
			}
		}
	}
}

func TestOneVerdictOfMany(t *testing.T) {
	f := newFleet(t, t.Context())
	cache, core := f.routes.Namespaces.Of("cache-dockerhub"), f.routes.Namespaces.Of("repl-core")
	by := func(s *source.Source, ns namespace.Namespace, err error) source.Refusal {
		return source.Refusal{Step: source.Step{Source: s, Namespace: ns}, Err: err}
	}
	busy := func(after time.Duration) error { return outcome.TooMany(after) }
	for name, c := range map[string]struct {
		all    []source.Refusal
		status int
		after  time.Duration
	}{
		"all say no":           {[]source.Refusal{by(f.harbor, core, status(404)), by(f.mad1, core, status(404))}, 404, 0},
		"one cannot say":       {[]source.Refusal{by(f.harbor, core, status(404)), by(f.mad1, core, status(500))}, 503, 5 * time.Second},
		"one did not answer":   {[]source.Refusal{by(f.harbor, core, status(404)), by(f.mad1, core, fmt.Errorf("reset"))}, 503, 5 * time.Second},
		"all are busy":         {[]source.Refusal{by(f.harbor, core, busy(0)), by(f.hub, cache, busy(time.Minute))}, 429, time.Minute},
		"one is busy":          {[]source.Refusal{by(f.harbor, core, status(404)), by(f.hub, cache, busy(time.Minute))}, 503, time.Minute},
		"policy, among others": {[]source.Refusal{by(f.harbor, core, status(500)), by(f.mad1, core, status(412))}, 412, 0},
		"a cache that does not know, whose upstream says no":    {[]source.Refusal{by(f.harbor, core, status(404)), by(f.harbor, cache, status(503)), by(f.hub, cache, status(404))}, 404, 0},
		"a cache that does not know, whose upstream cannot say": {[]source.Refusal{by(f.harbor, core, status(404)), by(f.harbor, cache, status(503)), by(f.hub, cache, status(503))}, 503, 5 * time.Second},
		"another cache's upstream says no":                      {[]source.Refusal{by(f.harbor, f.routes.Namespaces.Of("cache-quay"), status(503)), by(f.hub, cache, status(404))}, 503, 5 * time.Second},
	} {
		var e *registry.Error
		if !errors.As(source.Verdict(c.all), &e) || e.Status != c.status || e.RetryAfter != c.after {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
