package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/trial"
)

const name = "harbor.example.org."

// everywhere wants all name servers to send the clients of a network there.
func (s *nameServers) everywhere(network, want string) {
	s.t.Helper()
	for i := range places {
		if got := s.sent(i, name, dns.TypeA, network); got != want {
			s.t.Errorf("the name server of %s sends %s to %q, want %q", places[i], network, got, want)
		}
	}
}

// One command steers all name servers, and says when it is safe to stop. The last datacenter
// is drained with --yes alone, and then it is not said that it is safe.
func TestADrainOfTheFleet(t *testing.T) {
	s := startNameServers(t, "  ttl: 30s")
	s.says(0, 0, []string{"status"}, "harbor.example.org: par1 and mad1, each client its nearest", "par1", "up")
	s.says(1, 0, []string{"status", "--fleet"}, "All name servers answer, and alike.", "WHAT", "par1", "mad1", "drp1", "config")
	begun := time.Now()
	text := s.says(0, 0, []string{"drain", "--fleet", "mad1", "--for", "2h", "--reason", "new switches"},
		"NODE", "par1", "drained", "mad1", "drained", "drp1", "drained", "Safe to stop at ", "This ends by itself at ", "harbor.example.org: par1, all clients")
	at := regexp.MustCompile(`Safe to stop at (\S+ \S+),`).FindStringSubmatch(text)
	safe, err := time.ParseInLocation(time.DateTime, at[1], time.Local)
	if err != nil || safe.Before(begun.Add(29*time.Second)) || safe.After(time.Now().Add(31*time.Second)) {
		t.Errorf("safe at %v, %v", at, err)
	}
	s.everywhere("10.2.2.0", "par1")
	if by := s.report(2).Overrides[0].By; !strings.Contains(by, "@") || !strings.HasSuffix(by, " by way of par1") {
		t.Errorf("it is not known who asked: %q", by)
	}
	s.says(2, 0, []string{"status"}, "mad1", "drain", "new switches", "yes, safe to stop at ")
	s.says(1, 0, []string{"drain", "--fleet", "drp1"}, "Safe to stop")
	s.says(0, 2, []string{"drain", "--fleet", "nosuch"}, `"nosuch" is no datacenter of `, `; it has `)
	if text := s.says(0, 1, []string{"drain", "--fleet", "par1", "--name", "nosuch"}, `all name servers refuse it: `, "nosuch"); strings.Contains(text, "on its machine") || strings.Contains(text, "on each one") {
		t.Errorf("what all refuse is to be said again:\n%s", text)
	}
	// The last: nothing is changed anywhere.
	s.says(1, 1, []string{"drain", "--fleet", "par1"}, "nothing changed", "nothing changed", "nothing changed",
		"drain: nothing is changed. What would come of it:", "clients go on coming to par1: harbor.example.org: PANIC: ", "mad1 was drained at ", "by", "(new switches): clients of harbor.example.org get it again", "--yes")
	s.everywhere("10.1.2.0", "par1")
	for i := range places {
		if n := len(s.report(i).Overrides); n != 2 {
			t.Errorf("%s has %d overrides", places[i], n)
		}
	}
	text = s.says(1, 0, []string{"drain", "--fleet", "par1", "--yes"}, "drained", "not safe to stop", "par1 is not safe to stop.", "clients go on coming to par1", "mad1 was drained")
	if strings.Contains(text, "Safe to stop") {
		t.Errorf("it is said to be safe:\n%s", text)
	}
	s.says(0, 1, []string{"status"}, "harbor.example.org: PANIC: no datacenter is left: ", "clients get them all the same: ", "the drain of mad1 does not hold", "no: clients of harbor.example.org get it")
	s.says(0, 1, []string{"status", "--fleet"}, "What is wrong:", "PANIC", "(par1, mad1, drp1)")
	s.says(2, 0, []string{"release", "--fleet", "par1"}, "released", "released", "released", "The probes decide of par1 again.")
	s.says(2, 0, []string{"status"}, "yes, safe to stop at ")
	s.says(2, 1, []string{"release", "--fleet", "par1"}, "nothing to take back", "nothing was said of datacenter \"par1\" on any name server")
}

