package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

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

// epoch is what all name servers say of the state that they answer by, over DNS.
func (s *nameServers) epoch() (all string) {
	s.t.Helper()
	trial.Until(s.t, func() error {
		all = ""
		for i := range places {
			m := new(dns.Msg)
			m.SetQuestion("id.server.", dns.TypeTXT)
			m.Question[0].Qclass = dns.ClassCHAOS
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
			answer, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, net.JoinHostPort(s.addresses[i], s.ports["listen"]))
			if err != nil {
				return err
			}
			says := answer.Answer[0].(*dns.TXT).Txt
			nsid, _ := hex.DecodeString(answer.IsEdns0().Option[0].(*dns.EDNS0_NSID).Nsid)
			if len(says) != 2 || says[0] != places[i] || string(nsid) != strings.Join(says, " ") || says[1] != "epoch "+s.report(i).Epoch {
				return fmt.Errorf("the name server of %s is %q, by NSID %q, in its report %q", places[i], says, nsid, s.report(i).Epoch)
			}
			if all == "" {
				all = says[1]
			}
			if all != says[1] {
				return fmt.Errorf("the name server of %s is at %s, another at %s", places[i], says[1], all)
			}
		}
		return nil
	})
	return all
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
	s.says(2, 0, []string{"status"}, "BUT ITS OWN SAY", "drp1", "mad1", "up", "down: ", "its certificate is not trusted here", "par1", "up", "down: ")
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

// What is said to one name server is kept by all, also by one that was away when it was said, or
// taken back, or when it ended: what that one has kept of before does not come back.
func TestWhatIsSaidToOneIsKeptByAll(t *testing.T) {
	t.Parallel()
	s := startNameServers(t, "")
	said := func(i int, want ...string) {
		t.Helper()
		trial.Until(t, func() error {
			got := []string{}
			for _, o := range s.report(i).Overrides {
				got = append(got, fmt.Sprintf("%s %s (%s) %v", o.Mode, o.Datacenter, o.Reason, !o.SafeAt.IsZero()))
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				return fmt.Errorf("the name server of %s keeps %q, want %q", places[i], got, want)
			}
			return nil
		})
	}
	before := s.epoch()
	s.says(0, 0, []string{"drain", "par1", "--reason", "switches"}, "Safe to stop at ", " here, once the others have heard of it too")
	for i := range places {
		said(i, "drain par1 (switches) true")
		s.answered(i, "2")
	}
	s.says(1, 0, []string{"status", "--fleet"}, "drain par1")
	if after := s.epoch(); after == before {
		t.Errorf("the epoch is %s, drained or not", after)
	}
	s.stop(2, s.processes[2])
	trial.Until(t, func() error {
		if n := len(s.report(1).Observers); n != 1 {
			return fmt.Errorf("that of mad1 hears %d others", n)
		}
		return nil
	})
	s.says(1, 0, []string{"release", "par1"}, "the name server of drp1 is not heard now")
	s.says(1, 0, []string{"force", "mad1", "up", "--reason", "for a second", "--for", "1s"})
	said(0)
	said(1)
	s.start(2)
	said(2)
	s.stop(2, s.processes[2])
	s.says(0, 0, []string{"force", "drp1", "up", "--reason", "first"})
	s.says(1, 0, []string{"force", "drp1", "up", "--reason", "then"})
	s.start(2)
	for i := range places {
		said(i, "up drp1 (then) false")
	}
}
