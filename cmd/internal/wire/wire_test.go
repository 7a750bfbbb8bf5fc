package wire

import (
	"log/slog"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

func TestAnEdgeThatCannotStartSaysWhy(t *testing.T) {
	const base = "domain: h.example.org\ndatacenters: { par1: { harbor: \"http://127.0.0.1:1\" } }\n"
	dir := t.TempDir()
	edge := "edge: { plain_http: true, listen: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", store: { path: \"" + dir + "/store\" }"
	for says, c := range map[string][2]string{
		`no datacenter "mad1"`:      {"mad1", edge + " }"},
		"edge.tls":                  {"par1", ""},
		"edge.robot.secret":         {"par1", edge + ", robot: { secret: \"env:BREAKWATER_TEST_UNSET\" } }"},
		"harbor.token_certificates": {"par1", edge + " }\nharbor: { token_certificates: [\"file:" + dir + "/none\"] }"},
		"harbor.ca":                 {"par1", edge + " }\nharbor: { ca: " + dir + "/none }"},
	} {
		f, err := fleet.Load("fleet.yaml", []byte(base+c[1]+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if c[1] == "" {
			f.Edge.Store.Path = dir + "/store"
		}
		e, err := NewEdge(t.Context(), EdgeConfig{Fleet: f, Datacenter: c[0], Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
		if err == nil {
			e.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}
