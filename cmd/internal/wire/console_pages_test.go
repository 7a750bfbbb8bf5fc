package wire

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// The pages of an edge are of that edge, on its admin listener; who asks the public one for them,
// or for what they show, is told nothing of it.
func TestPagesOfWhatGoesThroughAnEdge(t *testing.T) {
	f, err := fleet.Load("fleet.yaml", fmt.Appendf(nil, `
domain: harbor.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1" } }
projects: { multi-dc: { demo: {} } }
edge: { listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", store: { path: %q }, plain_http: true }
`, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEdge(t.Context(), EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	public, admin := httptest.NewServer(e.Servers[0].Handler), httptest.NewServer(e.Servers[2].Handler)
	defer public.Close()
	defer admin.Close()
	ask := func(url string) (int, string) {
		t.Helper()
		resp, err := http.Get(url)
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
	for path, want := range map[string]string{
		"/console/traffic": "Where content comes from", "/console/fills": "Nothing comes into the store now", "/console/content": "multi-dc-demo",
		"/console/api/traffic": `"since_start"`, "/console/api/fills": `"fills":[]`, "/console/api/content": `"projects":[{"project":"multi-dc-demo"`, "/traffic": `"last_6h"`, "/fills": `"bytes_to_go"`, "/content": `"datacenters":[{"datacenter":"par1"}]`,
	} {
		if status, body := ask(admin.URL + path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.300s", path, status, body)
		}
		if status, body := ask(public.URL + path); status == http.StatusOK || strings.Contains(body, want) {
			t.Errorf("%s of the public listener: %d %.300s", path, status, body)
		}
	}
}
