package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/internal/daemon"
)

// What an edge says of the last pull is a line of its own; an edge that says nothing of it, of a
// project whose pulls Harbor counts itself or of a version before, has no such line.
func TestExplainSaysWhetherHarborWasShownTheLastPull(t *testing.T) {
	const says = "Harbor is yet to be shown the pull of 2026-11-28T07:00:00Z: it could not say, and is tried again."
	for touch, want := range map[string]string{
		`,"touch":{"state":"pending","at":"2026-11-28T07:00:00Z","says":"` + says + `"}`: "pulls    " + says,
		`,"touch":{"state":"none","says":"No pull is known of the last 6h0m0s."}`:        "pulls    No pull is known of the last 6h0m0s.",
		"": "",
	} {
		answer := `{"reference":"multi-dc-demo/app:v1","project":"multi-dc-demo","kind":"multi-dc","held":true,"digest":"sha256:aa","source":"harbor","said":"asked",
			"age_seconds":2,"answer":"Served from the store.","route":[{"source":"harbor","repo":"multi-dc-demo/app","state":"up"}]` + touch + `}`
		var asked string
		edge := httptest.NewServer(daemon.Named(daemon.Edge, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.Method + " " + r.URL.RequestURI()
			fmt.Fprint(w, answer)
		})))
		got := program(t, nil, "explain", "--admin", edge.Listener.Addr().String(), "multi-dc-demo/app:v1")
		edge.Close()
		if asked != "GET /explain?ref=multi-dc-demo%2Fapp%3Av1" || got.status != 0 || got.stderr != "" {
			t.Fatalf("status %d after %s: %s", got.status, asked, got.stderr)
		}
		var lines []string
		for line := range strings.Lines(got.stdout) {
			if strings.HasPrefix(line, "pulls") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if strings.Join(lines, "\n") != want || !strings.Contains(got.stdout, "known    harbor said so 2s ago") {
			t.Errorf("want %q in\n%s", want, got.stdout)
		}
	}
}