// Here it is each policy that decides who would be answered, for the one name server too.
func TestADrainOfTheLastByPolicy(t *testing.T) {
	for policy, says := range map[string]string{"last-good": "clients get them all the same", "all": "clients get them all the same", "backup": "clients get them all the same", "nodata": "answers are empty"} {
		t.Run(policy, func(t *testing.T) {
			s := newNameServers(t, "  panic: "+policy)
			s.start(0)
			s.settled(0)
			for _, other := range []string{"mad1", "drp1"} {
				s.says(0, 0, []string{"drain", other}, "Safe to stop at ", "Answered now:", "par1")
			}
			s.says(0, 1, []string{"drain", "par1"}, "nothing is changed", says, "--yes")
			s.says(0, 1, []string{"force", "par1", "down"}, "nothing is changed", says, "--yes")
			s.says(0, 1, []string{"drain", "par1", "--name", "harbor.example.org", "--for", "1h"}, "nothing is changed", says, "--yes")
			if got := s.sent(0, name, dns.TypeA, "10.1.2.0"); got != "par1" || len(s.report(0).Overrides) != 2 {
				t.Errorf("something is changed: %q", got)
			}
			text := s.says(0, 0, []string{"force", "par1", "down", "--yes"}, says)
			if policy != "nodata" {
				if strings.Contains(text, "Safe to stop") || !strings.Contains(text, "it is not safe to stop") {
					t.Errorf("it is said to be safe:\n%s", text)
				}
				return
			}
			if got := s.sent(0, name, dns.TypeA, "10.1.2.0"); got != "" {
				t.Errorf("answered is %q", got)
			}
		})
	}
}

// A drain that held is marked when the others fall.
func TestADrainThatHoldsNoLonger(t *testing.T) {
	s := newNameServers(t, "  order: [par1, mad1, drp1]")
	s.start(0)
	s.settled(0)
	s.says(0, 0, []string{"drain", "par1"}, "Safe to stop at ")
	s.says(0, 0, []string{"drain", "mad1"}, "Safe to stop at ")
	s.says(0, 0, []string{"status"}, "harbor.example.org: drp1 (a backup), all clients")
	s.says(0, 1, []string{"force", "drp1", "down"}, "PANIC", "par1 was drained at ")
	s.probes("drp1", "down")
	s.sees(0, "par1", "mad1")
	s.says(0, 1, []string{"status"}, "PANIC: no datacenter is left: operators have taken out par1 and mad1, and drp1 is not healthy; clients get the last good: drp1", "drp1 is down: ")
	s.says(0, 1, []string{"release", "par1", "--name", name}, "nothing was said")
	s.says(0, 0, []string{"release", "par1"}, "The probes decide of par1 again.")
}

// One who alone has an IPv6 address.
func TestADrainOfTheOnlyIPv6(t *testing.T) {
	s := newNameServers(t, "  ttl: 5s # AAAA")
	s.start(0)
	s.settled(0)
	s.says(0, 1, []string{"drain", "par1"}, "clients get no IPv6 address", "mad1", "--yes")
	if got := s.sent(0, name, dns.TypeAAAA, "10.1.2.0"); got != "par1" {
		t.Errorf("answered is %q", got)
	}
	s.says(0, 0, []string{"drain", "par1", "--yes"}, "Safe to stop at ", "clients get no IPv6 address")
}

// A name server that does not answer, and one that has another key, are named with what to do;
// the others are told.
func TestAFleetThatIsNotWhole(t *testing.T) {
	s := newNameServers(t, "")
	s.key("other", strings.Repeat("another key ", 4))
	s.write(1, "other", "")
	for i := range places {
		s.start(i)
	}
	for i := range places {
		s.settled(i)
	}
	s.processes[2].Process.Signal(syscall.SIGSTOP) //nolint:errcheck // it takes connections, and answers nothing
	begun := time.Now()
	s.says(0, 1, []string{"drain", "--fleet", "par1", "--reason", "it's new"},
		"par1", "drained", "mad1", "not told", "another key", "drp1", "not told", "no answer within 2s",
		"par1 is not safe to stop: the name servers of mad1, drp1 still send clients there",
		"drain: not done by the name servers of mad1, drp1", "breakwater gslb drain --config "+s.config[0]+" par1 --reason 'it'\\''s new'")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v; name servers have 2 s, all at once", took)
	}
	s.says(0, 1, []string{"status", "--fleet"}, "the name server of mad1 says nothing: ", "another key", "the name server of drp1 says nothing: ")
	// What is said without a question before it may be done yet, and that is said.
	s.says(0, 1, []string{"drain", "--fleet", "drp1", "--yes"}, "drp1", "not told", "no answer within 2s",
		"not done by the name server of mad1: it goes on as before. And it is not known whether the name server of drp1 has done it, or does it yet. ")
	s.processes[2].Process.Signal(syscall.SIGCONT) //nolint:errcheck // it is ours
	trial.Until(t, func() error {
		if len(s.report(2).Overrides) == 0 {
			return errors.New("it has not done it")
		}
		return nil
	})
	s.says(0, 1, []string{"release", "--fleet", "drp1"}, "released", "another key", "released")
	trial.Until(t, func() error { // it hears of the drain that it was not told
		if all := s.report(2).Overrides; len(all) != 1 || all[0].Datacenter != "par1" {
			return fmt.Errorf("it keeps %+v", all)
		}
		return nil
	})
	if text := s.says(0, 1, []string{"status", "--fleet"}, "the name server of mad1 says nothing"); strings.Contains(text, "differs") {
		t.Error(text)
	}
	var told []steer.Told
	text, status := s.cli(0, "drain", "--fleet", "--json", "par1")
	if err := json.Unmarshal([]byte(text), &told); err != nil || status != 1 || len(told) != 3 || told[0].Steered == nil || !told[2].Steered.Done || told[1].Error == "" {
		t.Errorf("status %d, %v\n%s", status, err, text)
	}
}

