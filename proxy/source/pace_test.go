package source_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// requests are one for each end point, and what is asked for by digest: that belongs to a
// manifest.
var requests = map[string]registry.Request{
	"tag":       {Method: http.MethodGet, Kind: registry.KindManifest, Repo: "library/app", Tag: "v1"},
	"manifest":  {Method: http.MethodGet, Kind: registry.KindManifest, Repo: "library/app", Digest: someDigest},
	"blob":      {Method: http.MethodGet, Kind: registry.KindBlob, Repo: "library/app", Digest: someDigest},
	"tags":      {Method: http.MethodGet, Kind: registry.KindTags, Repo: "library/app"},
	"catalog":   {Method: http.MethodGet, Kind: registry.KindCatalog},
	"referrers": {Method: http.MethodGet, Kind: registry.KindReferrers, Repo: "library/app", Digest: someDigest},
}

const someDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// said are headers, each name before its value.
func said(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

var manifestRequests = []string{"tag", "manifest"}

// pauses are answers, and which requests an upstream is spared after them.
var pauses = map[string]struct {
	kind   registry.Kind
	status int
	header http.Header
	at     string // the host that answered; "": the upstream
	paused []string
	pause  time.Duration
}{
	"429 of a manifest":                        {registry.KindManifest, 429, nil, "", manifestRequests, time.Minute},
	"of a blob":                                {registry.KindBlob, 429, nil, "", []string{"blob"}, time.Minute},
	"of a list":                                {registry.KindTags, 429, nil, "", []string{"tags", "catalog"}, time.Minute},
	"of the catalog":                           {registry.KindCatalog, 429, nil, "", []string{"tags", "catalog"}, time.Minute},
	"of referrers":                             {registry.KindReferrers, 429, nil, "", []string{"referrers"}, time.Minute},
	"of another host":                          {registry.KindBlob, 429, said("Retry-After", "90", "Ratelimit-Remaining", "0"), "http://cdn.example.org/x", nil, 0},
	"of another host for a manifest":           {registry.KindManifest, 429, nil, "https://upstream-dockerhub/x", nil, 0},
	"of its own host, spelled otherwise":       {registry.KindBlob, 429, nil, "http://Upstream-dockerhub:80/x", []string{"blob"}, time.Minute},
	"that names a time":                        {registry.KindManifest, 429, said("Retry-After", "90"), "", manifestRequests, 90 * time.Second},
	"for a day":                                {registry.KindManifest, 429, said("Retry-After", "86400"), "", manifestRequests, time.Hour},
	"that says nothing that is known":          {registry.KindManifest, 429, said("Retry-After", "soon"), "", manifestRequests, time.Minute},
	"that says when there is more":             {registry.KindManifest, 429, said("RateLimit", "limit=100, remaining=0, reset=30"), "", manifestRequests, 30 * time.Second},
	"that says only when there is more":        {registry.KindManifest, 429, said("RateLimit-Reset", "30"), "", manifestRequests, 30 * time.Second},
	"nothing is left":                          {registry.KindManifest, 200, said("Ratelimit-Remaining", "0;w=21600"), "", []string{"tag"}, time.Minute},
	"nothing is left, and when there is more":  {registry.KindManifest, 200, said("Ratelimit-Remaining", "0", "Ratelimit-Reset", "20"), "", []string{"tag"}, 20 * time.Second},
	"nothing is left, in GitHub's words":       {registry.KindManifest, 200, said("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "T+40"), "", []string{"tag"}, 40 * time.Second},
	"nothing is left, in a draft's words":      {registry.KindManifest, 200, said("RateLimit", "limit=100, remaining=0, reset=30"), "", []string{"tag"}, 30 * time.Second},
	"nothing is left, in another draft's":      {registry.KindManifest, 200, said("RateLimit", `"burst";r=9;t=5, "day";r=0;t=50`), "", []string{"tag"}, 50 * time.Second},
	"nothing is left, in headers of their own": {registry.KindManifest, 200, said("RateLimit", `"burst";r=9;t=5`, "RateLimit", `"day";r=0;t=50`), "", []string{"tag"}, 50 * time.Second},
	"nothing is left of lists":                 {registry.KindTags, 200, said("Ratelimit-Remaining", "0"), "", nil, 0}, // the next page belongs to it
	"nothing is left after a no":               {registry.KindManifest, 404, said("Ratelimit-Remaining", "0;w=21600"), "", []string{"tag"}, time.Minute},
	"something is left":                        {registry.KindManifest, 200, said("Ratelimit-Remaining", "76;w=21600"), "", nil, 0},
	"something is left, in a draft's words":    {registry.KindManifest, 200, said("RateLimit", "limit=100, remaining=1, reset=30"), "", nil, 0},
	"what is left is no number":                {registry.KindManifest, 200, said("Ratelimit-Remaining", "many"), "", nil, 0},
	"what is left is less than nothing":        {registry.KindManifest, 200, said("Ratelimit-Remaining", "-1"), "", nil, 0},
	"only the limit is said":                   {registry.KindManifest, 200, said("RateLimit", "limit=100", "Ratelimit-Limit", "100;w=21600"), "", nil, 0},
	"503 that names a time":                    {registry.KindManifest, 503, said("Retry-After", "90"), "", nil, 0},
	"404":                                      {registry.KindManifest, 404, nil, "", nil, 0},
}

// A pause is of the end point that asked for it, and as long as it said. What is left of a
// limit is said of new pulls: those that were counted go on to their end.
func TestAPauseIsOfOneEndPoint(t *testing.T) {
	for name, c := range pauses {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fleet) {
				if c.header.Get("X-Ratelimit-Reset") == "T+40" {
					c.header.Set("X-Ratelimit-Reset", fmt.Sprint(time.Now().Add(40*time.Second).Unix()))
				}
				resp := &http.Response{StatusCode: c.status, Header: c.header}
				if u, err := url.Parse(c.at); err == nil && c.at != "" {
					resp.Request = &http.Request{URL: u}
				}
				for _, s := range []*source.Source{f.hub, f.mad1, f.harbor} {
					s.Note(c.kind, resp)
				}
				if f.hub.State().Paused != c.pause || f.mad1.State().Paused != 0 || f.harbor.State().Paused != 0 {
					t.Errorf("the upstream is left alone for %v, a peer for %v, Harbor for %v", f.hub.State().Paused, f.mad1.State().Paused, f.harbor.State().Paused)
				}
				check := func(paused ...string) {
					want := map[string]bool{}
					for _, name := range paused {
						want[name] = true
					}
					for name, req := range requests {
						before := f.hubFar.requests()
						resp, err := f.hub.Do(t.Context(), req, http.Header{}, 0)
						if err == nil {
							resp.Body.Close()
						}
						if asked := f.hubFar.requests() > before; asked == want[name] || asked != (err == nil) {
							t.Errorf("%s is asked: %v, %v", name, asked, err)
						}
					}
				}
				check(c.paused...)
				time.Sleep(c.pause)
				check()
			})
		})
	}
}

