package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// signedFleetFile is one that names these keys, from line 4 on.
func signedFleetFile(t *testing.T, keys string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "fleet.yaml")
	text := "domain: h.example.org\n" +
		"datacenters: { par1: { harbor: \"https://a.example.org\", edge: \"https://b.example.org\", addresses: [192.0.2.1], gslb: [192.0.2.2] } }\n" +
		"gslb:\n  dnssec:\n" + keys + "  names: { r.example.net: {} }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A key is made once, for its owner alone, and what it prints for the parents is printed again
// from the file. Tools of others know it.
func TestAKeyToSignWith(t *testing.T) {
	key := filepath.Join(t.TempDir(), "dnssec.key")
	config := signedFleetFile(t, "    key: "+key+"\n")
	made := program(t, nil, "gslb", "keygen", "--config", config)
	if made.status != 0 || !strings.Contains(made.stdout, key+" is made, for its owner alone") {
		t.Fatal(made)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	_, records, _ := strings.Cut(made.stdout, "\n\n")
	for _, want := range []string{"h.example.org. 3600 IN DS ", "h.example.org. 3600 IN DNSKEY 257 3 13 ", "r.example.net. 3600 IN DS ", " 13 2 "} {
		if !strings.Contains(records, want) {
			t.Errorf("no %q in\n%s", want, records)
		}
	}
	if again := program(t, nil, "gslb", "ds", "--config", config); again.status != 0 || strings.TrimSpace(again.stdout) != strings.TrimSpace(records) {
		t.Errorf("%+v\nwant\n%s", again, records)
	}
	before, _ := os.ReadFile(key)
	if twice := program(t, nil, "gslb", "keygen", "--config", config); twice.status != 1 || !strings.Contains(twice.stderr, "is there already and stays as it is") {
		t.Errorf("%+v", twice)
	}
	if after, _ := os.ReadFile(key); string(before) != string(after) || len(after) == 0 {
		t.Error("the key was written over")
	}
	if text, err := exec.Command(trial.Client(t, "openssl"), "pkey", "-in", key, "-noout", "-text").CombinedOutput(); err != nil || !strings.Contains(string(text), "prime256v1") {
		t.Errorf("%v: %s", err, text)
	}
	if got := program(t, nil, "check", config); got.status != 0 {
		t.Errorf("%+v", got)
	}
}

// What is no key, or anybody's, is said with the line that names it, by all who read it.
func TestFilesThatAreNoKeysToSignWith(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	good := signedFleetFile(t, "    key: "+at("good")+"\n")
	if made := program(t, nil, "gslb", "keygen", "--config", good); made.status != 0 {
		t.Fatal(made)
	}
	text, err := os.ReadFile(at("good"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := exec.Command(trial.Client(t, "openssl"), "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"open": string(text), "twin": string(text), "twice": string(text) + string(text), "other": string(other), "empty": "", "damaged": strings.Replace(string(text), "MI", "MX", 1), "long": strings.Repeat("x", 70<<10)} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(at("open"), 0o644); err != nil {
		t.Fatal(err)
	}
	for keys, want := range map[string]string{
		"    key: " + at("open") + "\n":                                       ":5: gslb.dnssec.key: " + at("open") + ": everybody on this machine can read or change it (-rw-r--r--): `chmod 600` it",
		"    key: " + at("twice") + "\n":                                      ":5: gslb.dnssec.key: " + at("twice") + ": there are several keys in it",
		"    key: " + at("other") + "\n":                                      ":5: gslb.dnssec.key: " + at("other") + ": its key is of another kind",
		"    key: " + at("empty") + "\n":                                      ":5: gslb.dnssec.key: " + at("empty") + ": there is no private key in it",
		"    key: " + at("damaged") + "\n":                                    ":5: gslb.dnssec.key: " + at("damaged") + ": its key is damaged",
		"    key: " + at("long") + "\n":                                       ":5: gslb.dnssec.key: " + at("long") + ": it is larger than",
		"    key: " + dir + "\n":                                              ":5: gslb.dnssec.key: " + dir + ": it is no file",
		"    key: " + at("good") + "\n    previous_key: " + at("twin") + "\n": ":6: gslb.dnssec.previous_key: " + at("twin") + " has the same key",
		"    key: " + at("good") + "\n    previous_key: " + at("good") + "\n": ":6: gslb.dnssec.previous_key: it is the file of gslb.dnssec.key",
		"    previous_key: " + at("good") + "\n":                              ":5: gslb.dnssec.previous_key: there is no key beside it",
		"    key: " + at("none") + "\n":                                       ":5: gslb.dnssec.key: " + at("none") + ": no such file",
	} {
		config := signedFleetFile(t, keys)
		commands := [][]string{{"check", config}, {"check", config, "--datacenter", "par1"}, {"gslb", "ds", "--config", config}, {"gslb", "--config", config, "--datacenter", "par1"}}
		if strings.Contains(want, "no such file") {
			commands = append([][]string{append(commands[1], "--json")}, commands[2:]...) // it is on name servers alone
		}
		for _, command := range commands {
			got := program(t, nil, command...)
			if said := strings.Join(strings.Fields(got.stdout+got.stderr), " "); got.status != 1 || !strings.Contains(strings.ReplaceAll(said, `\"`, `"`), fmt.Sprint(filepath.Base(config), want)) || strings.Contains(said, "PRIVATE KEY-") {
				t.Errorf("%v: status %d: %s\nwant %s", command, got.status, said, want)
			}
		}
	}
}

// Three name servers with one key file are one signed zone: the DS that is printed is that of
// what each of them answers, and delv believes each, and nobody else.
func TestNameServersWithOneKey(t *testing.T) {
	key := filepath.Join(t.TempDir(), "dnssec.key")
	config := signedFleetFile(t, "    key: "+key+"\n")
	if made := program(t, nil, "gslb", "keygen", "--config", config); made.status != 0 {
		t.Fatal(made)
	}
	s := startNameServers(t, "  dnssec: { key: "+key+" }")
	records := s.says(0, 0, []string{"ds"}, "harbor.example.org. 3600 IN DS ")
	s.says(1, 0, []string{"status", "--fleet"}, "All name servers answer, and alike.")
	anchors := filepath.Join(t.TempDir(), "anchors")
	for i := range places {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeDNSKEY)
		a, _, err := (&dns.Client{Timeout: trial.Patience}).Exchange(m, net.JoinHostPort(s.addresses[i], s.ports["listen"]))
		if err != nil || len(a.Answer) != 1 {
			t.Fatalf("%v, %v", a, err)
		}
		k := a.Answer[0].(*dns.DNSKEY)
		if ds := strings.ReplaceAll(k.ToDS(dns.SHA256).String(), "\t", " "); !strings.Contains(records, ds) {
			t.Errorf("%s answers with a key of which the DS is %s, and printed is\n%s", places[i], ds, records)
		}
		if err := os.WriteFile(anchors, fmt.Appendf(nil, "trust-anchors { \"%s\" static-key 257 3 13 %q; };\n", name, k.PublicKey), 0o600); err != nil {
			t.Fatal(err)
		}
		for asked, want := range map[string]string{name: "; fully validated", "nobody." + name: "; negative response, fully validated"} {
			text, _ := exec.Command(trial.Client(t, "delv"), "@"+s.addresses[i], "-p", s.ports["listen"], "-a", anchors, "+root="+name, asked, "A").CombinedOutput()
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: delv %s: %s", places[i], asked, text)
			}
		}
	}
}