// Without a name server on this machine the command asks all of them itself.
func TestTheCommandAsksAllItself(t *testing.T) {
	s := startNameServers(t, "")
	s.stop(0, s.processes[0])
	s.says(0, 1, []string{"drain", "--fleet", "par1"}, "par1", "not told", "it cannot be reached", "mad1", "drained", "drp1", "drained", "not done by the name server of par1")
	if by := s.report(1).Overrides[0].By; strings.Contains(by, "by way of") || !strings.Contains(by, "@") {
		t.Errorf("said by %q", by)
	}
	s.says(0, 1, []string{"status", "--fleet"}, "the name server of par1 says nothing", "drain par1")
	s.write(0, "none", "")
	s.says(0, 1, []string{"status", "--fleet"}, "no name server answers on ", "nor can all be asked from here: gslb.key: ")
	trial.Until(t, func() error { // lines are written within a tenth of a second
		if log := s.logs[1].String(); !strings.Contains(log, `"override"`) || !strings.Contains(log, `"by":"`) {
			return fmt.Errorf("the log does not say who asked:\n%s", log)
		}
		return nil
	})
}

// A node without a key takes nothing from elsewhere, and says why it cannot ask others.
func TestNameServersWithoutAKey(t *testing.T) {
	s := newNameServers(t, "")
	s.key("key", "short")
	out, err := exec.Command(breakwater(t), "gslb", "--config", s.config[0], "--datacenter", "par1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "gslb.key: it has fewer than 32 bytes") || strings.Contains(string(out), "short") {
		t.Errorf("%v\n%s", err, out)
	}
	s.rewrite(0, `  key: "file:`+s.dir+`/key"`, "")
	s.start(0)
	s.settled(0)
	s.says(0, 1, []string{"drain", "--fleet", "par1"}, "gslb.key")
	s.says(0, 0, []string{"drain", "par1"}, "Safe to stop")
	if conn, err := net.Dial("tcp", net.JoinHostPort(s.addresses[0], s.ports["peers"])); err == nil {
		conn.Close()
		t.Error("there is no key, and somebody listens")
	}
}

