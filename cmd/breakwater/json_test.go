package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// withoutJSON are the commands that have no --json, with why.
var withoutJSON = map[string]string{
	"edge":                  "a daemon: its log is JSON",
	"gslb":                  "a daemon: its log is JSON",
	"gslb delegation show":  "it prints the form that --for names",
	"init":                  "it writes a file, and asks",
	"schema":                "what it prints is JSON",
	"man":                   "it writes manual pages",
	"completion bash":       "it prints a script",
	"completion fish":       "it prints a script",
	"completion powershell": "it prints a script",
	"completion zsh":        "it prints a script",
}

// Every command that gives an answer gives it in JSON, and the manual has its shape.
func TestEveryCommandHasJSON(t *testing.T) {
	manual, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	root, seen := rootCommand(), 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, below := range cmd.Commands() {
			walk(below)
		}
		name := strings.TrimPrefix(cmd.CommandPath(), "breakwater ")
		if !cmd.Runnable() || name == "breakwater" || name == "help" {
			return
		}
		seen++
		flag, why := cmd.Flags().Lookup("json"), withoutJSON[name]
		if (why != "") == (flag != nil) {
			t.Errorf("%s: --json %v, and why not: %q", name, flag != nil, why)
		}
		if flag == nil {
			return
		}
		if _, one := flag.Value.(*jsonFlag); !one {
			t.Errorf("%s: its --json is another one", name)
		}
		if !strings.Contains(string(manual), "`breakwater "+name+"`") {
			t.Errorf("docs/json.md does not say what %s prints", name)
		}
	}
	walk(root)
	if seen < 30 {
		t.Errorf("%d commands were looked at", seen)
	}
}

// Objects begin with their format, lists are as they were, and an envelope has both. Which fields
// they have is compared with the manual in the lab (cmd/lab/json_shapes_test.go).
func TestJSONSaysItsFormat(t *testing.T) {
	config := namedFleet(t, named)
	topology := filepath.Join(t.TempDir(), "topology")
	if err := os.WriteFile(topology, []byte("10.0.0.0/8 par1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "zone.key")
	for line, list := range map[string]bool{
		"version":                               false,
		"check " + config:                       false,
		"hosts --for podman --config " + config: false,
		"gslb check --config " + config + " " + topology: false,
		"gslb keygen --config " + config + " " + key:     false,
		"provision lint --config " + config:              true,
	} {
		args := strings.Fields(line)
		envelope := struct {
			Format  int
			Command string
			Answer  json.RawMessage
		}{}
		got := program(t, nil, append(args, "--json=envelope")...)
		if err := json.Unmarshal([]byte(got.stdout), &envelope); err != nil || envelope.Format != 1 || !strings.HasPrefix(line, envelope.Command) || envelope.Command == "" {
			t.Errorf("%s: %v: %s%s", line, err, got.stdout, got.stderr)
		}
		if strings.Contains(line, "keygen") {
			if err := os.Remove(key); err != nil {
				t.Fatal(err)
			}
		}
		got = program(t, nil, append(args, "--json")...)
		if list {
			if !strings.HasPrefix(got.stdout, "[") || !strings.HasPrefix(string(envelope.Answer), "[") {
				t.Errorf("%s: no list: %s", line, got.stdout)
			}
			continue
		}
		object := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(got.stdout), &object); err != nil || string(object["format"]) != "1" || !strings.HasPrefix(strings.Join(strings.Fields(got.stdout), ""), `{"format":1,`) {
			t.Errorf("%s: %v: %s%s", line, err, got.stdout, got.stderr)
		}
	}
	if got := program(t, nil, "version", "--json=yaml"); got.status != 2 || !strings.Contains(got.stderr, `--json: "yaml" is no form of it; write --json, or --json=envelope`) {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
}

func TestWhatIsNoJSONIsNotPrinted(t *testing.T) {
	var out strings.Builder
	for _, text := range []string{"", "{", "<html>", "{} {}"} {
		if err := (&jsonFlag{wanted: true}).print(&out, []byte(text)); err == nil || out.Len() > 0 {
			t.Errorf("%q: %v: %s", text, err, &out)
		}
	}
	for text, want := range map[string]string{"{}": `{"format":1}`, " { } ": `{"format":1}`, `{"a":"<"}` + "\n": `{"format":1,"a":"<"}`, "[]": "[]", "null": "null"} {
		out.Reset()
		if err := (&jsonFlag{wanted: true}).print(&out, []byte(text)); err != nil || out.String() != want+"\n" {
			t.Errorf("%q: %v: %s", text, err, &out)
		}
	}
}