// The client that is the first to hear of a 429 is told what those after it are told, a
// minute where nobody names a time.
func TestTheFirstClientOfAPauseIsToldHowLongItIs(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		want   time.Duration
	}{
		"nothing": {nil, time.Minute},
		"words":   {said("Retry-After", "soon"), time.Minute},
		"20":      {said("Retry-After", "20"), 20 * time.Second},
		"90":      {said("Retry-After", "90"), 90 * time.Second},
		"a limit": {said("RateLimit", "limit=100, remaining=0, reset=30"), 30 * time.Second},
		"a reset": {said("RateLimit-Reset", "30"), 30 * time.Second},
	} {
		s, far := atRegistry(t, source.Config{Name: "upstream-hub", Kind: source.Upstream})
		far.Say(tagPath, trial.Answer{Status: 429, Header: c.header})
		resp, err := s.Do(t.Context(), tagRequest, http.Header{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		first := source.Step{Source: s, Repo: tagRequest.Repo}.Meaning(registry.ReadError(resp))
		next := s.Limited(tagRequest)
		if first.Status != 429 || first.RetryAfter != c.want || next == nil || next.RetryAfter > c.want {
			t.Errorf("%s: %+v, then %+v", name, first, next)
		}
	}
	harbor, _ := atRegistry(t, source.Config{Name: "harbor"}) // which is asked again at once
	if e := (source.Step{Source: harbor}).Meaning(&registry.Error{Status: 429}); e.Status != 429 || e.RetryAfter != 0 {
		t.Errorf("of Harbor: %+v", e)
	}
}
