package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// bind is a real BIND with the parent zone, which takes updates by one key.
type bind struct {
	t         *testing.T
	dir, port string
	config    string
}

const parentZone = `$ORIGIN example.org.
$TTL 3600
@ SOA ns1 hostmaster 1 3600 600 604800 300
@ NS ns1
ns1 A 127.0.0.1
www A 192.0.2.80
taken CNAME www
`

// startBIND starts it with more in the zone, which takes updates as it says.
func startBIND(t *testing.T, updates, more string) *bind {
	t.Helper()
	named, keygen := trial.Client(t, "named"), trial.Client(t, "tsig-keygen")
	b := &bind{t: t, dir: t.TempDir()}
	if err := os.Chmod(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, b.port, _ = net.SplitHostPort(l.Addr().String())
	l.Close()
	b.write("zone", parentZone+more, 0o644)
	keys := ""
	for name, algorithm := range map[string]string{"parent": "hmac-sha256", "reader": "hmac-sha512"} {
		key, err := exec.CommandContext(t.Context(), keygen, "-a", algorithm, name).Output()
		if err != nil {
			t.Fatal(err)
		}
		b.write(name+".key", string(key), 0o600)
		keys += string(key)
	}
	b.write("named.conf", keys+fmt.Sprintf(`
options { directory %q; listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; pid-file none; session-keyfile none; dnssec-validation no; };
controls { };
zone "example.org" { type primary; file "zone"; %s };
`, b.dir, b.port, updates), 0o644)
	cmd := exec.CommandContext(t.Context(), named, "-g", "-n", "1", "-c", filepath.Join(b.dir, "named.conf"))
	log := new(spoken)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it was killed
	})
	trial.Until(t, func() error {
		if b.dig("example.org", "SOA") == "" {
			return fmt.Errorf("BIND does not answer:\n%s", log)
		}
		return nil
	})
	b.config = b.write("fleet.yaml", `
domain: harbor.example.org
datacenters:
  par1: { harbor: "https://h.par1.example.org", addresses: [192.0.2.1], gslb: [192.0.2.53, "2001:db8::53"] }
  mad1: { harbor: "https://h.mad1.example.org", addresses: [192.0.2.2], gslb: [198.51.100.53] }
gslb: { names: { registry.example.org: { method: failover } } }
`, 0o600)
	return b
}

func (b *bind) write(name, text string, mode os.FileMode) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// dig asks the parent, and gives the records that it has of that type in any section, sorted.
func (b *bind) dig(name, rrtype string) string {
	b.t.Helper()
	text, err := exec.CommandContext(b.t.Context(), trial.Client(b.t, "dig"), "@127.0.0.1", "-p", b.port, "+norecurse", "+noall", "+answer", "+authority", "+additional", "+tries=1", "+time=2", name, "NS").CombinedOutput()
	if rrtype == "SOA" || rrtype == "DS" {
		text, err = exec.CommandContext(b.t.Context(), trial.Client(b.t, "dig"), "@127.0.0.1", "-p", b.port, "+norecurse", "+noall", "+answer", "+tries=1", "+time=2", name, rrtype).CombinedOutput()
	}
	if err != nil {
		return ""
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 4 && (rrtype == "" || words[3] == rrtype) {
			all = append(all, strings.Join(append([]string{words[0], words[1], words[3]}, words[4:]...), " "))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// apply runs the command.
func (b *bind) apply(key string, args ...string) (text string, status int) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), breakwater(b.t), append([]string{"gslb", "delegation", "apply", "--config", b.config, "--server", "127.0.0.1:" + b.port, "--key", filepath.Join(b.dir, key)}, args...)...)
	out, _ := cmd.CombinedOutput() //nolint:errcheck // the status says it
	return string(out), cmd.ProcessState.ExitCode()
}

const harborDelegated = `harbor.example.org. 300 NS ns-mad1.harbor.example.org.
harbor.example.org. 300 NS ns-par1.harbor.example.org.
ns-mad1.harbor.example.org. 300 A 198.51.100.53
ns-par1.harbor.example.org. 300 A 192.0.2.53
ns-par1.harbor.example.org. 300 AAAA 2001:db8::53`

func (b *bind) has(name, want string) {
	b.t.Helper()
	lines := strings.Split(want, "\n")
	slices.Sort(lines)
	if got := b.dig(name, ""); got != strings.Join(lines, "\n") {
		b.t.Errorf("the parent says of %s\n%s\nwant\n%s", name, got, want)
	}
}

