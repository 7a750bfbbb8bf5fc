package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/cmd/internal/console"
	"example.org/breakwater/gslb"
	"example.org/breakwater/provision"
	"example.org/breakwater/proxy/content"
	"example.org/breakwater/proxy/explain"
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

// The sources of an image are in the order in which they are asked; the first that is up is said to be.
func TestTheImagePage(t *testing.T) {
	at := time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	x := explain.Explanation{Reference: "multi-dc-demo/app:v1", Project: "multi-dc-demo", Kind: "multi-dc", Homes: []string{"par1", "mad1"}, Notes: []string{"a note of <it>"}, Digest: "sha256:0123", Refused: "the client",
		Source: "peer-mad1", Said: explain.Asked, Age: 5, Freshness: 30, Version: &explain.Newest{At: at, Datacenter: "mad1"}, Answer: "peer-drp1 would be asked.",
		Route: []explain.Step{{Source: "harbor", Repo: "multi-dc-demo/app", State: "down", Says: "it does not answer"}, {Source: "peer-mad1", Repo: "multi-dc-demo/app", State: "paused", Usual: 0.2, Paused: 12},
			{Source: "peer-drp1", Repo: "multi-dc-demo/app", State: "up", Usual: 0.1}, {Source: "upstream-dockerhub", Repo: "demo/app", State: "up"}}}
	get := served(t, console.ImagePage(func(string) (explain.Explanation, error) { return x, nil }))
	_, page := get("/image?ref=multi-dc-demo/app:v1", "text/html")
	has(t, page, `<p class="answer">peer-drp1 would be asked\.</p>`, `a note of &lt;it&gt;`, `Refused a moment ago: the client`, `name="ref" value="multi-dc-demo/app:v1"`,
		`does not hold it</span><small class="mono break">sha256:0123</small><small>peer-mad1 said so 5 s ago; that is believed for 30 s<`,
		`(?s)<h3>The store of this edge</h3>.*>1</span><div><h3>harbor</h3>.*>2</span><div><h3>peer-mad1</h3>.*>3</span><div><h3>peer-drp1</h3>.*>4</span><div><h3>upstream-dockerhub</h3>`,
		`<li class="wrong">.*<h3>harbor</h3><span class="chip wrong">down</span>`, `it does not answer`, `chip warning">paused</span>`, `usually answers within 200 ms; left alone for 12 s more`,
		`<li class="first ok">.*<h3>peer-drp1</h3><span class="chip ok">up</span> <span class="chip">asked first</span>`, `there called <span class="mono break">demo/app</span></small><small>has not answered yet`,
		`<dt>Project</dt><dd>multi-dc-demo \(multi-dc\)`, `<dt>Homes</dt><dd>par1, mad1<`, `<dt>Newest</dt><dd>pushed in mad1 at 2026-11-28 06:00:00 UTC`)
	if n := strings.Count(page, "asked first"); n != 1 {
		t.Errorf("%d sources are asked first", n)
	}
	x.Held, x.Route = true, x.Route[:2]
	_, page = get("/image?ref=multi-dc-demo/app:v2", "text/html")
	if has(t, page, `<li class="ok">.*The store of this edge</h3><span class="chip ok">holds it`); strings.Contains(page, "asked first") {
		t.Error("one that is down or paused is asked first")
	}
}

// Every datacenter that could be the answer is on the page, with the reason why it is or is not.
func TestTheClientPage(t *testing.T) {
	e := gslb.Explanation{Name: "harbor.example.org.", Client: netip.MustParsePrefix("10.2.3.4/32"), Datacenter: "mad1", Tier: "primary", TTL: 30, Addresses: []netip.Addr{netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("10.2.0.2")},
		Candidates: []gslb.Candidate{{Datacenter: "mad1", Chosen: true, Why: "the answer, tier primary"}, {Datacenter: "par1", Why: "it is farther <away>"}, {Datacenter: "drp1", Why: "it is a backup"}}}
	e.Sentences = []string{"The client is in 10.2.0.0/16.", e.Candidates[1].Sentence(), e.Candidates[2].Sentence()}
	var asked []string
	get := served(t, console.ClientPage(func(_ context.Context, client, name string) (gslb.Explanation, error) {
		asked = append(asked, client+" "+name)
		return e, nil
	}))
	_, page := get("/client?client=10.2.3.4&name=harbor.example.org", "text/html")
	has(t, page, `<dt>The answer</dt><dd>mad1<`, `<dt>Addresses</dt><dd><span class="mono">10\.2\.0\.1</span> <span class="mono">10\.2\.0\.2<`, `<dt>Tier</dt><dd>primary<`, `<dt>Kept for</dt><dd>30 s<`, `harbor\.example\.org\. for 10\.2\.3\.4/32`,
		`(?s)<li class="first ok">.*<h3>mad1</h3><span class="chip ok">chosen</span><small class="break">the answer, tier primary<.*<li class="off">.*<h3>par1</h3><span class="chip ">not chosen</span><small class="break">it is farther &lt;away&gt;<.*<li class="off">.*<h3>drp1</h3><span class="chip ">not chosen</span><small class="break">it is a backup<`,
		`<ul class="sentences"><li class="break">The client is in 10\.2\.0\.0/16\.</li></ul>`)
	if len(asked) != 1 || asked[0] != "10.2.3.4 harbor.example.org" {
		t.Errorf("asked %q", asked)
	}
	e = gslb.Explanation{Name: "harbor.example.org.", Client: e.Client}
	_, page = get("/client?client=10.2.3.5", "text/html")
	has(t, page, `<dt>The answer</dt><dd>nobody<`, `<dt>Addresses</dt><dd>none<`, `No datacenter can be the answer\.`)
}

