package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v4"

	"example.org/breakwater/internal/fleet"
)

const (
	observability = "../../deploy/observability/"
	// A minute of a rule's patience is two seconds here, where probes, scrapes and rules
	// go every second.
	minute = 2 * time.Second
	// What fires, or that nothing does, is believed after it has stayed so for this long.
	briefly = 3 * time.Second
	long    = 12 * time.Second // longer than the patience of every alert of five minutes
)

// provisioned is what provision has said to a textfile collector; README.md lists it.
const provisioned = `breakwater_provision_changes{datacenter="par1"} 0
breakwater_provision_changes{datacenter="mad1"} 0
breakwater_provision_faults{datacenter="par1"} 0
breakwater_provision_faults{datacenter="mad1"} 0
breakwater_provision_objects 42
breakwater_provision_duration_seconds 1.5
breakwater_provision_last_success_timestamp_seconds %d
`

// watched is a fleet of processes before the lab's Harbors, and a Prometheus with the
// rules of deploy/observability that watches it.
type watched struct {
	*delegated
	prometheus string
	begun      time.Time
	clients    []func() // what clients do all the time
}

// TestAlerts breaks a fleet in front of a real Prometheus. What is broken raises
// exactly its alert, which ends when it is mended.
func TestAlerts(t *testing.T) {
	if testing.Short() || os.Getenv("CI") != "true" {
		t.Skip("waits minutes for alerts; CI=true runs it")
	}
	t.Parallel()
	need(t, "prometheus")
	need(t, "crane")
	w := &watched{begun: time.Now(), delegated: &delegated{fleetUnderTest: startLab(t), t: t, home: t.TempDir(), program: bin(t, "breakwater"),
		edges: map[string]*server{}, gslbs: map[string]*server{}}}
	if w.Datacenters[0].GSLB == "" {
		t.Skip("this system has one loopback address")
	}
	scraped := w.chooseAddresses(t)
	for _, d := range w.Datacenters {
		w.startEdge(t, d.Name)
		w.startGSLB(t, d.Name)
	}
	w.startPrometheus(t, scraped)
	w.startClients(t)

	w.fires(t, long)
	for _, c := range []struct {
		name         string
		broken, mend func(t *testing.T)
		alerts       []string
	}{
		{"a Harbor is down", func(t *testing.T) { fault(t, w.Datacenters[0].Faults, `[{"name":"down"}]`) }, nil, []string{"HarborDown par1"}},
		{"an edge is killed", func(t *testing.T) { w.signal(t, w.edges["mad1"], syscall.SIGKILL) }, func(t *testing.T) { w.startEdge(t, "mad1") },
			[]string{"DatacenterEdgesDown mad1", "DatacenterOut mad1"}},
		{"a name server is killed", func(t *testing.T) { w.signal(t, w.gslbs["drp1"], syscall.SIGKILL) }, func(t *testing.T) { w.startGSLB(t, "drp1") },
			[]string{"NameServerDown drp1"}},
		{"one name server does not get to a datacenter", func(t *testing.T) {
			w.edit(t, "mad1: { role: primary", `mad1: { role: primary, probe: "tcp://127.0.20.1:1"`)
		},
			func(t *testing.T) { w.edit(t, `, probe: "tcp://127.0.20.1:1"`, "") }, []string{"NameServersDisagree mad1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.broken(t)
			w.fires(t, briefly, c.alerts...)
			if c.mend != nil {
				c.mend(t)
			}
		})
		w.fires(t, briefly)
	}
	// What is seen in rates lasts as long as their windows: nothing comes after this.
	t.Run("all that edges ask is down", w.allIsDown)
	t.Run("what rules and dashboards ask for is there", w.asksForWhatIsThere)
}

