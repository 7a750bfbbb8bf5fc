package status_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/operator"
)

const key = "the key of all edges, which has 32 bytes or more"

// report is that of an edge that is well.
func report(datacenter, fleet string) operator.Report {
	now := time.Now().UTC()
	return operator.Report{
		Datacenter: datacenter, Instance: datacenter + "-1-ABCDEFGH", Version: "1.0.0", Started: now.Add(-time.Hour), Time: now, Fleet: fleet,
		Config: operator.Config{Read: now.Add(-time.Hour)}, Serving: true, Harbor: operator.Harbor{Up: true, Since: now.Add(-time.Hour), Components: map[string]string{"core": "healthy", "jobservice": "healthy"}},
		Store: operator.Store{Bytes: 1 << 30, Size: 2 << 30, Free: 8 << 30}, Hits: operator.Hits{Start: operator.Ratio{Hits: 3, Of: 4}, Recent: operator.Ratio{Hits: 9, Of: 10}},
		Peers: []operator.Peer{{Datacenter: "x", State: hello.OK}},
	}
}

// node answers operators with a report, by the clock of the moment.
func node(t *testing.T, datacenter string, of func() operator.Report) http.Handler {
	t.Helper()
	ring, err := keyring.New(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return &signed.Handler{Ring: ring, Self: operator.Name(datacenter), Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != operator.Path+"status" {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(of()) //nolint:errcheck // a test's
	})}
}