// Each change has its fields and what came of it; of very many the first are shown.
func TestTheChangesPage(t *testing.T) {
	key := func(datacenter, kind, name string) provision.Key {
		return provision.Key{Datacenter: datacenter, Kind: kind, Name: name}
	}
	app, robot, rule := key("par1", "project", "multi-dc-app"), key("mad1", "robot", "sync"), key("mad1", "replication", "to-par1")
	began := time.Now().Add(-90 * time.Second)
	last := provision.Last{Apply: &provision.Run{Began: began, Seconds: 3, Datacenters: []string{"par1", "mad1"}, Error: "a <harbor> refused",
		Plan: &provision.Plan{Faults: []provision.Fault{{Datacenter: "drp1", Message: "connection refused", Away: true}}, Notes: []string{"webhooks are off"}, Changes: []provision.Change{
			{Key: app, Action: provision.Update, Fields: []provision.FieldChange{{Name: "public", Have: "false", Want: "true"}, {Name: "quota", Want: "5 GiB"}}},
			{Key: robot, Action: provision.Create}, {Key: rule, Action: provision.Delete, Why: "it is not in the file"}}},
		Results: []provision.Result{{Key: app, Outcome: provision.Done}, {Key: robot, Outcome: provision.Failed, Why: "409: it is there"}, {Key: rule, Outcome: provision.Deferred}}}}
	none := ""
	get := func() (page string) {
		_, page = served(t, console.ChangesPage(func() (provision.Last, string, error) { return last, none, nil }))("/changes", "text/html")
		return page
	}
	page := get()
	has(t, page, `The last apply</h2>`, `UTC, [^<]* ago</time>, took 3 s, of par1, mad1 alone`, `chip ok">1 done<`, `chip wrong">1 failed<`, `chip warning">1 deferred<`, `It failed:</strong> a &lt;harbor&gt; refused`,
		`drp1 could not be read:</strong> connection refused`, `<li>webhooks are off</li>`, `The last plan</h2></header><p class="body dim">None is kept`)
	want := []map[string]string{
		{"Object": "multi-dc-app project", "Datacenter": "par1", "Action": "update", "Fields": "public: false -> true quota: (nothing) -> 5 GiB", "Outcome": "done"},
		{"Object": "sync robot", "Datacenter": "mad1", "Action": "create", "Fields": "none", "Outcome": "failed 409: it is there"},
		{"Object": "to-par1 replication", "Datacenter": "mad1", "Action": "delete", "Fields": "none", "Outcome": "deferred it is not in the file"}}
	if rows := tableOf(t, page, "Changes"); !slices.EqualFunc(rows, want, sameRow) {
		t.Errorf("%v; want %v", rows, want)
	}
	last = provision.Last{Plan: &provision.Run{Began: began, Plan: &provision.Plan{}}}
	for i := range 207 {
		last.Plan.Plan.Changes = append(last.Plan.Plan.Changes, provision.Change{Key: key("par1", "project", fmt.Sprintf("p%d", i)), Action: provision.Create})
	}
	page = get()
	if rows := tableOf(t, page, "Changes"); len(rows) != 200 || rows[199]["Object"] != "p199 project" || rows[199]["Outcome"] != "only planned" {
		t.Errorf("%d rows, the last %v", len(rows), rows[len(rows)-1])
	}
	has(t, page, `207 create<`, `And 7 more: <code>breakwater provision last`)
	last, none = provision.Last{}, "Neither plan nor apply has run."
	has(t, get(), `Neither plan nor apply has run\.`)
}
