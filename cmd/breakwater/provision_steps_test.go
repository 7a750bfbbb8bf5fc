package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// Long work says its steps on stderr where its JSON is to be on stdout alone.
func TestStepsAreInTheJSONToo(t *testing.T) {
	config, _ := provisionFleet(t)
	provisions(t, 0, "apply", "--config", config, "--yes")
	for line, want := range map[string]struct {
		status int
		done   bool
	}{
		"rotate sync":             {0, true},
		"refill par1 --from mad1": {0, true},
		"refill par1 --from par1": {1, false},
		"rotate nobody":           {1, false},
	} {
		args := append(append([]string{"provision"}, strings.Fields(line)...), "--json", "--config", config)
		got := program(t, nil, args...)
		var answer struct {
			Format int
			Done   bool
			Steps  []string
		}
		if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || got.status != want.status || answer.Format != 1 || answer.Done != want.done || want.done && len(answer.Steps) == 0 {
			t.Errorf("%s: %v, status %d: %s%s", line, err, got.status, got.stdout, got.stderr)
		}
		for _, step := range answer.Steps {
			if !strings.Contains(got.stderr, step) {
				t.Errorf("%s: %q is not on stderr: %s", line, step, got.stderr)
			}
		}
	}
}

// Somebody at a terminal sees how far it is; what reads the JSON, or a log, does not.
func TestLongWorkShowsABarOnATerminal(t *testing.T) {
	config, harbors := provisionFleet(t)
	name, text := harbors[0].Admin()
	password := namedFleet(t, text)
	for _, c := range []struct{ line, bar string }{
		{"provision apply --yes --json --datacenter par1 --config F", "[========================] "},
		{"provision apply --yes --json --datacenter mad1 --config F", "reading the Harbors"},
		{"provision verify --no-canary --json --config F", " checks, last "},
		{"provision rotate sync --json --config F", "peers log in as a second robot"},
		{"provision export --json --domain h.example.org --username " + name + " --password file:" + password + " --harbor par1=" + harbors[0].URL() + " --harbor mad1=" + harbors[1].URL(), "[============            ] 1 of 2, "},
		{"warm --json --admin " + edgeOfACache(t) + " cache-hub/app:v1", "[========================] 1 of 1, "},
	} {
		for _, environment := range []string{"TERM=xterm", "TERM=dumb"} { // the first of apply has something to do
			cmd := exec.CommandContext(t.Context(), os.Args[0], strings.Fields(strings.ReplaceAll(c.line, " F", " "+config))...)
			cmd.Env = append(os.Environ(), asProgram+"=1", "NO_COLOR=", environment)
			var stdout bytes.Buffer
			cmd.Stdout = &stdout
			seen := trial.OnTerminal(t, 100, cmd)
			if live := environment != "TERM=dumb"; strings.Contains(seen, "\x1b[K") != live || live && !strings.Contains(seen, c.bar) {
				t.Errorf("%s, %s: %q", c.line, environment, seen)
			}
			if strings.Contains(c.line, "json") && !json.Valid(stdout.Bytes()) || strings.Contains(stdout.String(), "\x1b[K") {
				t.Errorf("%s, %s: stdout has %q", c.line, environment, &stdout)
			}
			if !strings.HasSuffix(seen, "\x1b[K") && strings.Contains(seen, "\x1b[K") && !strings.HasSuffix(seen, "\n") {
				t.Errorf("%s, %s: it stays: %q", c.line, environment, seen)
			}
		}
	}
}