// asker asks the edges at the addresses, two datacenters.
func asker(t *testing.T, par1, mad1 string) *status.Asker {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("domain: harbor.example.org\ndatacenters:\n  par1: { harbor: \"https://harbor.par1.example.org\", edge: %q }\n  mad1: { harbor: \"https://harbor.mad1.example.org\", edge: %q }\nedge: { plain_http: true, peers: { key: \"file:%s/key\" } }\n", par1, mad1, dir)
	f, err := fleet.Load("fleet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &status.Asker{Fleet: f, From: "ann@desk", Base: "https://runbooks.example.org/"}
}

// of makes the asker of two edges, whose reports are what change makes of them.
func of(t *testing.T, change func(par1, mad1 *operator.Report)) *status.Asker {
	t.Helper()
	var a *status.Asker
	reports := func(which int) func() operator.Report {
		return func() operator.Report {
			both := [2]operator.Report{report("par1", a.Fleet.Hash()), report("mad1", a.Fleet.Hash())}
			change(&both[0], &both[1])
			return both[which]
		}
	}
	par1, mad1 := httptest.NewServer(node(t, "par1", reports(0))), httptest.NewServer(node(t, "mad1", reports(1)))
	t.Cleanup(par1.Close)
	t.Cleanup(mad1.Close)
	a = asker(t, par1.URL, mad1.URL)
	a.Fleet.GSLB = &fleet.GSLB{Listen: ":53"} // none of the datacenters has a name server
	return a
}

// What an edge reports is found, and said in a sentence with its page.
func TestWhatEdgesReport(t *testing.T) {
	in := func(d time.Duration) *time.Time {
		at := time.Now().Add(d)
		return &at
	}
	const day = 24 * time.Hour
	judged(t, map[string]reported{
		"a certificate that has ended": {func(p, _ *operator.Report) { p.Certificate = in(-time.Hour) }, "certificate ends", "has ended", status.Wrong},
		"one that ends in two days":    {func(p, _ *operator.Report) { p.Certificate = in(2*day + time.Hour) }, "certificate ends", "ends in 2 days", status.Wrong},
		"one that ends in ten":         {func(p, _ *operator.Report) { p.Certificate = in(10*day + time.Hour) }, "certificate ends soon", "ends in 10 days", status.Warning},
		"a clock":                      {func(p, _ *operator.Report) { p.Time = p.Time.Add(20 * time.Second) }, "clock is off", "by 20 s", status.Warning},
		"a disk that hangs":            {func(p, _ *operator.Report) { p.Store.Hanging = true }, "store hangs", "does not answer", status.Wrong},
		"a disk that refuses":          {func(p, _ *operator.Report) { p.Store.Degraded = true }, "store degraded", "refuses", status.Wrong},
		"a disk that is too small":     {func(p, _ *operator.Report) { p.Store.Free = 100 << 20 }, "disk fills", "may take 1.0 GiB more, and its disk has 100 MiB", status.Warning},
		"a file that was not taken":    {func(p, _ *operator.Report) { p.Config.Fault = "fleet.yaml:3: no." }, "fleet file not taken", "fleet.yaml:3: no", status.Warning},
		"outage tokens":                {func(p, _ *operator.Report) { p.Outage = operator.Outage{Tokens: 7, Last: in(-time.Minute)} }, "outage tokens", "no Harbor can: 7, the last", status.Warning},
		"a follower that gave up":      {func(p, _ *operator.Report) { p.Follow.GivenUp = 2 }, "harbor not following", "of 2 tags", status.Warning},
		"a Harbor that is behind":      {func(p, _ *operator.Report) { p.Follow.Pending, p.Follow.Oldest = 2, 7300 }, "harbor behind", "of 2 tags, of one for 2 h", status.Warning},
		"one for a moment":             {func(p, _ *operator.Report) { p.Follow.Pending, p.Follow.Oldest = 2, 600 }, "", "", status.Well},
		"pulls that are not counted":   {func(p, _ *operator.Report) { p.Touches = &operator.Touches{Pending: 5, Oldest: 25 * 3600} }, "pulls not counted", "5 pulls, one of them for 25 h", status.Warning},
		"a peer that has not heard": {func(p, _ *operator.Report) {
			p.Announce = []operator.Announced{{Datacenter: "mad1", Pending: 3, Waiting: 180}}
		}, "announcements wait", "mad1 has not heard", status.Warning},
		"a peer with another key": {func(p, _ *operator.Report) {
			p.Peers[0] = operator.Peer{Datacenter: "mad1", State: hello.Key, Says: "another edge.peers.key"}
		}, "key differs", "the edge says: another edge.peers.key.", status.Wrong},
		"a peer with another clock": {func(p, _ *operator.Report) {
			p.Peers[0] = operator.Peer{Datacenter: "mad1", State: hello.Clock, Says: "set both by NTP"}
		}, "clock differs", "the edge says: set both by NTP.", status.Wrong},
		"a peer's certificate": {func(p, _ *operator.Report) {
			p.Peers[0] = operator.Peer{Datacenter: "mad1", State: hello.Certificate, Says: "does not believe"}
		}, "certificate bad", "the edge says: does not believe.", status.Wrong},
		"a component":          {func(p, _ *operator.Report) { p.Harbor.Components["jobservice"] = "unhealthy" }, "component unhealthy", "jobservice", status.Warning},
		"Harbor, that is down": {func(p, _ *operator.Report) { p.Harbor.Up, p.Harbor.Components["core"] = false, "unhealthy" }, "harbor down", "for 60 min: core", status.Wrong},
		"an upstream":          {func(p, _ *operator.Report) { p.Sources = []operator.Source{{Name: "upstream-quay.io"}} }, "source down", "upstream-quay.io", status.Warning},
		"one that refuses the login": {func(p, _ *operator.Report) {
			p.Sources = []operator.Source{{Name: "upstream-quay.io", Up: true, Refuses: true}}
		}, "login refused", "upstream-quay.io refuses the credentials that the edge has", status.Warning},
		"one that asked for a pause": {func(p, _ *operator.Report) {
			p.Sources = []operator.Source{{Name: "upstream-quay.io", Up: true, Paused: 60}}
		}, "source paused", "of 60 s", status.Well},
		"a drain": {func(p, _ *operator.Report) {
			p.Serving, p.Drain = false, &operator.Order{By: "bob@desk", Reason: "new switches"}
		}, "draining", "bob@desk said so: new switches", status.Well},
		"an edge that stops":  {func(p, _ *operator.Report) { p.Serving, p.Leaving = false, true }, "draining", "about to stop", status.Well},
		"another version":     {func(_, m *operator.Report) { m.Version = "1.1.0" }, "versions differ", "1.0.0 (the edge of par1); 1.1.0 (the edge of mad1)", status.Warning},
		"another fleet file":  {func(_, m *operator.Report) { m.Fleet = "00000000" }, "fleet files differ", "00000000 (the edge of mad1)", status.Warning},
		"the fleet file here": {func(p, m *operator.Report) { p.Fleet, m.Fleet = "00000000", "00000000" }, "fleet files differ", "The fleet file here", status.Warning},
		"an edge that has not read the next key": {func(p, m *operator.Report) {
			p.Keys, m.Keys = []string{"22222222", "11111111"}, []string{"11111111"}
		}, "keys differ", "11111111 (the edge of mad1); 22222222, before it 11111111 (the edge of par1)", status.Warning},
		"nothing": {func(_, _ *operator.Report) {}, "", "", status.Well},
		"a backlog of a moment": {func(p, _ *operator.Report) {
			p.Announce = []operator.Announced{{Datacenter: "mad1", Pending: 3, Waiting: 10}}
		}, "", "", status.Well},
		"tokens of an outage that is over": {func(p, _ *operator.Report) { p.Outage = operator.Outage{Tokens: 7, Last: in(-time.Hour)} }, "", "", status.Well},
		"a clock that is nearly right":     {func(p, _ *operator.Report) { p.Time = p.Time.Add(3 * time.Second) }, "", "", status.Well},
	})
}

// What a machine finds wrong with what its daemon needs is said, unless the report shows it.
func TestWhatAMachineLacks(t *testing.T) {
	judged(t, map[string]reported{
		"a robot that Harbor refuses": {func(p, _ *operator.Report) {
			p.Lacks = []daemon.Lack{{ID: "robot.login", Fault: true, What: "Harbor refuses robot$breakwater-edge", Do: "write its secret"}}
		}, "lacks", "the edge: Harbor refuses robot$breakwater-edge; write its secret", status.Wrong},
		"a warning of a machine's": {func(p, _ *operator.Report) {
			p.Lacks = []daemon.Lack{{ID: "admin.everywhere", What: "edge.admin is reachable from elsewhere"}}
		}, "lacks little", "edge.admin is reachable from elsewhere", status.Warning},
		"a field that needs a restart": {func(p, _ *operator.Report) {
			p.Lacks = []daemon.Lack{{ID: "files.restart", What: "changed in the fleet file, and not in force: edge.store.size", Do: "restart it"}}
		}, "fleet file not taken", "the edge: changed in the fleet file, and not in force: edge.store.size; restart it.", status.Warning},
		"what the report shows itself": {func(p, _ *operator.Report) {
			p.Lacks = []daemon.Lack{{ID: "harbor.refused", Fault: true, What: "Harbor is down"}, {ID: "certificate.ended", Fault: true}}
		}, "", "", status.Well},
	})
}

// reported is a change of what two edges report, and what is to be found: one thing, or nothing.
type reported struct {
	change     func(par1, mad1 *operator.Report)
	kind, says string
	severity   status.Severity
}

func judged(t *testing.T, cases map[string]reported) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := of(t, c.change).Ask(t.Context())
			if c.kind == "" {
				if f.Verdict != status.Well || len(f.Findings) > 0 {
					t.Errorf("%s: %+v; want nothing", f.Verdict, f.Findings)
				}
				return
			}
			if f.Verdict != c.severity || len(f.Findings) != 1 {
				t.Fatalf("%s, and %+v; want %s, and one finding", f.Verdict, f.Findings, c.severity)
			}
			if x := f.Findings[0]; x.Kind != c.kind || !strings.Contains(x.Sentence, c.says) || !strings.HasPrefix(x.Runbook, "https://runbooks.example.org/") {
				t.Errorf("%+v; want %q: %q", x, c.kind, c.says)
			}
		})
	}
}

