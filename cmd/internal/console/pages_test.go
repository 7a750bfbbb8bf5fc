package console_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/cmd/internal/console"
	"example.org/breakwater/proxy/content"
	"example.org/breakwater/proxy/traffic"
)

// served serves pages, and returns what a browser gets of one.
func served(t *testing.T, pages ...console.Page) (get func(path, accept string) (status int, body string)) {
	t.Helper()
	c, err := console.New(console.Config{Domain: "harbor.example.org", Datacenter: "par1", Version: "1.2.3", Pages: pages})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return func(path, accept string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

// has fails the test where a page lacks something, or has what its policy refuses.
func has(t *testing.T, page string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !regexp.MustCompile(want).MatchString(page) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	for _, never := range []string{` style="`, `<script>`, ` on[a-z]+="`, `ZgotmplZ`, `&lt;no value`, `%!`} {
		if regexp.MustCompile(never).MatchString(page) {
			t.Errorf("%s in\n%s", never, page)
		}
	}
	if len(page) > 100_000 {
		t.Errorf("the page has %d bytes", len(page))
	}
}

// Six hours of points are six lines, each said in words too, and what is wrong is no colour alone.
func TestTheTrafficPage(t *testing.T) {
	began := time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	left := int64(76)
	r := traffic.Report{Datacenter: "par1", Started: began, Seconds: 900, InFlight: 7, Recent: traffic.Flow{Requests: 1200, Content: 1000, Hits: 993, ToClients: 5 << 30, Saved: 4 << 30, Failed: 2},
		Requests: []traffic.Row{{Endpoint: "blob", Namespace: "cache", Outcome: "hit", Status: "2xx", Start: 99, Recent: 12}, {Endpoint: "manifest", Namespace: "repl", Outcome: "pass", Status: "5xx", Start: 2}},
		Sources:  []traffic.Source{{Name: "harbor", Kind: "harbor", Up: true, Bytes: 1 << 30}, {Name: "peer-mad1", Kind: "peer"}, {Name: "upstream-dockerhub", Kind: "upstream", Up: true, Paused: 30, RateLeft: &left}}}
	for i := range 360 {
		r.Hours.Points = append(r.Hours.Points, traffic.Point{At: began.Add(time.Duration(i) * time.Minute), Seconds: 60, Flow: traffic.Flow{Requests: int64(60 * i), Content: 10, Hits: 9}})
	}
	get := served(t, console.TrafficPage(func() traffic.Report { return r }))
	status, page := get("/traffic", "text/html")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, page)
	}
	has(t, page, `99\.3 %`, `7 being answered now`, `4\.0 GiB`, `76 pulls`, `chip wrong">down`, `chip warning">asked for a pause`, `chip wrong">5xx`,
		`aria-label="Requests, the last 6 hours: now 359\.0/s, at most 359\.0/s"`, `points="0\.0,38\.0 `, ` 240\.0,2\.0"`)
	if n := strings.Count(page, "<polyline"); n != 6 {
		t.Errorf("%d lines", n)
	}
	_, text := get("/api/traffic", "*/*")
	var got traffic.Report
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Recent != r.Recent || len(got.Hours.Points) != 360 {
		t.Errorf("%v: %.200s", err, text)
	}
	r = traffic.Report{}
	_, page = served(t, console.TrafficPage(func() traffic.Report { return r }))("/traffic", "text/html")
	has(t, page, `"value">none<`, `there are no samples yet`, `No client has asked for anything yet`)
}

// A fill is a bar that says how far it is; one of unknown size makes no claim.
func TestTheFillsPage(t *testing.T) {
	r := traffic.FillsReport{Count: 2, Bytes: 5 << 20, BytesToGo: 1 << 20, Fills: []traffic.Fill{
		{Digest: "sha256:0123456789abcdef0123", Repo: "multi-dc-demo/app", Size: 4 << 20, Bytes: 3 << 20, Rate: 2 << 20, Sources: []string{"harbor", "peer-mad1"}, Bodies: 4, Readers: 2, Seconds: 3},
		{Digest: "sha256:fedcba9876543210fedc", Project: "cache-<b>", Size: -1, Bytes: 2 << 20, Warming: true}}}
	get := served(t, console.FillsPage(func() traffic.FillsReport { return r }))
	_, page := get("/fills", "text/html")
	has(t, page, `<progress max="4194304" value="3145728" aria-label="sha256:0123456789ab…, 3\.0 MiB of 4\.0 MiB">`, `harbor, peer-mad1<small>4 at once`, `2\.0 MiB/s`, `nobody has answered yet`, `cache-&lt;b&gt;`, `of unknown size`)
	r = traffic.FillsReport{}
	_, page = served(t, console.FillsPage(func() traffic.FillsReport { return r }))("/fills", "text/html")
	has(t, page, `Nothing comes into the store now`)
}

// Datacenters stand side by side; the links of a page ask for the next one, and for nothing else.
func TestTheContentPage(t *testing.T) {
	var asked content.Query
	now := time.Now()
	get := served(t, console.ContentPage(func(_ context.Context, q content.Query, _ time.Time) content.Report {
		asked = q
		r := content.Report{Datacenters: []content.Datacenter{{Datacenter: "par1"}, {Datacenter: "mad1"}, {Datacenter: "drp1", Error: "it does not answer"}}, Next: "z"}
		if q.Repo == "" {
			r.Repos, r.Projects = []content.RepoRow{{Repo: "multi-dc-demo/app", Kind: "multi-dc", Tags: map[string]int{"par1": 3}}}, []content.Project{{Project: "multi-dc-demo", Kind: "multi-dc"}}
			return r
		}
		newest := &content.Version{At: now.Add(-90 * time.Second), Datacenter: "par1", Late: 4}
		r.Repo, r.Kind = q.Repo, "multi-dc"
		r.Tags = []content.TagRow{{Tag: "v1", Differ: true, Version: newest, In: map[string]content.Cell{
			"par1": {Tag: content.Tag{Digest: "sha256:0123456789abcdef0123", Held: true, Version: newest, Owed: 12}, State: content.Same},
			"mad1": {Tag: content.Tag{Digest: "sha256:fedcba9876543210fedc"}, State: content.Behind, Behind: 90}}}}
		return r
	}))
	_, page := get("/content?project=multi-dc-demo&match=a", "text/html")
	has(t, page, `<a href="content\?repo=multi-dc-demo%2Fapp">multi-dc-demo/app</a>`, `<td class="number" data-label="mad1">0</td>`, `drp1 is not in the table:</strong> it does not answer`,
		`href="content\?after=z&amp;match=a&amp;project=multi-dc-demo"`, `aria-current="true">multi-dc-demo`, `name="match" value="a"`)
	if asked.Project != "multi-dc-demo" || asked.Match != "a" {
		t.Errorf("%+v", asked)
	}
	_, page = get("/content?repo=multi-dc-demo/app", "text/html")
	has(t, page, `title="sha256:0123456789abcdef0123"`, `chip ok">same`, `in the store; its Harbor lacks it for 12 s`, `chip wrong">behind`, `not in the store; behind by 90 s`, `not alike`, `data-label="drp1"><span class="dim">not known`)
	for _, query := range []string{"repo=UPPER", "after=../x", "match=" + strings.Repeat("x", 200)} {
		if status, page := get("/content?"+query, "text/html"); status != http.StatusBadRequest || !strings.Contains(page, `role="alert"`) {
			t.Errorf("%s: %d", query, status)
		}
	}
}