// chooseAddresses gives the edges and name servers of this test the lab's fleet files,
// but for the addresses, and returns what stands for them in the example of what to scrape.
func (w *watched) chooseAddresses(t *testing.T) (scraped []string) {
	t.Helper()
	var others []string
	for i := range w.Datacenters {
		d := &w.Datacenters[i]
		f, err := fleet.ReadFile(d.Fleet)
		if err != nil {
			t.Fatal(err)
		}
		fresh := map[string]string{}
		for _, address := range []string{f.Edge.Listen, f.Edge.Metrics, f.Edge.Admin, f.GSLB.Listen, f.GSLB.Metrics, f.GSLB.Admin} {
			host, _, _ := net.SplitHostPort(address)
			listener, err := net.Listen("tcp", host+":0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			fresh[address] = listener.Addr().String()
			others = append(others, address, fresh[address])
		}
		others = append(others, filepath.Dir(d.Fleet)+"/", filepath.Join(w.home, d.Name)+"/")
		d.Edge, d.GSLB, d.Steer = "http://"+fresh[f.Edge.Listen], fresh[f.GSLB.Listen], fresh[f.GSLB.Admin]
		scraped = append(scraped, "edge."+d.Name+".example.org:9090", fresh[f.Edge.Metrics], "ns-"+d.Name+".harbor.example.org:9092", fresh[f.GSLB.Metrics])
	}
	for _, d := range w.Datacenters {
		text, err := os.ReadFile(d.Fleet)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, filepath.Join(d.Name, "fleet.yaml"), strings.NewReplacer(others...).Replace(string(text)))
	}
	return scraped
}

func (w *watched) write(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(w.home, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// edit changes the fleet file of par1's name server, which takes it at once.
func (w *watched) edit(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.home, "par1", "fleet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%q is not in\n%s", from, text)
	}
	w.write(t, "par1/fleet.yaml", strings.Replace(string(text), from, to, 1))
}

// startPrometheus starts one with the configuration and the rules of deploy/observability,
// but for the addresses, and with less patience.
func (w *watched) startPrometheus(t *testing.T, scraped []string) {
	t.Helper()
	ops := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, provisioned, time.Now().Unix())
	}))
	t.Cleanup(ops.Close)
	const nobody = "127.0.0.1:1"
	scraped = append(scraped, "ops.example.org:9100", ops.Listener.Addr().String(), "alertmanager.example.org:9093", nobody, ": 15s", ": 1s")
	config, err1 := os.ReadFile(observability + "prometheus.yaml")
	rules, err2 := os.ReadFile(observability + "rules.yaml")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	w.write(t, "prometheus.yaml", strings.NewReplacer(scraped...).Replace(string(config)))
	w.write(t, "rules.yaml", regexp.MustCompile(`for: [0-9]+[mh]`).ReplaceAllStringFunc(string(rules), func(text string) string {
		patience, err := time.ParseDuration(strings.TrimPrefix(text, "for: "))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("for: %ds", int(patience.Minutes()*minute.Seconds()))
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	w.prometheus = "http://" + address
	w.start(t, "prometheus", "--config.file", filepath.Join(w.home, "prometheus.yaml"), "--storage.tsdb.path", filepath.Join(w.home, "tsdb"), "--web.listen-address", address, "--log.level", "warn")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(w.prometheus + "/-/ready")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK && w.targetsUp(t) == 2*len(w.Datacenters)+1 {
			return
		}
	}
	t.Fatal("Prometheus does not see the fleet")
}

func (w *watched) targetsUp(t *testing.T) (n int) {
	t.Helper()
	var data struct{ ActiveTargets []struct{ Health string } }
	w.get(t, "/api/v1/targets", nil, &data)
	for _, target := range data.ActiveTargets {
		if target.Health == "up" {
			n++
		}
	}
	return n
}

// startClients pulls everything through every edge once; from then on clients ask
// name servers and pull, whenever the test looks at its alerts.
func (w *watched) startClients(t *testing.T) {
	t.Helper()
	crane, home := need(t, "crane"), t.TempDir()
	for i, d := range w.Datacenters {
		w.serving(t, w.program, d)
		for _, image := range w.Images {
			if strings.HasPrefix(image, "cache-") {
				output(t, clientCommand(t, home, crane, "pull", "--insecure", w.edge(i)+"/"+image, filepath.Join(home, "image.tar")))
			}
		}
		token := w.token(t, d, "cache-dockerhub/library/hello", "", "")
		w.clients = append(w.clients, func() {
			for _, network := range []string{"udp", "tcp"} { // the server may be dead: the alerts say what that is
				exchange(t, network, d.GSLB, w.Domain+".", dns.TypeA, "10.1.2.0/24", 200*time.Millisecond) //nolint:errcheck // see above
			}
			w.ask(t, d.Edge+"/v2/cache-dockerhub/library/hello/manifests/latest", token)
		})
	}
}

// token is what an edge's token service gives; "" if it gives none.
func (w *watched) token(t *testing.T, d datacenterReport, repo, name, secret string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.Edge+"/service/token?service=harbor-registry&scope=repository:"+repo+":pull", nil)
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		req.SetBasicAuth(name, secret)
	}
	var answer struct{ Token string }
	if resp, err := http.DefaultClient.Do(req); err == nil {
		json.NewDecoder(resp.Body).Decode(&answer) //nolint:errcheck // then there is none
		resp.Body.Close()
	}
	return answer.Token
}

