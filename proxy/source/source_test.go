package source_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// far is a registry that a test plays, without a network.
type far struct {
	mu     sync.Mutex
	status int // 0: it does not answer
	header http.Header
	asked  []string // paths
}

// RoundTrip implements http.RoundTripper.
func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.URL.Path)
	if f.status == 0 {
		return nil, errors.New("connection refused")
	}
	header := f.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: f.status, Header: header, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func (f *far) answers(status int, header http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.header = status, header
}

func (f *far) probes() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, path := range f.asked {
		if path == "/v2/" {
			n++
		}
	}
	return n
}

func newSource(t *testing.T, ctx context.Context, name string, kind source.Kind) (*source.Source, *far) {
	t.Helper()
	f := &far{status: http.StatusOK}
	r, err := registry.NewSource(registry.SourceConfig{URL: "http://" + name, Wrap: func(http.RoundTripper) http.RoundTripper { return f }})
	if err != nil {
		t.Fatal(err)
	}
	return source.New(ctx, source.Config{Name: name, Kind: kind, Registry: r}), f
}

// fleet is the sources of a test.
type fleet struct {
	harbor, mad1, drp1, hub             *source.Source
	harborFar, mad1Far, drp1Far, hubFar *far
	routes                              *source.Routes
}

func newFleet(t *testing.T, ctx context.Context) *fleet {
	f := &fleet{}
	f.harbor, f.harborFar = newSource(t, ctx, "harbor", source.Harbor)
	f.mad1, f.mad1Far = newSource(t, ctx, "peer-mad1", source.Peer)
	f.drp1, f.drp1Far = newSource(t, ctx, "peer-drp1", source.Peer)
	f.hub, f.hubFar = newSource(t, ctx, "upstream-dockerhub", source.Upstream)
	table := namespace.NewTable([]namespace.Namespace{
		{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true},
		{Project: "repl-core", Kind: namespace.Repl, Rules: []namespace.Rule{{From: "cache-dockerhub", Name: "library/*", Tags: "v*", Flatten: -1}}},
	})
	f.routes = source.NewRoutes(f.harbor, []*source.Source{f.mad1, f.drp1}, map[string]*source.Source{"cache-dockerhub": f.hub}, table)
	return f
}

func (f *fleet) route(repo, tag string) []source.Step {
	project, _, _ := strings.Cut(repo, "/")
	return f.routes.Of(f.routes.Namespaces.Of(project), repo, tag)
}

func names(route []source.Step) string {
	var all []string
	for _, s := range route {
		all = append(all, s.Name+":"+s.Repo)
	}
	return strings.Join(all, " ")
}

// down opens the circuit breaker of a source.
func down(t *testing.T, s *source.Source, f *far) {
	t.Helper()
	f.answers(0, nil)
	s.Suspect()
	synctest.Wait()
	if s.Usable() {
		t.Fatalf("%s is down, and usable", s.Name)
	}
}

func inBubble(t *testing.T, test func(t *testing.T, f *fleet)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		test(t, newFleet(t, ctx))
	})
}

func TestWhereARepoIsReadFrom(t *testing.T) {
	f := newFleet(t, t.Context())
	const peers = " peer-mad1:%s peer-drp1:%s"
	for _, c := range []struct{ repo, tag, want string }{
		{"cache-dockerhub/library/app", "v1", "harbor:R peer-mad1:R peer-drp1:R upstream-dockerhub:library/app"},
		{"cache-unknown/app", "v1", "harbor:R peer-mad1:R peer-drp1:R"},
		{"multi-dc-x/app", "v1", "harbor:R peer-mad1:R peer-drp1:R"},
		{"repl-core/app", "v1", "harbor:R peer-mad1:R peer-drp1:R harbor:cache-dockerhub/library/app upstream-dockerhub:library/app"},
		{"repl-core/app", "", "harbor:R peer-mad1:R peer-drp1:R harbor:cache-dockerhub/library/app upstream-dockerhub:library/app"},
		{"repl-core/app", "latest", "harbor:R peer-mad1:R peer-drp1:R"},
	} {
		if got, want := names(f.route(c.repo, c.tag)), strings.ReplaceAll(c.want, "R", c.repo); got != want {
			t.Errorf("%s:%s: %s, want %s", c.repo, c.tag, got, want)
		}
	}
	if got := names(f.routes.Own(namespace.Namespace{}, "multi-dc-x/app")); got != "harbor:multi-dc-x/app" {
		t.Errorf("a peer's request goes to %s", got)
	}
}