func TestDelegationIsAppliedToBIND(t *testing.T) {
	b := startBIND(t, `allow-update { key "parent"; };`, "harbor 60 NS ns-old.harbor\nharbor 60 NS ns-par1.harbor\nns-old.harbor 60 A 203.0.113.9\nns-par1.harbor 60 A 203.0.113.8\nns-mad1.harbor 60 A 203.0.113.7\n")
	before := b.dig("harbor.example.org", "")
	text, status := b.apply("parent.key", "--dry-run")
	for _, want := range []string{"example.org, as 127.0.0.1:" + b.port + " has it, is to say of harbor.example.org (9 changes):", "- ns-old.harbor.example.org. 60 IN A 203.0.113.9", "+ harbor.example.org. 300 IN NS ns-mad1.harbor.example.org.", "of registry.example.org (5 changes):"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan says no %q:\n%s", want, text)
		}
	}
	if status != 2 || b.dig("harbor.example.org", "") != before {
		t.Errorf("a plan alone: status %d, and the parent says\n%s", status, b.dig("harbor.example.org", ""))
	}
	if text, status := b.apply("parent.key"); status != 1 || !strings.Contains(text, "run it with --yes") || b.dig("harbor.example.org", "") != before {
		t.Errorf("with nobody to ask: status %d\n%s", status, text)
	}
	if text, status := b.apply("parent.key", "--yes"); status != 0 || !strings.Contains(text, "harbor.example.org is delegated.") || !strings.Contains(text, "registry.example.org is delegated.") {
		t.Errorf("status %d\n%s", status, text)
	}
	b.has("harbor.example.org", harborDelegated)
	b.has("registry.example.org", strings.ReplaceAll(harborDelegated, "harbor.", "registry."))
	// Again: nothing is to be done, and nothing is.
	serial := b.dig("example.org", "SOA")
	if text, status := b.apply("parent.key", "--yes"); status != 0 || strings.Count(text, "nothing to do.") != 2 || strings.Contains(text, "delegated") {
		t.Errorf("again: status %d\n%s", status, text)
	}
	if text, status := b.apply("parent.key", "--json", "--dry-run"); status != 0 || !strings.HasPrefix(text, `[{"zone":"harbor.example.org.","parent":"example.org.","remove":[],"add":[],"notes":[]}`) {
		t.Errorf("as JSON: status %d\n%s", status, text)
	}
	if now := b.dig("example.org", "SOA"); now != serial {
		t.Errorf("the parent's serial was %s and is %s", serial, now)
	}
	// What a datacenter no longer has goes, and no other zone is touched.
	one := strings.Replace(readText(t, b.config), `gslb: [192.0.2.53, "2001:db8::53"]`, "gslb: [192.0.2.54]", 1)
	b.write("fleet.yaml", one, 0o600)
	if text, status := b.apply("parent.key", "--yes", "--zone", "harbor.example.org", "--ttl", "1h"); status != 0 {
		t.Errorf("status %d\n%s", status, text)
	}
	b.has("harbor.example.org", "harbor.example.org. 3600 NS ns-mad1.harbor.example.org.\nharbor.example.org. 3600 NS ns-par1.harbor.example.org.\nns-mad1.harbor.example.org. 3600 A 198.51.100.53\nns-par1.harbor.example.org. 3600 A 192.0.2.54")
	b.has("registry.example.org", strings.ReplaceAll(harborDelegated, "harbor.", "registry."))
}