// ask asks an edge, whatever it answers.
func (w *watched) ask(t *testing.T, url, token string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // see above
		resp.Body.Close()
	}
}

// get asks Prometheus.
func (w *watched) get(t *testing.T, path string, values url.Values, into any) {
	t.Helper()
	resp, err := http.Get(w.prometheus + path + "?" + values.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s %s: %v %s", path, values, err, answer.Error)
	}
}

// firing are the alerts that fire, each with what it is about, and since when Prometheus
// has known no other.
func (w *watched) firing(t *testing.T) (names []string, evaluated time.Time) {
	t.Helper()
	type alert struct {
		State               string
		Labels, Annotations map[string]string
	}
	var data struct {
		Groups []struct {
			LastEvaluation time.Time
			Rules          []struct {
				Name, Health, LastError string
				Alerts                  []alert
			}
		}
	}
	w.get(t, "/api/v1/rules", nil, &data)
	evaluated = time.Now()
	for _, g := range data.Groups {
		if g.LastEvaluation.Before(evaluated) {
			evaluated = g.LastEvaluation
		}
		for _, r := range g.Rules {
			if r.Health == "err" {
				t.Fatalf("%s: %s", r.Name, r.LastError)
			}
			for _, a := range r.Alerts {
				if a.State != "firing" {
					continue
				}
				l := a.Labels
				names = append(names, strings.TrimRight(strings.TrimPrefix(l["alertname"], "Breakwater")+" "+cmp.Or(l["datacenter"], l["node"])+" "+l["source"], " "))
				if text := a.Annotations["summary"] + a.Annotations["description"]; strings.Contains(text, "<") || strings.Contains(text, "{{") {
					t.Errorf("%s says %s", l["alertname"], text)
				}
			}
		}
	}
	slices.Sort(names)
	return names, evaluated
}

// fires waits until exactly these alerts fire, and have for some time. No other may
// meanwhile, but those that were there before.
func (w *watched) fires(t *testing.T, lasting time.Duration, want ...string) {
	t.Helper()
	slices.Sort(want)
	before, _ := w.firing(t)
	var since time.Time
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		for _, client := range w.clients {
			client()
		}
		now, evaluated := w.firing(t)
		for _, name := range now {
			if !slices.Contains(want, name) && !slices.Contains(before, name) {
				t.Fatalf("%s fires, want %q", name, want)
			}
		}
		switch {
		case !slices.Equal(now, want):
			since = time.Time{}
		case since.IsZero():
			since = evaluated
		case evaluated.Sub(since) >= lasting:
			return
		}
	}
	now, _ := w.firing(t)
	t.Fatalf("%q fire, want %q", now, want)
}

