package main

import (
	"net"
	"strings"
	"testing"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
)

// Whoever has the key sees all name servers, also when one is away or has another key; of
// one without a key nothing can be asked.
func TestReportsOfAllNameServers(t *testing.T) {
	s := newNameServers(t, "")
	s.key("other", strings.Repeat("another key ", 4))
	s.write(1, "other", "")
	s.start(0)
	s.start(1)
	s.settled(0)
	s.settled(1)
	f, err := fleet.ReadFile(s.config[0])
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyOfNameServers, "")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := steer.Reports(t.Context(), f, ring)
	if err != nil || len(seen) != 3 {
		t.Fatalf("%v %v", seen, err)
	}
	if r := seen[0].Report; seen[0].Node != "par1" || r == nil || r.Node != "par1" || !r.Answering || !r.Datacenters["mad1"].Up {
		t.Errorf("par1: %+v", seen[0])
	}
	if seen[1].Node != "mad1" || seen[1].Report != nil || !strings.Contains(seen[1].Error, "another key") {
		t.Errorf("mad1 has another key: %+v", seen[1])
	}
	if seen[2].Node != "drp1" || seen[2].Report != nil || !strings.Contains(seen[2].Error, "it cannot be reached: ") {
		t.Errorf("drp1 does not run: %+v", seen[2])
	}
	if _, err := steer.Reports(t.Context(), f, nil); err == nil || !strings.Contains(err.Error(), "gslb.key") {
		t.Errorf("without a key: %v", err)
	}
	s.stop(0, s.processes[0])
	s.write(0, "key", "  peers: off # instead of the one above")
	if _, err := fleet.ReadFile(s.config[0]); err == nil {
		t.Error("a field is there twice")
	}
	port := s.ports["peers"]
	delete(s.ports, "peers")
	s.write(0, "key", "  peers: off")
	if f, err = fleet.ReadFile(s.config[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := steer.Reports(t.Context(), f, ring); err == nil || !strings.Contains(err.Error(), "gslb.peers is off") {
		t.Errorf("it is off: %v", err)
	}
	s.start(0)
	s.settled(0)
	if conn, err := net.Dial("tcp", net.JoinHostPort(s.addresses[0], port)); err == nil {
		conn.Close()
		t.Error("it is off, and somebody listens")
	}
}
