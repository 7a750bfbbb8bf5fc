package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Whoever writes a command line wrongly is told which word of it, and how it is written.
func TestACommandLineThatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"explain --config x":                     "REFERENCE is missing\nusage: breakwater explain --config fleet.yaml REFERENCE",
		"purge --config x":                       "DIGEST is missing",
		"warm --config x":                        "REFERENCE… is missing",
		"warm status --config x a":               `"a" is an argument too many`,
		"purge --config x a b":                   `"b" is an argument too many`,
		"gslb drain --config x":                  "DATACENTER is missing",
		"gslb force --config x par1":             "up|down is missing",
		"gslb force --config x par1 sideways":    `"sideways" is neither up nor down`,
		"version x":                              `"x" is an argument too many`,
		"edge":                                   "--config is missing",
		"hosts":                                  "--config and --for are missing",
		"hosts --config x":                       "--for is missing",
		"hosts --config x --for cri":             "want one of containerd, docker, podman",
		"hosts --config":                         "needs an argument: --config",
		"explain x":                              "config admin",
		"chek":                                   "do you mean check?",
		"--config x chek":                        "do you mean check?",
		"--config=x chek":                        "do you mean check?",
		"help chek":                              "do you mean check?",
		"gslb --config x --datacenter y statu":   "do you mean status?",
		"edge drian --config x":                  "do you mean drain?",
		"edge --config x drian":                  "do you mean drain?",
		"gslb help":                              "for help say: breakwater help gslb",
		"completion bsh":                         "do you mean bash?",
		"gslb something":                         "it has check, check-delegation, delegation, drain",
		"--config x":                             "name the command first",
		"edge --config - --datacenter par1":      "name the file",
		"gslb --config - --datacenter par1":      "name the file",
		"gslb --config x --datacenter":           "needs an argument: --datacenter",
		"gslb drain --config x par1 --for later": "later",
	} {
		got := program(t, nil, strings.Fields(line)...)
		if got.status != 2 || got.stdout != "" || !strings.Contains(got.stderr, want) || !strings.Contains(got.stderr, "\nusage: breakwater") {
			t.Errorf("%s: want %q, status 2 and the usage: status %d\n%s%s", line, want, got.status, got.stdout, got.stderr)
		}
	}
	// Nobody reads of it what 2 says elsewhere: that there are warnings only, or something to do.
	for line, want := range map[string]string{
		"check":                    "FILE is missing\nusage: breakwater check [FILE]",
		"check a b":                `"b" is an argument too many`,
		"check --config a b":       "once: FILE or --config",
		"check --confg x":          "has no flag --confg; do you mean --config?",
		"check --josn x":           "do you mean --json?",
		"doctor":                   "are missing",
		"doctor --datacentre x":    "do you mean --datacenter?",
		"status --confg x":         "do you mean --config?",
		"provision pln":            "do you mean plan?",
		"provision --config x pln": "do you mean plan?",
		"provision plan --confg x": "do you mean --config?",
		"provision rotate":         "ROBOT is missing",
	} {
		if got := program(t, nil, strings.Fields(line)...); got.status != 1 || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: status %d: %s", line, got.status, got.stderr)
		}
	}
	for _, line := range []string{"", "help check", "check --help", "provision", "version", "--version", "completion bash"} {
		if got := program(t, nil, strings.Fields(line)...); got.status != 0 || got.stderr != "" || got.stdout == "" {
			t.Errorf("%q: status %d: %s", line, got.status, got.stderr)
		}
	}
}