// Each thing that keeps it from being done is one sentence, and changes nothing.
func TestDelegationThatIsRefused(t *testing.T) {
	b := startBIND(t, `update-policy { grant parent subdomain harbor.example.org. NS A AAAA DS; grant parent subdomain taken.example.org. NS A AAAA DS; };`, "harbor DS 1 13 2 0123456789012345678901234567890123456789012345678901234567890123\nharbor NS ns-par1.harbor\n")
	good := readText(t, filepath.Join(b.dir, "parent.key"))
	secret := strings.Split(good, `"`)[3]
	b.write("other.key", strings.Replace(good, secret, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY=", 1), 0o600)
	b.write("unknown.key", strings.Replace(good, `"parent"`, `"stranger"`, 1), 0o600)
	b.write("open.key", good, 0o644)
	b.write("none.key", "secret "+secret+"\n", 0o600)
	b.write("md5.key", strings.Replace(good, "hmac-sha256", "hmac-md5", 1), 0o600)
	for key, want := range map[string]string{
		"other.key":   "has another secret for the TSIG key parent: nothing is changed",
		"unknown.key": "does not know the TSIG key stranger",
		"reader.key":  "does not let the TSIG key reader update example.org. (BIND: allow-update or update-policy of the zone): nothing is changed",
		"open.key":    "can be read by others (0644): chmod 600 ",
		"none.key":    "none.key is no TSIG key: it is not one block key NAME",
		"md5.key":     "its algorithm is none of hmac-sha1",
		"absent.key":  "no such file",
	} {
		text, status := b.apply(key, "--yes", "--zone", "registry.example.org")
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if last := lines[len(lines)-1]; status != 1 || !strings.Contains(last, want) {
			t.Errorf("%s: status %d, %q; want %q", key, status, last, want)
		}
		if strings.Contains(text, secret) || strings.Contains(text, "QUJDREVGR0hJSktM") {
			t.Errorf("%s: a secret is printed:\n%s", key, text)
		}
	}
	b.has("registry.example.org", "example.org. 300 SOA ns1.example.org. hostmaster.example.org. 1 3600 600 604800 300")
	for _, args := range [][]string{
		{"--parent", "example.net", "registry.example.org. is not below example.net."},
		{"--zone", "x.example.org", "--zone x.example.org: it is no zone of the fleet; they are harbor.example.org, registry.example.org"},
		{"--ttl", "1s", "--ttl 1s is out of 1m to 24h"},
		{"--server", "127.0.0.1:1", "connection refused"},
		{"--server", "a b", `--server "a b": want an address`},
	} {
		if text, status := b.apply("parent.key", append([]string{"--yes", "--zone", "registry.example.org"}, args[:2]...)...); status == 0 || !strings.Contains(text, args[2]) {
			t.Errorf("%v: status %d\n%s", args, status, text)
		}
	}
	// DS stays as it is, and is named.
	ds := b.dig("harbor.example.org", "DS")
	if text, status := b.apply("parent.key", "--yes", "--zone", "harbor.example.org"); status != 0 || !strings.Contains(text, "The parent has a DS record for harbor.example.org and keeps it") || ds == "" || b.dig("harbor.example.org", "DS") != ds {
		t.Errorf("status %d, DS %q, and was %q\n%s", status, b.dig("harbor.example.org", "DS"), ds, text)
	}
	// What the parent takes without a word, and does not do.
	b.write("fleet.yaml", strings.ReplaceAll(readText(t, b.config), "registry.example.org", "taken.example.org"), 0o600)
	if text, status := b.apply("parent.key", "--yes", "--zone", "taken.example.org"); status != 1 || !strings.Contains(text, "is there a CNAME of that name") {
		t.Errorf("beside a CNAME: status %d\n%s", status, text)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What is shown for Route 53 are the records of the example that is there for it.
func TestDelegationIsShownAsTheExampleHasIt(t *testing.T) {
	records := func(text []byte) (all []string) {
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
		if err := json.Unmarshal(text, &batch); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, c := range batch.Changes {
			for _, r := range c.ResourceRecordSet.ResourceRecords {
				all = append(all, fmt.Sprint(c.Action, c.ResourceRecordSet.Name, c.ResourceRecordSet.Type, c.ResourceRecordSet.TTL, r.Value))
			}
		}
		slices.Sort(all)
		return all
	}
	cmd := exec.CommandContext(t.Context(), breakwater(t), "gslb", "delegation", "show", "--config", "../../deploy/fleet.example.yaml", "--for", "route53")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if got, want := records(out.Bytes()), records([]byte(readText(t, "../../deploy/delegation/route53/change-batch.json"))); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// With --ds the parent has the DS of the keys that zones are signed with, and of no other.
func TestDelegationWithDS(t *testing.T) {
	b := startBIND(t, `allow-update { key "parent"; };`, "harbor DS 1 13 2 0123456789012345678901234567890123456789012345678901234567890123\nharbor NS ns-par1.harbor\n")
	if text, status := b.apply("parent.key", "--ds", "--yes"); status != 1 || !strings.Contains(text, "--ds: the fleet's zones are not signed; write gslb.dnssec.key") {
		t.Errorf("without a key: status %d\n%s", status, text)
	}
	signed := strings.Replace(readText(t, b.config), "gslb: {", "gslb: { dnssec: { key: "+filepath.Join(b.dir, "dnssec.key")+" },", 1)
	b.write("fleet.yaml", signed, 0o600)
	if text, status := b.apply("parent.key", "--ds", "--yes"); status != 1 || !strings.Contains(text, "fleet.yaml:") || !strings.Contains(text, "gslb keygen") {
		t.Errorf("without its file: status %d\n%s", status, text)
	}
	made, err := exec.CommandContext(t.Context(), breakwater(t), "gslb", "keygen", "--config", b.config).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, made)
	}
	want := ""
	for line := range strings.Lines(string(made)) {
		if words := strings.Fields(line); len(words) > 4 && words[0] == "harbor.example.org." && words[3] == "DS" {
			want = "harbor.example.org. 300 DS " + strings.ToUpper(strings.Join(words[4:], " "))
		}
	}
	for _, changed := range []bool{true, false} {
		text, status := b.apply("parent.key", "--ds", "--yes")
		got := b.dig("harbor.example.org", "DS")
		if at := strings.LastIndex(got, " "); strings.Count(got, " ") > 6 { // dig cuts the digest in two
			got = got[:at] + got[at+1:]
		}
		if status != 0 || got != want || strings.Contains(text, "harbor.example.org is delegated.") != changed {
			t.Errorf("status %d, DS\n%s\nwant\n%s\n%s", status, got, want, text)
		}
	}
	shown, err := exec.CommandContext(t.Context(), breakwater(t), "gslb", "delegation", "show", "--config", b.config, "--ds").CombinedOutput()
	if err != nil || !strings.Contains(strings.ToUpper(strings.ReplaceAll(string(shown), "\t", " ")), want[strings.Index(want, "DS"):]) {
		t.Errorf("%v\n%s", err, shown)
	}
}
