package wire

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/registry"
)

// What a datacenter says for itself is what its edge goes by: the upstream's address and
// password, which has the project's name filled in. What does nothing is said at the start.
func TestAnEdgeTakesWhatItsDatacenterSays(t *testing.T) {
	asked := make(chan string, 16)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		asked <- password
		w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer upstream.Close()
	t.Setenv("BREAKWATER_TEST_of-quay", "hunter2")
	f, err := fleet.Load("fleet.yaml", fmt.Appendf(nil, `domain: h.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1", weight: 2 } }
projects:
  cache:
    of-quay:
      endpoint: https://quay.example.org
      username: u
      password: "env:BREAKWATER_TEST_{name}"
      datacenters: { par1: { endpoint: %q } }
  repl:
    held:
      images: [{ from: of-quay, name: a/b }]
      datacenters: { par1: { images: [{ from: of-quay, name: a/c }] } }
edge: { plain_http: true, listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", touch: 1h, store: { path: %q } }
`, upstream.URL, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg := EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.NewJSONHandler(&log, nil)), Level: new(slog.LevelVar)}
	e, err := NewEdge(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, field := range []string{"edge.touch", "datacenters.par1.weight"} {
		if !strings.Contains(log.String(), `"field":"`+field+`"`) {
			t.Errorf("nothing is said of %s:\n%s", field, log.String())
		}
	}
	if e.now.Touch != time.Hour {
		t.Errorf("pulls are shown to Harbor every %v, want 1h", e.now.Touch)
	}
	for _, ns := range namespaces(f, "par1") {
		for _, rule := range ns.Rules {
			if rule.Name != "a/c" || rule.Tags != "**" {
				t.Errorf("the rule of %s is %+v", ns.Project, rule)
			}
		}
	}
	if resp, err := e.now.Upstreams["cache-of-quay"].Do(t.Context(), registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: "a/b", Tag: "v1"}, nil); err == nil {
		resp.Body.Close()
	}
	for password := ""; password != "hunter2"; {
		select {
		case password = <-asked:
		default:
			t.Fatal("the datacenter's own upstream was not asked with its password")
		}
	}
}
