package wire

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
)

// An edge with a certificate says when it ends; one without says nothing of it.
func TestMetricsSayWhenTheCertificateEnds(t *testing.T) {
	ca := newAuthority(t)
	ca.forAddress(t, "edge", "127.0.0.1", nil) // for an hour
	for setting, want := range map[string]bool{
		fmt.Sprintf("tls: { certificate: %q, key: %q }", ca.file("edge.crt"), ca.file("edge.key")): true,
		"plain_http: true": false,
	} {
		f, err := fleet.Load("fleet.yaml", fmt.Appendf(nil, `
domain: harbor.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1" } }
edge: { listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", store: { path: %q }, %s }
`, t.TempDir(), setting))
		if err != nil {
			t.Fatal(err)
		}
		e, err := NewEdge(t.Context(), EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		w := httptest.NewRecorder()
		e.Servers[1].Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		_, after, found := strings.Cut(w.Body.String(), "\nbreakwater_edge_certificate_expiry_timestamp_seconds ")
		if found != want {
			t.Fatalf("%s: in the metrics: %v", setting, found)
		}
		if !want {
			continue
		}
		value, _, _ := strings.Cut(after, "\n")
		seconds, err := strconv.ParseFloat(value, 64)
		if left := time.Until(time.Unix(int64(seconds), 0)); err != nil || left < 50*time.Minute || left > time.Hour {
			t.Errorf("it ends at %s, in %v: want an hour", value, left)
		}
	}
}
