package deploy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/trial"
)

// Tests of delegation/: what the examples say is what the example's fleet file says,
// and what real servers answer when they are given them.

const delegationTTL = 300 // as delegation/README.md advises

// delegated are the records that the fleet file wants in the parent zone, each as
// "owner TTL type data", sorted.
func delegated(t *testing.T) (records []string) {
	t.Helper()
	f, err := fleet.ReadFile("fleet.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, dc := range f.Datacenters {
		host := "ns-" + name + "." + f.Domain
		records = append(records, record(f.Domain, "NS", host))
		for _, a := range dc.GSLB {
			family := "A"
			if a.Is6() {
				family = "AAAA"
			}
			records = append(records, record(host, family, a.String()))
		}
	}
	slices.Sort(records)
	return records
}

func record(owner, rrtype, data string) string {
	name := func(s string) string { return strings.TrimSuffix(s, ".") }
	return fmt.Sprintf("%s %d %s %s", name(owner), delegationTTL, rrtype, name(data))
}

// nameServer is a program that serves a zone, as one of the examples configures it.
type nameServer struct {
	name    string
	dir     string                         // of its files, below delegation
	home    string                         // where the files say that they are
	tested  []string                       // what is other in a test, beside home and address: old, new; DIR is the test's
	checks  [][]string                     // its own checkers: they end without a word of fault
	command []string                       // runs it in the foreground
	started string                         // what it logs when it answers
	listen  func(address string) [2]string // how its file says where it listens: there, and in the test
}

func at(format string) func(string) [2]string {
	return func(address string) [2]string {
		host, port, _ := net.SplitHostPort(address)
		return [2]string{fmt.Sprintf(format, "192.0.2.1", "53"), fmt.Sprintf(format, host, port)}
	}
}

var nameServers = []nameServer{
	{
		name: "BIND", dir: "bind", home: "/etc/bind", listen: func(address string) [2]string {
			host, port, _ := net.SplitHostPort(address)
			return [2]string{"port 53 { 192.0.2.1; }", "port " + port + " { " + host + "; }"}
		},
		tested:  []string{`directory "/var/cache/bind";`, `directory "DIR"; pid-file none; session-keyfile none;`, `zone "example.org" {`, `controls { }; zone "example.org" {`},
		checks:  [][]string{{"named-checkconf", "-z", "DIR/named.conf"}, {"named-checkzone", "-k", "fail", "-i", "local", "example.org", "DIR/example.org.zone"}},
		command: []string{"named", "-g", "-n", "1", "-c", "DIR/named.conf"}, started: "all zones loaded",
	},
	{
		name: "NSD", dir: "nsd", home: "/etc/nsd", listen: at("ip-address: %s@%s"),
		tested:  []string{"server:\n", "server:\n    username: \"\"\n    pidfile: \"\"\n    zonelistfile: \"DIR/zone.list\"\n    xfrdfile: \"\"\n    xfrdir: \"DIR\"\n    database: \"\"\n"},
		checks:  [][]string{{"nsd-checkconf", "DIR/nsd.conf"}, {"nsd-checkzone", "example.org", "DIR/example.org.zone"}},
		command: []string{"nsd", "-d", "-c", "DIR/nsd.conf"}, started: "nsd started",
	},
	{
		name: "Knot", dir: "knot", home: "/etc/knot", listen: at("listen: %s@%s"),
		tested:  []string{"/run/knot", "DIR", "/var/lib/knot", "DIR", "target: syslog", "target: stderr"},
		checks:  [][]string{{"knotc", "-c", "DIR/knot.conf", "conf-check"}, {"knotc", "-c", "DIR/knot.conf", "zone-check", "example.org"}},
		command: []string{"knotd", "-c", "DIR/knot.conf", "-s", "DIR/socket"}, started: "server started",
	},
	{
		name: "PowerDNS", dir: "powerdns", home: "/etc/powerdns", listen: at("local-address=%s:%s"),
		// (pdnsutil check-zone is no judge of this backend: it calls every delegation wrong.)
		checks:  [][]string{{"pdns_server", "--config-dir=DIR", "--config=check"}},
		command: []string{"pdns_server", "--config-dir=DIR", "--socket-dir=DIR", "--daemon=no", "--guardian=no", "--disable-syslog"}, started: "ready to distribute questions",
	},
}