// Each page and heading that a finding leads to exists.
func TestEveryRunbookExists(t *testing.T) {
	for _, page := range status.Pages() {
		file, anchor, _ := strings.Cut(page, "#")
		text, err := os.ReadFile("../../../deploy/runbooks/" + file)
		if err != nil {
			t.Error(err)
			continue
		}
		found := anchor == ""
		for line := range strings.Lines(string(text)) {
			heading, is := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
			found = found || is && strings.HasPrefix(line, "#") && strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-") == anchor
		}
		if !found {
			t.Errorf("%s has no heading %q", file, anchor)
		}
	}
}

// Replicas are told apart, and one that has two addresses is one.
func TestReplicas(t *testing.T) {
	for name, c := range map[string]struct {
		instances [2]string
		rows      int
	}{"two": {[2]string{"a", "b"}, 2}, "one, at two addresses": {[2]string{"a", "a"}, 1}} {
		t.Run(name, func(t *testing.T) {
			var a *status.Asker
			var addresses []string
			port := 0
			for i, instance := range c.instances {
				l, err := net.Listen("tcp", fmt.Sprintf("127.0.61.%d:%d", i+1, port))
				if err != nil {
					t.Skip("this system has one loopback address")
				}
				at := l.Addr().(*net.TCPAddr)
				port, addresses = at.Port, append(addresses, at.IP.String())
				server := &http.Server{Handler: node(t, "par1", func() operator.Report {
					r := report("par1", a.Fleet.Hash())
					r.Instance = instance
					return r
				})}
				go server.Serve(l) //nolint:errcheck // it ends with the test
				defer server.Close()
			}
			a = asker(t, fmt.Sprintf("http://edge.par1.example.org:%d", port), "http://127.0.0.1:1")
			a.Resolver = resolver(t, addresses)
			if edges := a.Ask(t.Context()).Datacenters[0].Edges; len(edges) != c.rows || edges[0].Report == nil {
				t.Errorf("%d rows; want %d: %+v", len(edges), c.rows, edges)
			}
		})
	}
}

