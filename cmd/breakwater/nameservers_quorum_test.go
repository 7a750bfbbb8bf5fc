package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// answered waits until a name server gives clients of par1's network just this datacenter.
func (s *nameServers) answered(i int, datacenter string) {
	s.t.Helper()
	trial.Until(s.t, func() error {
		if text, _ := s.cli(i, "explain", "--client", "10.1.0.1"); !strings.Contains(text, "192.0.2."+datacenter) {
			return fmt.Errorf("the name server of %s says %s", places[i], text)
		}
		return nil
	})
}

// What the probes of one name server alone say is outvoted by the others, and what most of
// them say counts for all.
func TestNameServersJudgeTogether(t *testing.T) {
	t.Parallel()
	s := startNameServers(t, "")
	s.probesOf(2, "par1", "down its certificate is not trusted here") // drp1 is ill
	s.probesOf(2, "mad1", "down its certificate is not trusted here")
	trial.Until(t, func() error {
		if r := s.report(2); r.Probes["par1"].Up || r.Probes["mad1"].Up || len(r.Observers) != 2 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	s.settled(2)
	s.answered(2, "1")
	s.probesOf(0, "par1", "down it is really down")
	for i := range places {
		s.sees(i, "mad1", "drp1")
		s.answered(i, "2")
	}
	s.probesOf(1, "par1", "down it is really down")
	s.probesOf(2, "par1", "up")
	for i := range places {
		s.sees(i, "mad1", "drp1")
	}
	s.probesOf(1, "par1", "up")
	for i := range places {
		s.settled(i)
	}
}

// A name server that hears no other, and reaches no other datacenter and no witness, keeps what
// it knew and raises no backup, nor answers anything when it knows nothing. One that reaches a
// witness raises it.
func TestANameServerThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := startNameServers(t, "  witnesses: [255.255.255.255]")
	s.stop(0, s.processes[0])
	s.stop(1, s.processes[1])
	s.probesOf(2, "par1", "down no route")
	s.probesOf(2, "mad1", "down no route")
	trial.Until(t, func() error {
		if r := s.report(2); !r.Isolated {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	s.settled(2)
	s.answered(2, "1")
	if text, status := s.cli(2, "status"); status != 1 || !strings.Contains(text, "this name server is cut off") {
		t.Errorf("%d %s", status, text)
	}
	s.stop(2, s.processes[2])
	if err := os.Remove(filepath.Join(s.dir, "drp1.json")); err != nil {
		t.Fatal(err)
	}
	s.start(2)
	trial.Until(t, func() error {
		if r := s.report(2); !r.Isolated || r.Answering || r.Probes["par1"].Why == "" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	s.write(2, "key", "  witnesses: [127.0.0.1]")
	s.sees(2, "drp1")
	s.answered(2, "3")
}
