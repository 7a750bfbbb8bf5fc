package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/naming"
)

// groupable is a fleet whose projects can be replicated in groups: two as all are, and one
// that is pulled more seldom.
const groupable = `domain: harbor.example.org
datacenters:
DATACENTERS
harbor: { username: admin, password: "file:SECRETS/admin", sync_robot: { secret: "file:SECRETS/group" } }
projects:
  multi-dc:
    replication: per-project
    defaults:
      webhooks: false
      robots: { readwrite: "file:SECRETS/readwrite", sync: "file:SECRETS/sync-{name}" }
      replication: { pull: 15m, push: event }
PROJECTS
edge: { plain_http: true, robot: { secret: "file:SECRETS/edge" }, peers: { key: "file:SECRETS/peers" } }
`

// inGroups is what changes in the fleet file.
var inGroups = []string{"replication: per-project", "replication: grouped"}

// judge stands before Harbors. It lets one write through at a time, and looks after each of
// them, at the Harbors themselves, what is replicated from where to where.
type judge struct {
	t       *testing.T
	harbors map[string]*lab.Harbor
	address map[string]string // by datacenter, that of this judge
	secrets string            // a directory

	one sync.Mutex // is held while a write is done and judged

	mu      sync.Mutex
	must    map[string]bool // what is to be replicated after each write
	writes  int
	at      int // the write that goes wrong; 0: none
	mode    string
	stop    context.CancelFunc
	struck  string
	gaps    []string
	refused []string
}

// newGroupable is a fleet of these datacenters and projects behind a judge.
func newGroupable(t *testing.T, datacenters []string, projects ...string) (*testFleet, *judge) {
	t.Helper()
	f := &testFleet{harbors: map[string]*lab.Harbor{}}
	j := &judge{t: t, harbors: f.harbors, address: map[string]string{}}
	secrets := t.TempDir()
	j.secrets = secrets
	write := func(name, secret string) {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, secret := range map[string]string{"admin": "Harbor12345", "group": "Group1Secret", "edge": "EdgeSecret1", "peers": testPeerKey, "readwrite": "ReadWrite1x"} {
		write(name, secret)
	}
	var places, items strings.Builder
	for _, project := range projects {
		name, _, _ := strings.Cut(project, ":")
		write("sync-"+name, "Sync1Of"+name)
		fmt.Fprintf(&items, "    %s\n", project)
	}
	for _, name := range datacenters {
		h, err := lab.StartHarbor(lab.HarborConfig{Key: testKey(), ReplicationDelay: 20 * time.Millisecond, StatusLag: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() }) //nolint:errcheck // the test is over
		srv := httptest.NewServer(j.before(h))
		t.Cleanup(srv.Close)
		f.harbors[name], j.address[name] = h, srv.URL
		fmt.Fprintf(&places, "  %s: { harbor: %q, edge: \"https://edge.%s.example.org\" }\n", name, srv.URL, name)
	}
	f.text = strings.NewReplacer("SECRETS", secrets, "DATACENTERS\n", places.String(), "PROJECTS\n", items.String()).Replace(groupable)
	return f, j
}

func (j *judge) before(h *lab.Harbor) http.Handler {
	proxy := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(parsed(j.t, h.URL())) },
		ModifyResponse: func(resp *http.Response) error {
			if resp.Request.Header.Get("Authorization") != "" && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden) {
				user, _, _ := resp.Request.BasicAuth()
				j.mu.Lock()
				j.refused = append(j.refused, user+" "+resp.Request.Method+" "+resp.Request.URL.Path)
				j.mu.Unlock()
			}
			return nil
		}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead || !strings.HasPrefix(r.URL.Path, "/api/v2.0/") || strings.HasSuffix(r.URL.Path, "/ping") || strings.Contains(r.URL.Path, "/labels") {
			proxy.ServeHTTP(w, r)
			return
		}
		j.one.Lock()
		defer j.one.Unlock()
		j.write(proxy, w, r)
	})
}