func TestBlobsAreAskedForWhereTheirManifestWas(t *testing.T) {
	f := newFleet(t, t.Context())
	const repo = "repl-core/app"
	route := f.route(repo, "v1")
	before := names(route)
	if got := names(f.routes.ForBlobs(repo, route)); got != before {
		t.Errorf("of a new repo: %s", got)
	}
	f.routes.Gave(repo, f.drp1)
	want := "harbor:repl-core/app peer-drp1:repl-core/app peer-mad1:repl-core/app harbor:cache-dockerhub/library/app upstream-dockerhub:library/app"
	if got := names(f.routes.ForBlobs(repo, route)); got != want {
		t.Errorf("behind drp1: %s", got)
	}
	if names(route) != before {
		t.Error("the route itself was sorted")
	}
	if got := names(f.routes.ForBlobs("repl-core/other", route)); got != before {
		t.Errorf("of another repo: %s", got)
	}
	f.routes.Gave(repo, f.harbor)
	if got := names(f.routes.ForBlobs(repo, route)); got != before {
		t.Errorf("behind Harbor: %s", got)
	}
}

// One request's failure opens nothing; the probe's does, and probes close it again,
// at longer and longer times.
func TestTheCircuitBreakerIsOpenedByAProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		f.harbor.Suspect()
		synctest.Wait()
		if !f.harbor.Usable() || f.harborFar.probes() != 1 {
			t.Errorf("a probe that was answered: usable %v, %d probes", f.harbor.Usable(), f.harborFar.probes())
		}
		f.harbor.Suspect() // not again at once
		synctest.Wait()
		if f.harborFar.probes() != 1 {
			t.Error("every failure is probed")
		}
		time.Sleep(time.Second)
		down(t, f.harbor, f.harborFar)
		f.harborFar.answers(http.StatusInternalServerError, nil)
		time.Sleep(1500 * time.Millisecond) // the second probe
		if f.harbor.Usable() {
			t.Error("a 500 closes it")
		}
		f.harborFar.answers(http.StatusUnauthorized, nil) // it answers
		time.Sleep(2 * time.Second)
		if !f.harbor.Usable() {
			t.Error("it is not closed")
		}
		probes := f.harborFar.probes()
		time.Sleep(time.Minute)
		if f.harborFar.probes() != probes {
			t.Error("a source that is up is probed")
		}
	})
}

func TestAnUpstreamThatHasHadEnoughIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header http.Header
		pause  time.Duration
	}{
		"429":                         {429, nil, time.Minute},
		"429 that names a time":       {429, http.Header{"Retry-After": {"90"}}, 90 * time.Second},
		"429 for a day":               {429, http.Header{"Retry-After": {"86400"}}, time.Hour},
		"nothing is left":             {200, http.Header{"Ratelimit-Remaining": {"0;w=21600"}}, time.Minute},
		"something is left":           {200, http.Header{"Ratelimit-Remaining": {"76;w=21600"}}, 0},
		"what is left is no number":   {200, http.Header{"Ratelimit-Remaining": {"many"}}, 0},
		"503 that names a time":       {503, http.Header{"Retry-After": {"90"}}, 0},
		"404":                         {404, nil, 0},
		"what is left is less than 0": {200, http.Header{"Ratelimit-Remaining": {"-1"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fleet) {
				f.hub.Note(&http.Response{StatusCode: c.status, Header: c.header})
				f.mad1.Note(&http.Response{StatusCode: c.status, Header: c.header})
				if !f.mad1.Usable() || f.mad1.Limited() != nil {
					t.Error("a peer is left alone")
				}
				if c.pause == 0 {
					if !f.hub.Usable() {
						t.Error("it is left alone")
					}
					return
				}
				e := f.hub.Limited()
				if f.hub.Usable() || e == nil || e.Status != 429 || e.RetryAfter != c.pause || f.hub.State().Paused != c.pause {
					t.Errorf("%+v", e)
				}
				if _, err := f.hub.Do(t.Context(), registry.Request{Method: http.MethodGet, Kind: registry.KindBase}, nil, 0); err == nil || len(f.hubFar.asked) > 0 {
					t.Errorf("it was asked: %v", err)
				}
				time.Sleep(c.pause)
				if !f.hub.Usable() || f.hub.Limited() != nil {
					t.Error("it is left alone for too long")
				}
			})
		})
	}
}

func TestASourceThatIsDownIsWaitedForByNobodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		route := f.route("cache-dockerhub/library/app", "v1")
		down(t, f.harbor, f.harborFar)
		if !route[0].Skipped(route) || route[1].Skipped(route) {
			t.Error("the source that is down is waited for, or one that is up is not")
		}
		f.hub.Note(&http.Response{StatusCode: 429})
		if route[3].Skipped(route) {
			t.Error("an upstream that asked for a pause says so at once")
		}
		if own := route[:1]; own[0].Skipped(own) || source.AnyUsable(own) {
			t.Error("the only source of a route is left out")
		}
	})
}