// allIsDown: all Harbors and the upstream are down. At one name server operators have
// taken both primaries out, at another all.
func (w *watched) allIsDown(t *testing.T) {
	d, reader := w.Datacenters[0], w.Robots[0]
	const private = "multi-dc-demo/app"
	if w.token(t, d, private, reader.Name, reader.Secret) == "" {
		t.Fatal("Harbor gives the robot no token")
	}
	hello := w.token(t, d, "cache-dockerhub/library/hello", "", "")
	fault(t, w.Upstreams[0].Faults, `[{"name":"down"}]`)
	for _, d := range w.Datacenters {
		fault(t, d.Faults, `[{"name":"down"}]`)
	}
	for at, out := range [][]string{{"par1", "mad1"}, {"par1", "mad1", "drp1"}} {
		for _, name := range out {
			output(t, exec.Command(w.program, "gslb", "force", "--admin", w.Datacenters[at].Steer, name, "down"))
		}
	}
	w.clients = append(w.clients, func() {
		w.ask(t, d.Edge+"/api/v2.0/ping", "")
		w.ask(t, d.Edge+"/v2/cache-dockerhub/library/hello/manifests/other", hello)
		w.token(t, d, private, reader.Name, reader.Secret)
		w.token(t, d, private, reader.Name, "wrong")
	})
	w.fires(t, briefly, "HarborDown par1", "HarborDown mad1", "HarborDown drp1", "UpstreamDown par1 upstream-dockerhub",
		"ErrorsFast par1", "ErrorsSlow par1", "OutageTokens par1", "TokensRefused par1", "BackupAnswered drp1", "NobodyServes")
	if w.token(t, d, private, reader.Name, reader.Secret) == "" {
		t.Error("the edge gives no token of its own")
	}
}

// rare is what the lab does not show, and why.
var rare = map[string]string{
	"breakwater_edge_certificate_expiry_timestamp_seconds": "with edge.tls alone",
	"breakwater_edge_upstream_rate_remaining":              "an upstream says it; the lab's does not",
	"breakwater_gslb_rate_limited_total":                   "with gslb.rate_limit alone",
}

var (
	selector = regexp.MustCompile(`\b(breakwater_[a-z0-9_]+|datacenter:[a-z0-9_:]+|process_[a-z_]+|go_[a-z_]+|ALERTS|up)\b(?:\{[^}]*\})?`)
	grouping = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	variable = regexp.MustCompile(`\$[a-z]+`)
)

// asksForWhatIsThere: every series that a rule or a panel asks for, with these labels
// and values, was there in this test, and Prometheus can do what it is asked.
func (w *watched) asksForWhatIsThere(t *testing.T) {
	span := url.Values{"start": {w.begun.UTC().Format(time.RFC3339)}, "end": {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}}
	asked := map[string]bool{}
	for _, expr := range w.expressions(t) {
		w.get(t, "/api/v1/query", url.Values{"query": {expr}}, new(any))
		labels := map[string]bool{"": true}
		unknown := false
		for _, m := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(expr, ""), -1) {
			if rare[m[1]] != "" {
				unknown, asked[m[1]] = true, true
				continue
			}
			var series []map[string]string
			w.get(t, "/api/v1/series", url.Values{"match[]": {m[0]}, "start": span["start"], "end": span["end"]}, &series)
			if len(series) == 0 {
				t.Errorf("there is no %s, in\n%s", m[0], expr)
			}
			for _, s := range series {
				for name := range s {
					labels[name] = true
				}
			}
			asked[m[1]] = true
		}
		for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
			for _, name := range strings.Split(m[1], ",") {
				if !labels[strings.TrimSpace(name)] && !unknown {
					t.Errorf("nothing has the label %q, in\n%s", name, expr)
				}
			}
		}
	}
	for name := range rare {
		if !asked[name] {
			t.Errorf("nobody asks for %s", name)
		}
	}
	t.Logf("%d metrics are asked for", len(asked))
}

// expressions are those of the rules and the dashboards, for all that can be chosen there.
func (w *watched) expressions(t *testing.T) (all []string) {
	t.Helper()
	var rules struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	text, err := os.ReadFile(observability + "rules.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all = append(all, r.Expr)
		}
	}
	files, err := filepath.Glob(observability + "dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no dashboards: %v", err)
	}
	for _, file := range files {
		var d struct {
			Panels []struct{ Targets []struct{ Expr string } }
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, variable.ReplaceAllString(strings.ReplaceAll(target.Expr, "$__rate_interval", "1m"), ".*"))
			}
		}
	}
	return all
}