// A word that cannot stand where it does is named, with what can.
func TestAWordThatCannotStandThere(t *testing.T) {
	config := namedFleet(t, named)
	const has = " of fleet.yaml; it has par1, mad1, drp1\nusage: breakwater"
	for line, want := range map[string]string{
		"edge drain --config F --fleet parx":           `"parx" is no datacenter` + has,
		"edge release --config F --fleet par1 parx":    `"parx" is no datacenter` + has,
		"gslb drain --config F parx":                   `"parx" is no datacenter` + has,
		"gslb release --config F parx":                 `"parx" is no datacenter` + has,
		"gslb force --config F parx up":                `"parx" is no datacenter` + has,
		"gslb drain --config F":                        "DATACENTER is missing; fleet.yaml has par1, mad1, drp1\nusage: breakwater",
		"purge --config F sha256:abc":                  `"sha256:abc" is no digest; write sha256: and 64 hexadecimal digits`,
		"purge --config F":                             "DIGEST is missing; write sha256: and 64 hexadecimal digits",
		"hosts --config F --for cri":                   `--for: "cri" is no engine; want one of containerd, docker, podman`,
		"gslb delegation show --config F --for x":      `--for: "x" is no form; want one of bind, route53, clouddns, cloudflare, externaldns`,
		"gslb explain --config F --client par1":        `--client: "par1" is no client; write an address or a network, as 203.0.113.7`,
		"gslb lookup --config F --client 1.2.3":        `--client: "1.2.3" is no client`,
		"warm --config F a --timeout soon":             `--timeout: "soon" is no duration; write one as 90s, 15m or 2h`,
		"provision plan --config F --datacenter parx":  `--datacenter: "parx" is no datacenter` + has,
		"provision apply --config F --prune-max x":     `--prune-max: "x" is no whole number`,
		"provision verify --config F --project repo3":  `--project: "repo3" is no multi-dc project of fleet.yaml; it has repo1, repo2`,
		"provision refill --config F parx --from mad1": `"parx" is no datacenter` + has,
		"provision refill --config F par1 --from madx": `--from: "madx" is no datacenter` + has,
		"check F --for store":                          `--for: "store" is no part of a machine; want one of edge, gslb, provision`,
	} {
		status := exitUsage
		if first, _, _ := strings.Cut(line, " "); slices.Contains(otherwise2, first) {
			status = 1
		}
		got := program(t, nil, strings.Fields(strings.ReplaceAll(line, "F", config))...)
		if got.status != int(status) || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: want %q and status %d: status %d\n%s%s", line, want, status, got.status, got.stdout, got.stderr)
		}
	}
}

// All commands read a fleet file alike, and say in a sentence why they cannot.
func TestAFleetFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	pipe, large, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "large"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 300<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	faults := map[string]string{
		filepath.Join(dir, "none"): "there is no fleet file " + dir,
		link:                       "there is no fleet file " + dir,
		dir:                        "is a directory",
		pipe:                       "is no regular file",
		"":                         "has no name",
		"/dev/zero":                "is no regular file",
		large:                      "larger than",
	}
	if os.Getuid() != 0 {
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, nil, 0); err != nil {
			t.Fatal(err)
		}
		faults[secret] = "permission denied"
	}
	for _, command := range []string{"check", "check --config", "hosts --for podman --config", "explain x --config", "purge sha256:" + strings.Repeat("0", 64) + " --config", "warm x --config", "warm status --config", "edge --datacenter par1 --config", "edge ready --config", "edge drain --config",
		"gslb --datacenter par1 --config", "gslb status --config", "gslb ready --config", "gslb check-delegation --config", "provision plan --config", "provision verify --config", "provision lint --config", "provision rotate sync --config"} {
		for file, want := range faults {
			got := program(t, nil, append(strings.Fields(command), file)...)
			if got.status != 1 || !strings.Contains(got.stderr, want) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("%s %s: want a sentence with %q: status %d: %s", command, file, want, got.status, got.stderr)
			}
		}
		if strings.Contains(command, "--datacenter") || command == "check" {
			continue // daemons take no standard input
		}
		if got := program(t, strings.NewReader("domian: x\n"), append(strings.Fields(command), "-")...); !strings.Contains(got.stdout+got.stderr, "stdin:1: domian") {
			t.Errorf("%s -: status %d: %s", command, got.status, got.stderr)
		}
	}
}

// What is piped in is read no further than a fleet file may be long.
func TestStandardInputIsBounded(t *testing.T) {
	for _, command := range []string{"check -", "hosts --for docker --config -"} {
		if got := program(t, zeros{}, strings.Fields(command)...); got.status != 1 || !strings.Contains(got.stderr, "larger than") {
			t.Errorf("%s: status %d: %s", command, got.status, got.stderr)
		}
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

var _ io.Reader = zeros{}

func TestOneOfThemIsNotMany(t *testing.T) {
	got := program(t, nil, "check", "../../internal/fleet/testdata/minimal.yaml")
	if !strings.Contains(got.stdout, "is a fleet of 1 datacenter and 1 project.") {
		t.Error(got.stdout)
	}
	if got := program(t, nil, "check", "../../deploy/fleet.example.yaml"); !strings.Contains(got.stdout, "is a fleet of 3 datacenters and 7 projects.") {
		t.Error(got.stdout)
	}
}

// A daemon is told where it is, unless there is one place only.
func TestADatacenterThatIsLeftOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	text := "domain: harbor.example.org\ndatacenters: { par1: { harbor: \"http://127.0.0.1:1\" }, mad1: { harbor: \"http://127.0.0.1:2\" } }\nedge: { plain_http: true }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, daemon := range []string{"edge", "gslb"} {
		for _, args := range [][]string{{daemon, "--config", file}, {daemon, "--config", file, "--datacenter", ""}} {
			if got := program(t, nil, args...); got.status != 2 || !strings.Contains(got.stderr, "write one of mad1, par1\nusage: ") {
				t.Errorf("%v: status %d\n%s", args, got.status, got.stderr)
			}
		}
	}
}
