package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
)

// What is queued at a Harbor for long is named beside what it lacks, and makes nothing wrong; a
// Harbor that does not say it is one that cannot be read.
func TestLagSaysWhatIsQueued(t *testing.T) {
	config, harbors := provisionFleet(t)
	provisions(t, 0, "apply", "--yes", "--config", config)
	if text := provisions(t, 0, "verify", "--lag", "--config", config); text != "All Harbors have the same tags.\n" {
		t.Error(text)
	}
	began := time.Now().Add(-25 * time.Hour).UTC().Truncate(time.Second)
	var executions []string
	for policy := range 9 { // as Harbor was recorded to say it
		executions = append(executions, fmt.Sprintf(`{"end_time":"0001-01-01T00:00:00.000Z","failed":0,"id":%d,"in_progress":0,"policy_id":%d,"start_time":%q,"status":"InProgress","status_text":"","stopped":0,"succeed":0,"total":0,"trigger":"scheduled"}`,
			41, policy, began.Format("2006-01-02T15:04:05.000Z")))
	}
	target, err := url.Parse(harbors[0].URL())
	if err != nil {
		t.Fatal(err)
	}
	harbor := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v2.0/replication/executions" || r.URL.Query().Get("status") != "InProgress" {
			harbor.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "[%s]", strings.Join(executions, ","))
	}))
	t.Cleanup(front.Close)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	queued := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(queued, []byte(strings.Replace(string(text), harbors[0].URL(), front.URL, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "par1: the replication multi-dc-app from mad1 may take 15m0s, and its execution 41 is queued since " + began.Format(time.RFC3339) + ", or has run since then\n"
	if text := provisions(t, 0, "verify", "--lag", "--config", queued); !strings.Contains(text, want) || strings.Contains(text, "mad1: ") {
		t.Errorf("want %q in\n%s", want, text)
	}
	if err := harbors[1].SetFaults(lab.Fault{Name: "500", Path: "/replication/executions"}); err != nil {
		t.Fatal(err)
	}
	if text := provisions(t, 3, "verify", "--lag", "--config", config); !strings.Contains(text, "mad1 does not say what is queued: ") {
		t.Error(text)
	}
}