// What is not signed, is signed with another key, or was heard before steers nobody, and
// nothing else of the admin listener is there.
func TestForgedAndReplayedSteering(t *testing.T) {
	s := newNameServers(t, "")
	s.start(0)
	s.settled(0)
	url := "http://" + net.JoinHostPort(s.addresses[0], s.ports["peers"])
	heard := s.listenBetween(0)
	const drain = `{"datacenter":"par1","mode":"drain"}`
	post := func(header, body string) (status int) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, url+"/override", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set("Breakwater-Signature", header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for what, header := range map[string]string{"nothing": "", "nonsense": "key=1&mac=2", "what was heard": heard} {
		if status := post(header, drain); status != http.StatusForbidden {
			t.Errorf("signed with %s: %d", what, status)
		}
	}
	s.stop(0, s.processes[0])
	s.start(0)
	s.settled(0)
	if status := post(heard, drain); status != http.StatusForbidden {
		t.Errorf("heard before it started: %d", status)
	}
	if o := s.report(0).Overrides; len(o) != 0 {
		t.Errorf("somebody has steered: %+v", o)
	}
	for _, path := range []string{"/debug/pprof/", "/log-level", "/fleet/status", "/explain?client=10.1.2.3"} {
		if status := s.signedGet(0, path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// Where several name servers of a datacenter are behind one address, whoever tells one of
// them tells all; where one of them cannot be told, that is said.
func TestSiblingsAreToldTogether(t *testing.T) {
	s := newNameServers(t, "")
	s.startAs(0, "par1", s.addresses[0]+","+s.addresses[1])
	s.startAs(1, "par1", s.addresses[0]+","+s.addresses[1])
	s.start(2)
	for i := range places {
		s.settled(i)
	}
	s.says(2, 1, []string{"drain", "--fleet", "mad1"}, "par1", "drained", "mad1", "not told", "the question is for mad1, and this is par1", "drp1", "drained")
	s.says(1, 0, []string{"status"}, "mad1", "drain") // told by its sibling
	s.says(2, 1, []string{"release", "--fleet", "mad1"}, "par1", "released")
	if o := append(s.report(0).Overrides, s.report(1).Overrides...); len(o) != 0 {
		t.Errorf("%+v are left", o)
	}
	s.stop(1, s.processes[1])
	s.says(2, 1, []string{"drain", "--fleet", "mad1"}, "par1", "not told", "not all name servers of par1 can be told: par1 "+s.addresses[1]+": it cannot be reached")
	s.says(2, 1, []string{"release", "--fleet", "mad1"}, "par1", "not told", "drp1", "released")
	s.says(2, 1, []string{"drain", "--fleet", "mad1", "--yes"}, "par1", "not told", "; the others have done it")
}

// Two addresses of one family are two name servers, each of which is told.
func TestTwoNameServersOfADatacenter(t *testing.T) {
	s := newNameServers(t, "")
	for i := range places {
		s.rewrite(i, "gslb: ["+s.addresses[0]+"]", "gslb: ["+s.addresses[0]+", "+s.addresses[1]+"]")
		s.rewrite(i, ", gslb: ["+s.addresses[1]+"]", "")
	}
	s.startAs(0, "par1", "")
	s.startAs(1, "par1", "")
	s.start(2)
	for i := range places {
		s.settled(i)
	}
	for i := range places { // whoever tells them
		s.says(i, 0, []string{"drain", "--fleet", "par1"}, "par1 "+s.addresses[0], "drained", "par1 "+s.addresses[1], "drained", "drp1", "drained", "Safe to stop at ")
	}
	s.stop(1, s.processes[1])
	s.says(0, 1, []string{"release", "--fleet", "par1"}, "released", "par1 "+s.addresses[1], "not told")
}

// One name server whose clients would be left with nobody keeps all from it.
func TestOneThatWouldBeTroubledKeepsAllFromIt(t *testing.T) {
	s := newNameServers(t, "")
	s.write(2, "key", "  names: { only.harbor.example.org: {} }") // the others do not have it
	for i := range places {
		s.start(i)
	}
	for i := range places {
		s.settled(i)
	}
	for _, other := range []string{"mad1", "drp1"} {
		s.says(2, 0, []string{"drain", other, "--name", "only.harbor.example.org"}, other+" gets no new clients")
	}
	s.says(0, 1, []string{"drain", "--fleet", "par1"}, "par1", "nothing changed", "for the others' sake", "drp1", "nothing changed", "clients go on coming to par1", "--yes")
	for i, want := range []int{0, 0, 2} {
		if n := len(s.report(i).Overrides); n != want {
			t.Errorf("%s has %d overrides, want %d", places[i], n, want)
		}
	}
	s.says(0, 0, []string{"drain", "--fleet", "par1", "--yes"}, "drained", "drained", "not safe to stop", "par1 is not safe to stop.")
}

// A key that follows another is taken with the fleet file; meanwhile both are good.
func TestNameServersTakeANewKey(t *testing.T) {
	s := startNameServers(t, "")
	const next = "the-next-secret-of-the-name-servers-0123456789"
	s.key("next", next)
	s.rewrite(0, `key: "file:`+s.dir+`/key"`, `key: "file:`+s.dir+`/next", previous_key: "file:`+s.dir+`/key"`)
	s.rewrite(0, `, previous_key`, "\n  previous_key")
	trial.Until(t, func() error { // it looks every ten seconds
		if text, _ := s.cli(0, "status", "--fleet"); !strings.HasPrefix(text, "All name servers answer, and alike.") {
			return errors.New(text)
		}
		if !strings.Contains(s.logs[0].String(), "files read again") {
			return errors.New("the files are not read yet")
		}
		return nil
	})
	s.says(1, 0, []string{"drain", "--fleet", "par1"}, "par1", "drained")
	s.rewrite(0, "\n  previous_key: \"file:"+s.dir+"/key\"", "")
	trial.Until(t, func() error {
		if text, _ := s.cli(1, "status", "--fleet"); !strings.Contains(text, "the name server of par1 says nothing: the question is signed with another key") {
			return errors.New(text)
		}
		return nil
	})
}
