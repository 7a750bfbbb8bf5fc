package source_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// A step asks by the source's own name for the repo, and with nothing of the client's query.
func TestAStepsRequest(t *testing.T) {
	f := newFleet(t, t.Context())
	route := f.route("cache-dockerhub/library/app", "v1")
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: "cache-dockerhub/library/app", Tag: "v1", Query: url.Values{"ns": {"docker.io"}}}
	for i, want := range []string{"cache-dockerhub/library/app", "cache-dockerhub/library/app", "cache-dockerhub/library/app", "library/app"} {
		if got := route[i].Under(req); got.Repo != want || got.Query != nil || got.Tag != "v1" || got.Method != http.MethodGet {
			t.Errorf("%s: %+v", route[i].Name, got)
		}
	}
	if req.Query == nil || req.Repo != "cache-dockerhub/library/app" {
		t.Error("the client's own request has changed")
	}
}

// A no is said in the words of what was asked for.
func TestTheWordsOfANo(t *testing.T) {
	f := newFleet(t, t.Context())
	step := source.Step{Source: f.harbor, Repo: "multi-dc-demo/app", Namespace: namespace.Namespace{Project: "multi-dc-demo", Kind: namespace.MultiDC}}
	for name, c := range map[string]struct {
		said *registry.Error
		code registry.Code
	}{
		"a blob":              {&registry.Error{Status: 404, Code: registry.CodeBlobUnknown}, registry.CodeBlobUnknown},
		"a blob, by an image": {&registry.Error{Status: 404, Code: "NOT_FOUND", Message: "http status code: 404, body: x"}, registry.CodeBlobUnknown},
		"a repo":              {&registry.Error{Status: 404, Code: registry.CodeNameUnknown}, registry.CodeNameUnknown},
		"a repo, by Harbor":   {&registry.Error{Status: 404, Code: "NOT_FOUND", Message: "repository multi-dc-demo/app not found"}, registry.CodeNameUnknown},
		"a manifest":          {&registry.Error{Status: 404, Code: registry.CodeManifestUnknown}, registry.CodeManifestUnknown},
		"an artifact":         {&registry.Error{Status: 404, Code: "NOT_FOUND", Message: "artifact multi-dc-demo/app:v1 not found"}, registry.CodeManifestUnknown},
	} {
		got := step.Meaning(c.said)
		if got.Status != 404 || got.Code != c.code || !errors.Is(got.Cause, c.said) || got.Message == c.said.Message {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A no of Harbor's or a peer's is none of an upstream: it does not speak for a cache.
func TestWhoSpeaksForACache(t *testing.T) {
	f := newFleet(t, t.Context())
	cache := f.routes.Namespaces.Of("cache-dockerhub")
	no, unsure := &registry.Error{Status: 404, Code: registry.CodeNameUnknown}, &registry.Error{Status: 503, Code: registry.CodeUnavailable}
	by := func(s *source.Source, err error) source.Refusal {
		return source.Refusal{Step: source.Step{Source: s, Namespace: cache}, Err: err}
	}
	for name, c := range map[string]struct {
		all    []source.Refusal
		status int
	}{
		"the upstream": {[]source.Refusal{by(f.harbor, unsure), by(f.hub, no)}, 404},
		"a peer":       {[]source.Refusal{by(f.harbor, unsure), by(f.mad1, no)}, 503},
		"nobody":       {[]source.Refusal{by(f.harbor, unsure), by(f.hub, unsure)}, 503},
	} {
		var e *registry.Error
		if !errors.As(source.Verdict(c.all), &e) || e.Status != c.status {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// A repo that somebody has is there, though the local Harbor has none of it.
func TestWhoHasTheRepoSaysWhatIsNotThere(t *testing.T) {
	f := newFleet(t, t.Context())
	repo, tag := &registry.Error{Status: 404, Code: registry.CodeNameUnknown}, &registry.Error{Status: 404, Code: registry.CodeManifestUnknown}
	for _, all := range [][2]error{{repo, tag}, {tag, repo}} {
		var e *registry.Error
		if !errors.As(source.Verdict([]source.Refusal{{Step: source.Step{Source: f.harbor}, Err: all[0]}, {Step: source.Step{Source: f.mad1}, Err: all[1]}}), &e) || e.Code != registry.CodeManifestUnknown {
			t.Errorf("%v and %v: %v", all[0], all[1], e)
		}
	}
}

// Of 20 answers the one that one of them exceeds is what a source usually takes at most.
func TestWhatASourceUsuallyTakes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		if f.mad1.Usual() != 0 {
			t.Errorf("it has not answered, and usually takes %v", f.mad1.Usual())
		}
		for i := range 20 {
			f.mad1Far.mu.Lock()
			f.mad1Far.after = time.Duration(i+1) * time.Second
			f.mad1Far.mu.Unlock()
			if _, err := ask(t, f.mad1); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.mad1.Usual(); got != 20*time.Second {
			t.Errorf("it usually takes %v", got)
		}
		f.mad1Far.mu.Lock()
		f.mad1Far.after = time.Second
		f.mad1Far.mu.Unlock()
		for range 64 { // what was before does not count any more
			if _, err := ask(t, f.mad1); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.mad1.Usual(); got != time.Second {
			t.Errorf("then it usually takes %v", got)
		}
	})
}

// Requests that are none for content are counted too.
func TestWhatIsNoContentIsCounted(t *testing.T) {
	metrics := prometheus.NewRegistry()
	s, far := atRegistry(t, source.Config{Name: "peer-mad1", Kind: source.Peer, Metrics: source.NewMetrics(metrics)})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, far.URL+"/announce", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := gathered(t, metrics, "breakwater_edge_source_requests_total", "peer-mad1", "4xx"); got != 1 {
		t.Errorf("counted %v times", got)
	}
}

// Harbor's database answers where an API that needs it does; a page, a redirect or an
// error of what stands before a Harbor that is gone is no such answer.
func TestWhetherHarborKnowsPeople(t *testing.T) {
	page := http.Header{"Content-Type": {"text/html"}}
	for name, c := range map[string]struct {
		answer trial.Answer
		knows  bool
	}{
		"a list":             {trial.Answer{Body: "[]"}, true},
		"who is not known":   {trial.Answer{Status: 401, Body: "{}"}, true},
		"who may not":        {trial.Answer{Status: 403, Body: "{}"}, true},
		"a limiter":          {trial.Answer{Status: 429, Header: page}, true},
		"a page":             {trial.Answer{Header: page, Body: "<html>"}, false},
		"a page's 404":       {trial.Answer{Status: 404, Header: page}, false},
		"a redirect as JSON": {trial.Answer{Status: 302, Header: http.Header{"Location": {"/x"}}}, false},
		"an error":           {trial.Answer{Status: 500, Body: "{}"}, false},
		"499":                {trial.Answer{Status: 499, Body: "{}"}, true},
	} {
		far := trial.NewRegistry(t)
		far.Say("/api/v2.0/projects", c.answer)
		r, err := registry.NewSource(registry.SourceConfig{URL: far.URL, Trusted: true, Username: "robot", Password: "x"})
		if err != nil {
			t.Fatal(err)
		}
		h := source.NewHealth(t.Context(), r, time.Now)
		if got := h.KnowsPeople(t.Context()); got != c.knows {
			t.Errorf("%s: %t", name, got)
		}
		far.Close()
		if h.KnowsPeople(t.Context()) {
			t.Errorf("%s: who is gone knows people", name)
		}
	}
}

// A source that does not answer in time says nothing, and is looked at.
func TestADeadline(t *testing.T) {
	s, far := atRegistry(t, source.Config{Name: "harbor"})
	far.Say(tagPath, trial.Answer{Never: true})
	if _, err := s.Do(t.Context(), tagRequest, http.Header{}, 20*time.Millisecond); !outcome.IsDontKnow(err) || !strings.Contains(errors.Unwrap(err).Error(), "harbor did not answer for 20ms") {
		t.Errorf("%v", err)
	}
	far.Say(tagPath, trial.Answer{Body: "x"})
	if resp, err := s.Do(t.Context(), tagRequest, http.Header{}, time.Minute); err != nil {
		t.Error(err)
	} else {
		resp.Body.Close()
	}
}
