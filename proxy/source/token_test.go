package source_test

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// atRegistry is a source at a registry that says what it is told.
func atRegistry(t *testing.T, cfg source.Config) (*source.Source, *trial.Registry) {
	t.Helper()
	far := trial.NewRegistry(t)
	r, err := registry.NewSource(registry.SourceConfig{URL: far.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Registry = r
	return source.New(t.Context(), cfg), far
}

var tagRequest = registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: "multi-dc-demo/app", Tag: "v1"}

const tagPath = "/v2/multi-dc-demo/app/manifests/v1"

// A peer is shown the edge's own token, whatever the header that is sent had; without one
// it is not asked, and that says nothing of the content.
func TestAPeerIsShownAToken(t *testing.T) {
	var failing error
	s, far := atRegistry(t, source.Config{Name: "peer-mad1", Kind: source.Peer, Show: func(h http.Header) error {
		h.Set("Authorization", "Bearer the-edges")
		return failing
	}})
	far.Say(tagPath, trial.Answer{Body: "x"})
	sent := http.Header{"Authorization": {"Bearer the-clients"}, "Accept": {"a/b"}}
	resp, err := s.Do(t.Context(), tagRequest, sent, 0)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := far.Asked()[0].Header; got.Get("Authorization") != "Bearer the-edges" || got.Get("Accept") != "a/b" || sent.Get("Authorization") != "Bearer the-clients" {
		t.Errorf("asked with %v; the caller's is %v", got, sent)
	}
	request := func() *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, far.URL+"/breakwater/v1/peer/announce", nil)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	if resp, err = s.RoundTrip(request()); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := far.Asked()[1].Header.Get("Authorization"); got != "Bearer the-edges" {
		t.Errorf("announced with %q", got)
	}
	failing = errors.New("no key")
	if _, err := s.Do(t.Context(), tagRequest, http.Header{}, 0); !outcome.IsDontKnow(err) || !errors.Is(err, failing) {
		t.Errorf("without a token: %v", err)
	}
	if _, err := s.RoundTrip(request()); !errors.Is(err, failing) {
		t.Errorf("without a token: %v", err)
	}
	if len(far.Asked()) != 2 {
		t.Errorf("it is asked without a token: %d requests", len(far.Asked()))
	}
}

// A page with status 200 is no registry's word, but what has a digest is. A body that
// shows what it is needs no label.
func TestAPageIsNobodysWord(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	digested := html.Clone()
	digested.Set("Docker-Content-Digest", "sha256:x")
	for name, c := range map[string]struct {
		answer trial.Answer
		page   bool
	}{
		"a page":                {trial.Answer{Header: html, Body: "<html>"}, true},
		"a manifest by a front": {trial.Answer{Header: digested, Body: "{}"}, false},
		"a page of an error":    {trial.Answer{Status: 404, Header: html}, false},
		"a manifest":            {trial.Answer{Body: "{}"}, false},
	} {
		s, far := atRegistry(t, source.Config{Name: "harbor"})
		far.Say(tagPath, c.answer)
		head := tagRequest
		head.Method = http.MethodHead
		if resp, err := s.Do(t.Context(), tagRequest, http.Header{}, 0); err != nil {
			t.Errorf("%s, with its body: %v", name, err)
		} else {
			resp.Body.Close()
		}
		resp, err := s.Do(t.Context(), head, http.Header{}, 0)
		if page := err != nil && outcome.IsDontKnow(err); page != c.page {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

// gathered is the value of a metric with these label values, in the order of their names;
// -1: there is none.
func gathered(t *testing.T, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			same := family.GetName() == name && len(m.GetLabel()) == len(labels)
			for i := 0; same && i < len(labels); i++ {
				same = m.GetLabel()[i].GetValue() == labels[i]
			}
			if same {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// What is asked of a source, what came of it, and how it is, can be seen.
func TestASourceIsMeasured(t *testing.T) {
	metrics := prometheus.NewRegistry()
	s, far := atRegistry(t, source.Config{Name: "upstream-hub", Kind: source.Upstream, Metrics: source.NewMetrics(metrics)})
	far.Say(tagPath, trial.Answer{Body: "seven b", Header: http.Header{"Ratelimit-Remaining": {"76;w=21600"}}})
	for range 2 {
		resp, err := s.Do(t.Context(), tagRequest, http.Header{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // what is counted tells
		resp.Body.Close()
	}
	far.Say(tagPath, trial.Answer{Status: 404})
	if resp, err := s.Do(t.Context(), tagRequest, http.Header{}, 0); err == nil {
		resp.Body.Close()
	}
	far.Close()
	if _, err := s.Do(t.Context(), tagRequest, http.Header{}, 0); err == nil {
		t.Error("who is gone answers")
	}
	trial.Until(t, func() error {
		if gathered(t, metrics, "breakwater_edge_source_down", "upstream-hub") != 1 {
			return errors.New("it is not shown to be down")
		}
		return nil
	})
	for what, want := range map[[3]string]float64{
		{"breakwater_edge_source_requests_total", "upstream-hub", "2xx"}: 2,
		{"breakwater_edge_source_requests_total", "upstream-hub", "4xx"}: 1,
		{"breakwater_edge_source_requests_total", "upstream-hub", "0xx"}: 1,
		{"breakwater_edge_source_bytes_total", "upstream-hub"}:           14,
		{"breakwater_edge_upstream_rate_remaining", "upstream-hub"}:      76,
	} {
		labels := what[1:]
		if what[2] == "" {
			labels = what[1:2]
		}
		if got := gathered(t, metrics, what[0], labels...); got != want {
			t.Errorf("%v: %v, want %v", what, got, want)
		}
	}
}

// A verdict keeps what each source said, for the log.
func TestAVerdictSaysWhy(t *testing.T) {
	harbor, _ := atRegistry(t, source.Config{Name: "harbor"})
	mad1, _ := atRegistry(t, source.Config{Name: "peer-mad1", Kind: source.Peer})
	first, second := errors.New("reset"), errors.New("refused")
	for _, all := range [][]source.Refusal{
		{{Step: source.Step{Source: harbor}, Err: first}, {Step: source.Step{Source: mad1}, Err: second}},
		{{Step: source.Step{Source: harbor}, Err: &registry.Error{Status: 429, Cause: first}}, {Step: source.Step{Source: mad1}, Err: &registry.Error{Status: 429, Cause: second}}},
	} {
		if err := source.Verdict(all); !errors.Is(err, first) || !errors.Is(err, second) {
			t.Errorf("%v", err)
		}
	}
}