// A certificate that clients would refuse is said, and why.
func TestACertificateThatHasEnded(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = nil
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}
	server.StartTLS()
	defer server.Close()
	a := asker(t, server.URL, "http://127.0.0.1:1")
	a.Fleet.Harbor.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(a.Fleet.Harbor.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	f := a.Ask(t.Context())
	at := slices.IndexFunc(f.Findings, func(x status.Finding) bool { return x.Datacenter == "par1" })
	if x := f.Findings[at]; x.Kind != "certificate bad" || x.Datacenter != "par1" || !strings.Contains(x.Sentence, "expired") {
		t.Errorf("%+v", x)
	}
}

// The names of the JSON object are read by others, and the screen by people.
func TestTheScreenAndTheNames(t *testing.T) {
	a := of(t, func(p, m *operator.Report) {
		p.Certificate, m.Store.Degraded = nil, true
		deletes := 12
		p.Touches = &operator.Touches{Pending: 41, Oldest: 3 * 3600}
		p.Follow = operator.Follow{Pending: 3, Oldest: 240, Projects: map[string]int{"multi-dc-demo": 3}, Tombstones: &deletes}
		p.Announce = []operator.Announced{{Datacenter: "mad1", Pending: 2, Waiting: 40}, {Datacenter: "y"}}
		m.Peers = append(m.Peers, operator.Peer{Datacenter: "y", State: hello.Unreachable, Says: "the edge of y does not answer: no route; see the network"})
	})
	f := a.Ask(t.Context())
	f.Time = f.Time.Truncate(time.Second)
	for i := range f.Datacenters {
		f.Datacenters[i].Edges[0].Addresses, f.Datacenters[i].Edges[0].Report.Started = []string{"127.0.0.1:443"}, f.Time.Add(-3*time.Hour)
	}
	var screen bytes.Buffer
	if err := f.Print(&screen, status.Plain); err != nil {
		t.Fatal(err)
	}
	got := strings.Replace(screen.String(), f.Time.Local().Format(time.DateTime), "2026-01-02 03:04:05", 1)
	golden(t, "screen.golden", got)
	var names []string
	value := map[string]any{}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	walk(value, "", &names)
	golden(t, "names.golden", strings.Join(names, "\n")+"\n")
}
