package fleet_test

import (
	"os"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// Two nodes have the same fleet file if all is the same but where they listen, keep their
// files and reach others. What is different for the fleet has another hash.
func TestTheHashIsOfWhatNodesMustAgreeOn(t *testing.T) {
	data, err := os.ReadFile("../../deploy/fleet.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	hash := func(old, with string) string {
		t.Helper()
		if !strings.Contains(string(data), old) {
			t.Fatalf("the example has no %q", old)
		}
		f, err := fleet.Load("fleet.yaml", []byte(strings.Replace(string(data), old, with, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return f.Hash()
	}
	same := hash("", "")
	if len(same) != 8 || same != hash("", "# a comment\n") {
		t.Errorf("%q, and with a comment another one", same)
	}
	for old, with := range map[string]string{
		`listen: ":443"`: `listen: ":8443"`, "admin: 127.0.0.1:9091": "admin: 127.0.0.1:9999", "path: /var/lib/breakwater,": "path: /data,",
		"/etc/breakwater/tls.crt": "/other/tls.crt", `metrics: ":9092"`: `metrics: ":9999"`, `peers: ":9094"`: `peers: "127.0.0.1:9999"`, "edge: https://edge.mad1": "edge: https://direct.mad1",
	} {
		if got := hash(old, with); got != same {
			t.Errorf("with %q in place of %q it is %s; want %s", with, old, got, same)
		}
	}
	for old, with := range map[string]string{
		"outage_grace: 1h": "outage_grace: 2h", "10.2.0.0/16": "10.4.0.0/16", "role: backup": "role: primary", "ttl: 30s": "ttl: 31s", "weight: 2": "weight: 3", "repo1: {}": "repo3: {}",
	} {
		if hash(old, with) == same {
			t.Errorf("with %q in place of %q it is the same", with, old)
		}
	}
}
