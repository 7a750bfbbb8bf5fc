package console_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"example.org/breakwater/cmd/internal/console"
	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/gslb"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/operator"
)

// text is what a person reads of an element, in one line.
func text(n *html.Node) string {
	var words []string
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			words = append(words, strings.Fields(d.Data)...)
		}
	}
	return strings.Join(words, " ")
}

// tableOf reads the table with a caption: its rows, each by the headings of the columns.
func tableOf(t *testing.T, page, caption string) (rows []map[string]string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var table *html.Node
	for n := range root.Descendants() {
		if n.Data == "caption" && strings.HasPrefix(text(n), caption) {
			table = n.Parent
		}
	}
	if table == nil {
		t.Fatalf("no table %q in\n%s", caption, page)
	}
	var headings []string
	for n := range table.Descendants() {
		if n.Data != "tr" {
			continue
		}
		var cells []string
		for cell := range n.ChildNodes() {
			if cell.Type == html.ElementNode {
				cells = append(cells, text(cell))
			}
		}
		if n.Parent.Data == "thead" {
			headings = cells
			continue
		}
		row := map[string]string{}
		for i, cell := range cells {
			row[headings[i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

// noon is when the fleet is looked at.
func noon() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }

// illFleet is one with something of all that may be wrong.
func illFleet() *status.Fleet {
	now := noon()
	soon, over := now.Add(3*24*time.Hour+time.Minute), now.Add(-time.Hour)
	f := &status.Fleet{Domain: "harbor.example.org", Time: now, Verdict: status.Wrong,
		Findings: []status.Finding{
			{Severity: status.Wrong, Kind: "store degraded", Datacenter: "par1", Sentence: "The disk of par1 is <full>.", Runbook: "https://example.org/runbooks/alerts.md#store"},
			{Severity: status.Warning, Kind: "component unhealthy", Datacenter: "par1", Sentence: "jobservice of par1 is ill.", Runbook: "https://example.org/runbooks/alerts.md#harbor"},
			{Severity: status.Note, Kind: "draining", Datacenter: "par1", Sentence: "ann@desk drains par1.", Runbook: "https://example.org/runbooks/drain-datacenter.md"}},
		Datacenters: []status.Datacenter{
			{Name: "par1", Role: "primary", Named: status.Networks{Count: 3, Of: 5}, Edges: []status.Edge{
				{Report: &operator.Report{Datacenter: "par1", Instance: "edge-a", Version: "1.2.3", Time: now, Serving: true, Requests: 5,
					Harbor: operator.Harbor{Up: true, Components: map[string]string{"core": "healthy", "database": "healthy", "jobservice": "unhealthy"}},
					Store:  operator.Store{Bytes: 100 << 30, Size: 100 << 30, Free: 0, Degraded: true},
					Hits:   operator.Hits{Recent: operator.Ratio{Hits: 90, Of: 100}},
					Peers:  []operator.Peer{{Datacenter: "mad1", State: hello.OK}, {Datacenter: "drp1", State: hello.OK}}, Certificate: &soon,
					Announce: []operator.Announced{{Datacenter: "drp1", Pending: 4}}, Follow: operator.Follow{Pending: 2, GivenUp: 1}, Touches: &operator.Touches{Pending: 7}}},
				{Report: &operator.Report{Datacenter: "par1", Instance: "edge-b", Version: "1.2.4", Time: now, Drain: &operator.Order{By: "ann@desk", Reason: "new switches", Since: now.Add(-10 * time.Minute)},
					Harbor: operator.Harbor{Since: now.Add(-2 * time.Minute), Why: "connection refused", Components: map[string]string{"core": "unhealthy"}}, Store: operator.Store{Bytes: 1 << 30, Free: 5 << 30, Hanging: true}, Certificate: &over,
					Peers: []operator.Peer{{Datacenter: "mad1", State: hello.OK}, {Datacenter: "drp1", State: hello.Unreachable, Says: "drp1 does not answer."}}}}}},
			{Name: "mad1", Role: "primary", Named: status.Networks{Count: 2, Of: 5}, Edges: []status.Edge{{Addresses: []string{"10.2.0.1:443", "10.2.0.2:443"}, Why: "it has another key", Fault: status.FaultKey, Health: &proxy.Health{Harbor: "up", Store: "ok"}}}},
			{Name: "drp1", Role: "backup", Named: status.Networks{Of: 5}, Edges: []status.Edge{{Addresses: []string{"10.3.0.1:443"}, Why: "connection refused", Fault: status.FaultRefused}}},
			{Name: "bcn1", Role: "backup"}}}
	said := func(node string) []steer.Seen {
		return []steer.Seen{{Node: node, Report: &gslb.Report{Overrides: []gslb.Held{{Override: gslb.Override{Datacenter: "drp1", Mode: gslb.Drain, By: "ann@desk", Reason: "new disks"}, Holds: true},
			{Override: gslb.Override{Datacenter: "mad1", Name: "harbor.example.org.", Mode: gslb.Up}, Why: "nobody else is left"}}}}}
	}
	f.NameServers = []status.NameServer{
		{Datacenter: "par1", Answers: []status.Answer{{Datacenter: "par1"}, {Network: "10.2.0.0/16", Home: "mad1", Datacenter: "par1"}, {Network: "10.3.0.0/16", Home: "drp1"}}, Reports: said("par1")},
		{Datacenter: "mad1", Answers: []status.Answer{{Datacenter: "mad1"}, {Network: "10.2.0.0/16", Home: "mad1", Datacenter: "mad1"}, {Network: "10.3.0.0/16", Home: "drp1", Datacenter: "mad1"}}, Reports: said("mad1")},
		{Datacenter: "drp1", Address: "10.3.0.1:53", Fault: status.FaultSilent, Why: "no answer within 1 s"}}
	return f
}

// What the page of the fleet promises is in it: a row for each instance with all columns, what is
// wrong with its runbook, and the same as a drawing.
func TestTheFleetPage(t *testing.T) {
	get := served(t, console.FleetPage(func(context.Context) *status.Fleet { return illFleet() }))
	code, page := get("/fleet", "text/html")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, page)
	}
	for i, want := range []map[string]string{
		{"Datacenter": "par1 replica 1 of 2", "DNS share": "3 of 5 networks", "Edge": "serves edge-a 1.2.3, 5 requests now", "Harbor": "up, in part jobservice: unhealthy 2 of 3 components healthy core: healthy database: healthy jobservice: unhealthy",
			"Store": "degraded 100 GiB of 100 GiB 0 B free on disk 90 % hits of 100, 10 min", "Peers": "mad1 : ok drp1 : ok", "Certificate": "3 days left",
			"Not yet told": "4 announcements to drp1 2 tags to its Harbor 1 tag given up 7 pulls to its Harbor"},
		{"Datacenter": "par1 replica 2 of 2", "DNS share": "3 of 5 networks", "Edge": "drains for 10 min, ann@desk said so: new switches edge-b 1.2.4", "Harbor": "down for 2 min: connection refused 0 of 1 components healthy core: unhealthy",
			"Store": "hangs 1.0 GiB 5.0 GiB free on disk", "Peers": "mad1 : ok drp1 : drp1 does not answer.", "Certificate": "has ended", "Not yet told": "nothing"},
		{"Datacenter": "mad1 primary", "DNS share": "2 of 5 networks", "Edge": "serves it has another key 10.2.0.1:443, 10.2.0.2:443", "Harbor": "up", "Store": "not known", "Peers": "not known", "Certificate": "not known", "Not yet told": "not known"},
		{"Datacenter": "drp1 backup", "DNS share": "0 of 5 networks", "Edge": "no answer connection refused 10.3.0.1:443", "Harbor": "not known", "Store": "not known", "Peers": "not known", "Certificate": "not known", "Not yet told": "not known"},
		{"Datacenter": "bcn1 backup", "DNS share": "The fleet file has no address of its edge."},
	} {
		rows := tableOf(t, page, "Datacenters")
		if len(rows) != 5 {
			t.Fatalf("%d rows", len(rows))
		}
		for column, cell := range want {
			if rows[i][column] != cell {
				t.Errorf("row %d, %s: %q; want %q", i+1, column, rows[i][column], cell)
			}
		}
	}
	has(t, page, `<dt>The fleet</dt><dd><span class="verdict chip wrong">is not well`, `<dt>Edges that serve</dt><dd>2 <span class="note">of 4`, `<dt>Harbors up</dt><dd>2 <span class="note">of 4`,
		`<dt>Name servers</dt><dd>2 <span class="note">of 3`, `<dt>From the store</dt><dd>90 % <span class="note">of 100 reads`, `<dt>Requests now</dt><dd>5<`,
		`(?s)3, worst first.*<li class="wrong">.*The disk of par1 is &lt;full&gt;\..*href="https://example\.org/runbooks/alerts\.md#store".*<li class="warning">.*jobservice of par1 is ill\..*alerts\.md#harbor".*<li class="note">.*ann@desk drains par1\..*drain-datacenter\.md"`,
		`<details id="components-par1-0"><summary>2 of 3 components healthy</summary><ul class="chips"><li class="chip ok">core: healthy<.*<li class="chip wrong">jobservice: unhealthy<`,
		`chip wrong" title="the disk refuses what is pulled">degraded`, `chip warning" title="2026-12-01">3 days left`, `chip wrong" title="2026-11-28">has ended`, `<rect class="fill" width="100"`,
		`chip wrong">drp1</span> <span class="break">no answer within 1 s \(10\.3\.0\.1:53\)`)

	reach := tableOf(t, page, "Who reaches whom")
	if want := []map[string]string{{"From": "par1", "To": "mad1", "State": "works"}, {"From": "par1", "To": "drp1", "State": "does not drp1 does not answer."}}; !slices.EqualFunc(reach, want, sameRow) {
		t.Errorf("who reaches whom: %v; want %v", reach, want)
	}
	has(t, page, `aria-label="Who reaches whom: of 2 ways between edges 1 work and 1 do not\.`, `<g class="way ok"><title>par1 to mad1: ok</title><path class="line" d="M`,
		`<g class="way wrong"><title>par1 to drp1: drp1 does not answer\.</title><path class="line" d="M[^>]*><path class="head" d="M[^>]*><circle`,
		`<g class="node ok">.*>par1</text><text[^>]*>3 of 5 networks<`, `<g class="node wrong">.*>✕ drp1</text>`, `<g class="node wrong">.*>✕ bcn1</text>`)
	dns := tableOf(t, page, "What DNS answers")
	if want := []map[string]string{{"Clients of": "elsewhere", "par1": "par1", "mad1": "mad1"}, {"Clients of": "10.2.0.0/16 at home in mad1", "par1": "par1", "mad1": "mad1"}, {"Clients of": "10.3.0.0/16 at home in drp1", "par1": "nobody", "mad1": "mad1"}}; !slices.EqualFunc(dns, want, sameRow) {
		t.Errorf("what DNS answers: %v; want %v", dns, want)
	}
	has(t, page, `chip warning" title="not its home">par1`, `chip " title="its home is a backup">mad1`)
	for _, said := range []string{`chip warning">drain</span> drp1 by ann@desk: new disks</p>`, `chip warning">up</span> mad1 for harbor\.example\.org\. <span class="break">does not hold, nobody else is left</span></p>`} {
		has(t, page, said)
	}
	if n := strings.Count(page, "new disks"); n != 1 {
		t.Errorf("what two name servers say alike is said %d times", n)
	}
}

func sameRow(a, b map[string]string) bool {
	for column := range b {
		if a[column] != b[column] {
			return false
		}
	}
	return len(a) == len(b)
}