// install copies the example's files and the zone to where the test may have them,
// and returns where, and how the server is to be asked.
func (s nameServer) install(t *testing.T, more ...string) (dir, address string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // for servers that give up root
		t.Fatal(err)
	}
	address = trial.Free(t, "127.0.0.1")
	listen := s.listen(address)
	changes := slices.Concat([]string{s.home, dir}, listen[:], s.tested, more)
	files, err := filepath.Glob("delegation/" + s.dir + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("delegation/%s: %v, %d files", s.dir, err, len(files))
	}
	said := ""
	for _, file := range append(files, "delegation/example.org.zone") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said += string(text)
		changed := strings.ReplaceAll(strings.NewReplacer(changes...).Replace(string(text)), "DIR", dir)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(said, changes[i]) {
			t.Fatalf("the test changes %q, and none of the files says so", changes[i])
		}
	}
	return dir, address
}

// run starts the server until the test ends.
func (s nameServer) run(t *testing.T, dir string) {
	t.Helper()
	words := in(dir, s.command)
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it was killed
	})
	late := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() }) //nolint:errcheck // see above
	defer late.Stop()
	var said []string
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if said = append(said, lines.Text()); strings.Contains(lines.Text(), s.started) {
			go io.Copy(io.Discard, log) //nolint:errcheck // what it says later
			return
		}
	}
	t.Fatalf("%s does not start:\n%s", s.name, strings.Join(said, "\n"))
}

func in(dir string, words []string) []string {
	words = slices.Clone(words)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "DIR", dir)
	}
	return words
}

// needPrograms skips the test on a machine without them, and fails it in CI.
func (s nameServer) needPrograms(t *testing.T) {
	t.Helper()
	for _, command := range append(s.checks, s.command) {
		if _, err := exec.LookPath(command[0]); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("CI has no %s", command[0])
			}
			t.Skipf("there is no %s on this machine", command[0])
		}
	}
}

func askParent(t *testing.T, network, address string, do bool) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("harbor.example.org.", dns.TypeA)
	m.RecursionDesired = false
	m.SetEdns0(1232, do)
	answer, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).ExchangeContext(t.Context(), m, address)
	if err != nil {
		t.Fatalf("ask %s over %s: %v", address, network, err)
	}
	return answer
}

