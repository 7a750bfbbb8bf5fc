package source_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// What keeps the edge from asking for a repo says something of that repo, or of the edge's own
// credentials, and that is seen.
func TestWhatIsNotGrantedIsNoneOfTheRepos(t *testing.T) {
	const refusal = `{"errors":[{"code":"DENIED","message":"no"}]}`
	const login = "/token?service=s"
	const repo = "/token?scope=repository%3Amulti-dc-demo%2Fapp%3Apull&service=s"
	for name, c := range map[string]struct {
		kind    source.Kind
		login   bool
		says    map[string]trial.Answer
		status  int
		refused float64 // the metric; -1: there is none
	}{
		"a repo that is refused":                     {source.Upstream, false, map[string]trial.Answer{"/token": {Status: 403, Body: refusal}}, 404, -1},
		"a repo that is refused to a login":          {source.Upstream, true, map[string]trial.Answer{repo: {Status: 401, Body: refusal}, login: {Body: `{"token":"t"}`}}, 404, 0},
		"a repo that a peer's token service refuses": {source.Harbor, false, map[string]trial.Answer{"/token": {Status: 403, Body: refusal}}, 503, -1},
		"a login that is refused":                    {source.Upstream, true, map[string]trial.Answer{"/token": {Status: 401, Body: refusal}}, 503, 1},
		"a token service that has had enough":        {source.Upstream, false, map[string]trial.Answer{"/token": {Status: 429, Header: http.Header{"Retry-After": {"30"}}}}, 429, -1},
		"a token service that names no time":         {source.Upstream, false, map[string]trial.Answer{"/token": {Status: 429}}, 429, -1},
		"a token service that is busy":               {source.Upstream, false, map[string]trial.Answer{"/token": {Status: 503, Header: http.Header{"Retry-After": {"30"}}}}, 503, -1},
	} {
		metrics := prometheus.NewRegistry()
		far := trial.NewRegistry(t)
		ask := trial.Answer{Status: 401, Header: http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer realm="%s/token",service="s"`, far.URL)}}}
		far.Say("/v2/", ask)
		far.Say(tagPath, ask)
		for to, a := range c.says {
			far.Say(to, a)
		}
		cfg := registry.SourceConfig{URL: far.URL}
		if c.login {
			cfg.Username, cfg.Password = "robot", "secret"
		}
		r, err := registry.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := source.New(t.Context(), source.Config{Name: "upstream-hub", Kind: c.kind, Registry: r, Metrics: source.NewMetrics(metrics)})
		_, err = s.Do(t.Context(), tagRequest, http.Header{}, 0)
		said := source.Verdict([]source.Refusal{{Step: source.Step{Source: s, Repo: tagRequest.Repo}, Err: err}})
		e, ok := said.(*registry.Error)
		if !ok || e.Status != c.status || outcome.IsFirmNo(said) || strings.Contains(said.Error(), "secret") {
			t.Errorf("%s: %v", name, said)
		}
		if strings.Contains(name, "token service that") && (e.RetryAfter < 20*time.Second || far.AskedFor("GET /token") != 1) {
			t.Errorf("%s: after %v", name, e.RetryAfter)
		}
		if got := gathered(t, metrics, "breakwater_edge_source_credentials_refused", "upstream-hub"); got != c.refused || s.State().Refused != (c.refused == 1) {
			t.Errorf("%s: credentials refused: %v, %t", name, got, s.State().Refused)
		}
	}
}

// A 403 that no registry said is of what stands before one.
func TestAFirewalls403IsNoRegistrys(t *testing.T) {
	s := source.Step{Source: source.New(t.Context(), source.Config{Name: "upstream-hub", Kind: source.Upstream}), Repo: "a"}
	if e := s.Meaning(&registry.Error{Status: 403}); !outcome.IsDontKnow(e) || outcome.IsNo(e) {
		t.Error(e)
	}
	if e := s.Meaning(&registry.Error{Status: 403, Code: "DENIED"}); !outcome.IsNo(e) || outcome.IsFirmNo(e) {
		t.Error(e)
	}
}

// A page of HTML that is a 401 is a login page, unless it has the challenge of a registry, as
// that of an nginx before one.
func TestA401sPageIsNoRegistrys(t *testing.T) {
	const html, words = "<html>sign in", `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`
	for name, c := range map[string]struct {
		contentType, challenge, body string
		unsure                       bool
	}{
		"a page":                        {"text/html", "", html, true},
		"a page in a charset":           {"text/html; charset=utf-8", "", html, true},
		"a page with no challenge's":    {"text/html", ",", html, true},
		"a page with a challenge":       {"text/html", `Basic realm="r"`, html, false},
		"a registry's words":            {"application/json", "", words, false},
		"a registry's, called a page":   {"text/html", "", words, false},
		"a registry's that are no JSON": {"text/plain", "", "unauthorized", false},
	} {
		s, far := atRegistry(t, source.Config{Name: "upstream-hub", Kind: source.Upstream})
		header := http.Header{"Content-Type": {c.contentType}}
		if c.challenge != "" {
			header.Set("Www-Authenticate", c.challenge)
		}
		far.Say(tagPath, trial.Answer{Status: 401, Header: header, Body: c.body})
		resp, err := s.Do(t.Context(), tagRequest, http.Header{}, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		e := source.Step{Source: s, Repo: tagRequest.Repo}.Meaning(registry.ReadError(resp))
		if outcome.IsNo(e) == c.unsure || outcome.IsFirmNo(e) || c.unsure && e.Status != 503 {
			t.Errorf("%s: %v", name, e)
		}
	}
}
