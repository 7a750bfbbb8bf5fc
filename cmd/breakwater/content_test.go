package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/breakwater/internal/daemon"
)

// Tags stand side by side; who cannot be asked is a fault, and the others are printed.
func TestContentAsPeopleReadIt(t *testing.T) {
	var asked atomic.Value
	edge := httptest.NewServer(daemon.Named(daemon.Edge, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.RequestURI())
		failed := ""
		if r.URL.Query().Get("match") != "" {
			failed = `,{"datacenter":"drp1","error":"it does not answer"}`
		}
		datacenters := `"datacenters":[{"datacenter":"par1"},{"datacenter":"mad1"}` + failed + `]`
		if r.URL.Query().Get("repo") == "" {
			fmt.Fprint(w, `{`+datacenters+`,"repos":[{"repo":"multi-dc-demo/app","kind":"multi-dc","tags":{"par1":2}}],"tags":[],"next":"multi-dc-demo/app"}`)
			return
		}
		fmt.Fprint(w, `{`+datacenters+`,"repo":"multi-dc-demo/app","kind":"multi-dc","repos":[],"tags":[{"tag":"v1","version":{"at":"2026-11-28T07:00:00Z","datacenter":"par1"},"in":{
			"par1":{"digest":"sha256:0123456789abcdef","held":true,"state":"same","owed_seconds":12},"mad1":{"digest":"sha256:fedcba9876543210","state":"behind","behind_seconds":90}}}]}`)
	})))
	defer edge.Close()
	got := program(t, nil, "content", "--admin", edge.URL, "--project", "cache-hub", "--limit", "1")
	if want := "multi-dc-demo/app  multi-dc  2 tags  0 tags\n\nThere is more: --after multi-dc-demo/app\n"; got.status != 0 || !strings.HasSuffix(got.stdout, want) || !strings.Contains(asked.Load().(string), "limit=1&match=&project=cache-hub") {
		t.Errorf("%s: status %d: %s%s", asked.Load(), got.status, got.stdout, got.stderr)
	}
	got = program(t, nil, "content", "--admin", edge.URL, "multi-dc-demo/app", "--match", "v")
	for _, want := range []string{"multi-dc-demo/app (multi-dc)", "sha256:0123456789ab, held, its Harbor lacks it for 12s", "sha256:fedcba987654 behind by 1m30s", "not known"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}
	if got.status != 1 || !strings.Contains(got.stderr, "the edge of drp1: it does not answer") {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
	if got = program(t, nil, "content", "--admin", edge.URL, "--json"); !strings.HasPrefix(got.stdout, `{"format":1,"datacenters":[`) {
		t.Errorf("%s%s", got.stdout, got.stderr)
	}
}
