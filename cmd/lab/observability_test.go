package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
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
	if !trial.Full() {
		t.Skip("waits minutes for alerts: BREAKWATER_TESTS=full")
	}
	t.Parallel()
	trial.Client(t, "prometheus")
	trial.Client(t, "crane")
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

// startClients pulls everything through every edge once; from then on clients ask
// name servers and pull, whenever the test looks at its alerts.
func (w *watched) startClients(t *testing.T) {
	t.Helper()
	crane, home := trial.Client(t, "crane"), t.TempDir()
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

// fires waits until exactly these alerts fire, and have for some time. No other may
// meanwhile, but those that were there before.
func (w *watched) fires(t *testing.T, lasting time.Duration, want ...string) {
	t.Helper()
	slices.Sort(want)
	before, _ := w.firing(t)
	var since time.Time
	trial.Until(t, func() error {
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
			return nil
		}
		return fmt.Errorf("%q fire, want %q for %v", now, want, lasting)
	})
}

// allIsDown: all Harbors and the upstream are down. At one name server operators have
// taken both primaries out, at another all.
func (w *watched) allIsDown(t *testing.T) {
	d, reader := w.Datacenters[0], w.Robots[0]
	const private = "multi-dc-demo/app"
	if w.token(t, d, private, reader.Name, reader.Secret) == "" {
		t.Fatal("Harbor gives the robot no token")
	}
	const public = "cache-dockerhub/library/hello"
	hello := map[string]string{}
	for _, d := range w.Datacenters {
		hello[d.Edge] = w.token(t, d, public, "", "")
	}
	fault(t, w.Upstreams[0].Faults, `[{"name":"down"}]`)
	for _, d := range w.Datacenters {
		fault(t, d.Faults, `[{"name":"down"}]`)
	}
	for at, out := range [][]string{{"par1", "mad1"}, {"par1", "mad1", "drp1"}} {
		for _, name := range out {
			output(t, exec.Command(w.program, "gslb", "force", "--yes", "--admin", w.Datacenters[at].Steer, name, "down"))
		}
	}
	w.clients = append(w.clients, func() {
		w.ask(t, d.Edge+"/api/v2.0/ping", "")
		for edge, token := range hello {
			w.ask(t, edge+"/v2/"+public+"/manifests/other", token)
		}
		w.token(t, d, private, reader.Name, reader.Secret)
		w.token(t, d, private, reader.Name, "wrong")
	})
	want := []string{"OutageTokens par1", "TokensRefused par1", "BackupAnswered drp1", "NobodyServes"}
	for _, d := range w.Datacenters {
		want = append(want, "HarborDown "+d.Name, "UpstreamDown "+d.Name+" upstream-dockerhub", "ErrorsFast "+d.Name, "ErrorsSlow "+d.Name)
	}
	w.fires(t, briefly, want...)
	if w.token(t, d, private, reader.Name, reader.Secret) == "" {
		t.Error("the edge gives no token of its own")
	}
}
