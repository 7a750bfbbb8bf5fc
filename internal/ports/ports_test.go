package ports_test

import (
	"net"
	"slices"
	"testing"

	"example.org/breakwater/internal/ports"
)

// TestNoConnectionTakesAChosenPort opens connections until the system has given away its own
// choice thousands of times: what was chosen is still free.
func TestNoConnectionTakesAChosenPort(t *testing.T) {
	chosen, err := ports.Free("127.0.0.1", 100)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(chosen)
	if same := len(chosen) - len(slices.Compact(slices.Clone(chosen))); same != 0 {
		t.Errorf("%d of them are the same", same)
	}
	var given []net.Listener
	for range 2000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, l)
		if slices.Contains(chosen, l.Addr().String()) {
			t.Errorf("the system gave %s away", l.Addr())
		}
	}
	for _, l := range given {
		l.Close()
	}
	for _, address := range chosen {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
	}
}

// TestNoPortIsChosenTwice asks for one at a time, as a test does for each of its servers before
// any of them listens.
func TestNoPortIsChosenTwice(t *testing.T) {
	seen := map[string]bool{}
	for range 2000 {
		chosen, err := ports.Free("127.0.0.1", 1)
		if err != nil {
			t.Fatal(err)
		}
		if seen[chosen[0]] {
			t.Fatalf("%s is chosen again", chosen[0])
		}
		seen[chosen[0]] = true
	}
}

// TestPortsInARow: another process that began close by has many in a row.
func TestPortsInARow(t *testing.T) {
	first, err := ports.Listen("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for n := 1; n <= 300; n++ {
		at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: first.Addr().(*net.TCPAddr).Port + n}
		if l, err := net.ListenTCP("tcp", at); err == nil { // or somebody has it
			defer l.Close()
		}
	}
	l, err := ports.Listen("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestNoSuchHost(t *testing.T) {
	if addresses, err := ports.Free("192.0.2.1", 1); err == nil {
		t.Errorf("of a host that this machine is not: %v", addresses)
	}
}
