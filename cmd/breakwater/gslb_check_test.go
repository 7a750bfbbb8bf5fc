package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A topology or a database is judged before a name server gets it, by the same rules.
func TestAFileOfNameServersIsChecked(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config := put("fleet.yaml", `domain: harbor.example.org
datacenters: { par1: { harbor: "https://a.example.org", addresses: [192.0.2.1], gslb: [192.0.2.53] }, mad1: { harbor: "https://b.example.org", addresses: [192.0.2.2] } }
gslb: { topology: /nowhere }
`)
	for file, want := range map[string]string{
		put("good", "10.1.0.0/16 par1 mad1\n"):                 "good is good: ",
		put("stranger", "10.1.0.0/16 par1\n10.2.0.0/16 pa1\n"): `stranger:2: there is no datacenter "pa1"; do you mean par1?`,
		put("empty", "# nothing\n"):                            "empty says nothing: was it cut short?",
		put("no.mmdb", "10.1.0.0/16 par1\n"):                   "no.mmdb: it is no MaxMind database",
		"../../gslb/testdata/nowhere":                          "no such file",
	} {
		got := program(t, nil, "gslb", "check", "--config", config, file)
		if bad := got.status != 0; !strings.Contains(got.stdout+got.stderr, want) || bad == strings.HasSuffix(want, "is good: ") {
			t.Errorf("%s: status %d, %s%s; want %q", file, got.status, got.stdout, got.stderr, want)
		}
	}
}
