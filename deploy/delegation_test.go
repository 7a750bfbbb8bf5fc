package deploy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v4"

	"example.org/breakwater/internal/fleet"
)

// delegation is what the parent is to say, by the example of a fleet file: a line a record.
func delegation(t *testing.T) (lines []string) {
	t.Helper()
	f, err := fleet.ReadFile("fleet.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, dc := range f.Datacenters {
		host := "ns-" + name + "." + f.Domain + "."
		lines = append(lines, f.Domain+". NS "+host)
		for _, a := range dc.GSLB {
			kind := "A"
			if ip := net.ParseIP(fmt.Sprint(a)); ip.To4() == nil {
				kind = "AAAA"
			}
			lines = append(lines, fmt.Sprintf("%s %s %v", host, kind, a))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestDelegations: every server takes its files, and refers to the fleet's name servers.
func TestDelegations(t *testing.T) {
	want := delegation(t)
	for name, c := range map[string]struct {
		check, serve func(t *testing.T, dir, at string) *exec.Cmd
	}{
		"BIND": {
			func(t *testing.T, dir, _ string) *exec.Cmd {
				return exec.Command(need(t, "named-checkconf"), "-z", dir+"/named.conf")
			},
			func(t *testing.T, dir, at string) *exec.Cmd {
				host, port, _ := net.SplitHostPort(at)
				change(t, dir+"/named.conf", "/etc/bind", dir, "options {", "options {\n    listen-on port "+port+" { "+host+"; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;")
				change(t, dir+"/named.conf", "zone \"example.org\"", "controls { };\nzone \"example.org\"")
				return exec.Command(need(t, "named"), "-g", "-c", dir+"/named.conf")
			},
		},
		"NSD": {
			func(t *testing.T, dir, _ string) *exec.Cmd {
				return exec.Command(need(t, "nsd-checkconf"), dir+"/nsd.conf")
			},
			func(t *testing.T, dir, at string) *exec.Cmd {
				change(t, dir+"/nsd.conf", "server:", "server:\n  ip-address: "+strings.Replace(at, ":", "@", 1)+"\n  username: \"\"\n  pidfile: \"\"\n  database: \"\"\n  zonelistfile: \""+dir+"/zones.list\"\n  xfrdfile: \"\"\n  xfrdir: \""+dir+"\"",
					"\nzone:", "\nremote-control:\n  control-enable: no\n\nzone:", "/etc/nsd", dir)
				return exec.Command(need(t, "nsd"), "-d", "-c", dir+"/nsd.conf")
			},
		},
		"Knot": {
			func(t *testing.T, dir, _ string) *exec.Cmd {
				return exec.Command(need(t, "knotc"), "-c", dir+"/knot.conf", "conf-check")
			},
			func(t *testing.T, dir, at string) *exec.Cmd {
				change(t, dir+"/knot.conf", "listen: [ 0.0.0.0@53, ::@53 ]", "listen: "+strings.Replace(at, ":", "@", 1)+"\n    rundir: "+dir+"\ndatabase:\n    storage: "+dir, "/etc/knot", dir)
				return exec.Command(need(t, "knotd"), "-c", dir+"/knot.conf")
			},
		},
		"PowerDNS": {
			nil,
			func(t *testing.T, dir, at string) *exec.Cmd {
				host, port, _ := net.SplitHostPort(at)
				change(t, dir+"/pdns.conf", "bind-config=/etc/powerdns/named.conf", "bind-config="+dir+"/pdns-named.conf\nlocal-address="+host+"\nlocal-port="+port+"\nsocket-dir="+dir)
				change(t, dir+"/pdns-named.conf", "/etc/powerdns", dir)
				return exec.Command(need(t, "pdns_server"), "--config-dir="+dir, "--daemon=no", "--guardian=no")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := shared(t)
			at := freeAddress(t)
			serve := c.serve(t, dir, at)
			if c.check != nil {
				if text, err := c.check(t, dir, at).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
			}
			run(t, serve)
			if got := referral(t, at); !slices.Equal(got, want) {
				t.Errorf("it refers to\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// shared is a copy of the files that servers which give up root can read.
func shared(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("delegation")); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// change replaces, in a file, what a test has elsewhere; all of it must be there.
func change(t *testing.T, name string, pairs ...string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("%s has no %q", name, pairs[i])
		}
	}
	if err := os.WriteFile(name, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is a port of 127.0.0.1 that is free for UDP and TCP.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			u.Close()
			return l.Addr().String()
		}
	}
}

// run runs a server until the test ends.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it was killed
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s", text)
		}
	})
}

// referral is what the parent says of the name: NS records and glue, a line a record.
func referral(t *testing.T, at string) (lines []string) {
	t.Helper()
	q := new(dns.Msg).SetQuestion("harbor.example.org.", dns.TypeA)
	q.RecursionDesired = false
	q.SetEdns0(1232, false)
	client := dns.Client{Timeout: 200 * time.Millisecond}
	for end := time.Now().Add(20 * time.Second); ; {
		answer, _, err := client.Exchange(q, at)
		if err == nil && answer.Rcode == dns.RcodeSuccess {
			if answer.Authoritative || len(answer.Answer) > 0 {
				t.Errorf("it answers itself: %v", answer)
			}
			for _, r := range append(answer.Ns, answer.Extra...) {
				if h := r.Header(); h.Rrtype != dns.TypeOPT {
					lines = append(lines, strings.Join(append([]string{h.Name, dns.TypeToString[h.Rrtype]}, strings.Fields(r.String())[4:]...), " "))
				}
			}
			slices.Sort(lines)
			return lines
		}
		if time.Now().After(end) {
			t.Fatalf("no answer: %v %v", answer, err)
		}
	}
}

// TestDelegationsOfClouds: what is text for others says the same.
func TestDelegationsOfClouds(t *testing.T) {
	want := delegation(t)
	var got []string
	add := func(name, kind string, values ...string) {
		for _, v := range values {
			got = append(got, name+" "+kind+" "+v)
		}
	}
	same := func(what string) {
		t.Helper()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		got = nil
	}
	var batch struct {
		Changes []struct {
			Action            string
			ResourceRecordSet struct {
				Name, Type      string
				TTL             int
				ResourceRecords []struct{ Value string }
			}
		}
	}
	text, err := os.ReadFile("delegation/route53.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &batch); err != nil {
		t.Fatal(err)
	}
	for _, c := range batch.Changes {
		for _, r := range c.ResourceRecordSet.ResourceRecords {
			add(c.ResourceRecordSet.Name, c.ResourceRecordSet.Type, r.Value)
		}
	}
	same("route53.json")
	file, err := os.Open("delegation/clouddns.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for d := yaml.NewDecoder(file); ; {
		var r struct {
			Name, Type string
			Rrdatas    []string
		}
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		add(r.Name, r.Type, r.Rrdatas...)
	}
	same("clouddns.yaml")
}