// TestDelegationIsAnsweredByRealServers: each server takes its example, and sends
// resolvers on to the name servers of the fleet file.
func TestDelegationIsAnsweredByRealServers(t *testing.T) {
	want := delegated(t)
	for _, s := range nameServers {
		t.Run(s.name, func(t *testing.T) {
			s.needPrograms(t)
			dir, address := s.install(t)
			for _, check := range s.checks {
				words := in(dir, check)
				if text, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", strings.Join(words, " "), err, text)
				}
			}
			s.run(t, dir)
			for _, network := range []string{"udp", "tcp"} {
				referral := askParent(t, network, address, false)
				if referral.Rcode != dns.RcodeSuccess || referral.Authoritative || len(referral.Answer) > 0 {
					t.Errorf("over %s it is no referral:\n%v", network, referral)
				}
				if got := referred(referral); !slices.Equal(got, want) {
					t.Errorf("over %s it says\n%s\nwant, as the fleet file says,\n%s", network, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

// referred are the records of a referral, as delegated says them.
func referred(m *dns.Msg) (records []string) {
	for _, rr := range slices.Concat(m.Ns, m.Extra) {
		h := rr.Header()
		if h.Rrtype != dns.TypeOPT {
			records = append(records, fmt.Sprintf("%s %d %s %s", strings.TrimSuffix(h.Name, "."), h.Ttl, dns.TypeToString[h.Rrtype],
				strings.TrimSuffix(strings.TrimPrefix(rr.String(), h.String()), ".")))
		}
	}
	slices.Sort(records)
	return records
}

// TestDelegationBelowASignedParent: with nothing more than the parent signed, its
// referral proves that there is no DS, which is what makes resolvers that validate
// take the unsigned answers.
func TestDelegationBelowASignedParent(t *testing.T) {
	knot := nameServers[slices.IndexFunc(nameServers, func(s nameServer) bool { return s.name == "Knot" })]
	knot.needPrograms(t)
	dir, address := knot.install(t, "    journal-content: none\n", "    journal-content: none\n    dnssec-signing: on\n")
	knot.run(t, dir)
	referral := askParent(t, "tcp", address, true)
	proven := false
	for _, rr := range referral.Ns {
		switch rr := rr.(type) {
		case *dns.NSEC:
			proven = rr.Hdr.Name == "harbor.example.org." && slices.Contains(rr.TypeBitMap, dns.TypeNS) && !slices.Contains(rr.TypeBitMap, dns.TypeDS)
		case *dns.RRSIG:
			if rr.TypeCovered != dns.TypeNSEC {
				t.Errorf("the delegation is signed, which no parent does: %v", rr)
			}
		}
	}
	if !proven {
		t.Errorf("it is not proven that there is no DS:\n%v", referral)
	}
}

func readExample(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("delegation", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDelegationOfHostedZones: the examples for hosted zones, that only their hosters
// can run, have the same records.
func TestDelegationOfHostedZones(t *testing.T) {
	same := func(t *testing.T, got []string) {
		t.Helper()
		slices.Sort(got)
		if want := delegated(t); !slices.Equal(got, want) {
			t.Errorf("it says\n%s\nwant, as the fleet file says,\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	t.Run("Route 53, change batch", func(t *testing.T) { same(t, changeBatch(t)) })
	t.Run("Cloud DNS, gcloud", func(t *testing.T) { same(t, gcloudRecords(t)) })
	for _, file := range []string{"route53/main.tf", "clouddns/main.tf"} {
		t.Run(file, func(t *testing.T) { same(t, terraformRecords(t, file)) })
	}
}

func changeBatch(t *testing.T) (records []string) {
	var batch struct {
		Comment string
		Changes []struct {
			Action            string
			ResourceRecordSet struct {
				Name, Type      string
				TTL             int
				ResourceRecords []struct{ Value string }
			}
		}
	}
	decoder := json.NewDecoder(strings.NewReader(readExample(t, "route53/change-batch.json")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&batch); err != nil {
		t.Fatal(err)
	}
	for _, c := range batch.Changes {
		if c.Action != "UPSERT" || c.ResourceRecordSet.TTL != delegationTTL {
			t.Errorf("%+v", c)
		}
		for _, r := range c.ResourceRecordSet.ResourceRecords {
			records = append(records, record(c.ResourceRecordSet.Name, c.ResourceRecordSet.Type, r.Value))
		}
	}
	return records
}

// gcloudRecords runs the script with a gcloud that says what it is told.
func gcloudRecords(t *testing.T) (records []string) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gcloud"), []byte("#!/bin/sh\necho \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "delegation/clouddns/records.sh", "example-org")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	said := regexp.MustCompile(`^dns record-sets create (\S+) --zone=example-org --type=(\S+) --ttl=300 --rrdatas=(\S+)$`)
	for line := range strings.Lines(string(text)) {
		m := said.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("it runs gcloud %s", line)
		}
		for data := range strings.SplitSeq(m[3], ",") {
			records = append(records, record(m[1], m[2], data))
		}
	}
	return records
}

// terraformRecords reads the table of addresses, of which the file makes its records.
func terraformRecords(t *testing.T, file string) (records []string) {
	text := readExample(t, file)
	if n := strings.Count(text, fmt.Sprintf("= %d\n", delegationTTL)); n != 2 {
		t.Errorf("%d of its 2 resources have the TTL", n)
	}
	owners := map[string]bool{}
	for _, m := range regexp.MustCompile(`"(\S+) (A|AAAA)"\s*= \["(\S+)"\]`).FindAllStringSubmatch(text, -1) {
		records = append(records, record(m[1], m[2], m[3]))
		owners[m[1]] = true
	}
	for host := range owners {
		records = append(records, record("harbor.example.org", "NS", host))
	}
	return records
}