// write does one write, as wrong as it is told to, and judges what there is then.
func (j *judge) write(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	j.mu.Lock()
	j.writes++
	strikes := j.writes == j.at
	if strikes {
		j.struck = r.Method + " " + r.URL.Path
	}
	mode, stop := j.mode, j.stop
	j.mu.Unlock()
	defer j.look(r.Method + " " + r.URL.Path)
	if !strikes {
		proxy.ServeHTTP(w, r)
		return
	}
	switch mode {
	case "refused before":
		http.Error(w, "not now", http.StatusInternalServerError)
	case "ended":
		stop()
		proxy.ServeHTTP(w, r)
	case "failed after":
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		http.Error(w, "not now", http.StatusInternalServerError)
	case "cut after":
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.(*net.TCPConn).SetLinger(0) //nolint:errcheck // it breaks one way or another
			conn.Close()
		}
	}
}

// look notes what is not replicated after a write, and is to be.
func (j *judge) look(after string) {
	now := j.replicated()
	j.mu.Lock()
	defer j.mu.Unlock()
	for what := range j.must {
		if !now[what] {
			j.gaps = append(j.gaps, what+" is not replicated after "+after)
		}
	}
}

// expect says that what is replicated now is always to be from here on.
func (j *judge) expect(n int) {
	j.t.Helper()
	now := j.replicated()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.must = now; len(now) != n {
		j.t.Errorf("%d ways are replicated, want %d: %v", len(now), n, slices.Sorted(maps.Keys(now)))
	}
	j.writes, j.refused = 0, nil
}

// verdict says what went wrong until now.
func (j *judge) verdict() (all []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, gap := range j.gaps {
		all = append(all, "a gap: "+gap)
	}
	for _, login := range j.refused {
		all = append(all, "refused: "+login)
	}
	return all
}

// list reads a list of a Harbor, as its administrator and past the judge.
func (j *judge) list(h *lab.Harbor, path string) (all []map[string]any) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, h.URL()+"/api/v2.0"+path, nil)
	if err != nil {
		panic(err)
	}
	req.SetBasicAuth(h.Admin())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil // the test is over
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(bytes.TrimSpace(text), &all) != nil {
		return nil
	}
	return all
}

// may are the projects in which each robot of a Harbor may do what replication takes.
func (j *judge) may(h *lab.Harbor) map[string][]string {
	all := map[string][]string{}
	robots := j.list(h, "/robots?page_size=100")
	for _, p := range j.list(h, "/projects?page_size=100") {
		robots = append(robots, j.list(h, fmt.Sprintf("/robots?page_size=100&q=Level=project,ProjectID=%v", p["project_id"]))...)
	}
	for _, rb := range robots {
		name, _ := rb["name"].(string)
		permissions, _ := rb["permissions"].([]any)
		for _, p := range permissions {
			text, _ := json.Marshal(p) //nolint:errcheck // it was JSON
			namespace, _ := p.(map[string]any)["namespace"].(string)
			if rb["disable"] != true && strings.Count(string(text), `"list"`) == 2 && strings.Contains(string(text), `"pull"`) && strings.Contains(string(text), `"push"`) {
				all[name] = append(all[name], namespace)
			}
		}
	}
	return all
}

// replicated is what the Harbors replicate as they are now, as "dc1 from dc2: multi-dc-a".
func (j *judge) replicated() map[string]bool {
	all, may := map[string]bool{}, map[string]map[string][]string{}
	for name, h := range j.harbors {
		may[name] = j.may(h)
	}
	for name, h := range j.harbors {
		for _, p := range j.list(h, policies+"?page_size=100") {
			for word, side := range map[string]string{"from": "src_registry", "to": "dest_registry"} {
				registry, _ := p[side].(map[string]any)
				for peer, address := range j.address {
					credential, _ := registry["credential"].(map[string]any)
					user, _ := credential["access_key"].(string)
					if registry["url"] != address || p["enabled"] != true {
						continue
					}
					for _, project := range may[peer][user] {
						if pattern := p["filters"].([]any)[0].(map[string]any)["value"].(string); strings.HasPrefix(project, naming.MultiDC) && naming.Match(pattern, project+"/team/app") {
							all[name+" "+word+" "+peer+": "+project] = true
						}
					}
				}
			}
		}
	}
	return all
}
