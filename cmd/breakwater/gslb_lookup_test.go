package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/trial"
)

// What all name servers answer a client with is seen over DNS, side by side: those that differ,
// and one that does not answer, are the exit status.
func TestALookupOfTheFleet(t *testing.T) {
	s := startNameServers(t, "  ttl: 30s")
	s.says(0, 0, []string{"lookup", "--client", "10.2.3.4"}, "this machine", "192.0.2.2", "30", "/16")
	s.says(0, 0, []string{"lookup", "--fleet", "--client", "10.2.3.0/24"}, "par1", "192.0.2.2", "mad1", "192.0.2.2", "drp1", "192.0.2.2")
	s.says(1, 0, []string{"lookup", "--fleet", "--client", "10.2.3.4", "--name", "nobody.harbor.example.org"}, "NXDOMAIN", "NXDOMAIN", "NXDOMAIN")
	s.says(0, 2, []string{"lookup", "--client", "here"}, `"here" is no client`)
	s.rewrite(0, "192.0.2.2", "192.0.2.9")
	trial.Until(t, func() error {
		if text, _ := s.cli(0, "lookup", "--client", "10.2.3.4"); !strings.Contains(text, "192.0.2.9") {
			return errors.New(text)
		}
		return nil
	})
	s.says(0, 1, []string{"lookup", "--fleet", "--client", "10.2.3.4"}, "192.0.2.9", "192.0.2.2", "192.0.2.2", "the name servers differ")
	s.stop(2, s.processes[2])
	text, status := s.cli(0, "lookup", "--fleet", "--client", "10.2.3.4", "--json")
	var all []gslb.Looked
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&all); err != nil || status != 1 || len(all) != 3 {
		t.Fatalf("%v, status %d: %s", err, status, text)
	}
	for _, l := range all {
		if (l.Error != "") != (l.Node == "drp1") {
			t.Errorf("%+v", l)
		}
	}
}
