package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/cmd/internal/preflight"
)

func doctor(t *testing.T, text string, args ...string) (stdout string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := doctorCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"--config", file, "--datacenter", "par1"}, args...))
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

const alone = "domain: h.example.org\ndatacenters: { par1: { harbor: \"http://127.0.0.1:1\" } }\nedge: { plain_http: true, listen: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", store: { path: STORE, size: 1MiB } }\n"

// The table says what and what to do, and the exit status how bad it is.
func TestDoctorPrintsATable(t *testing.T) {
	text := strings.Replace(alone, "STORE", t.TempDir(), 1)
	const elsewhere = "machine,store"
	out, err := doctor(t, text, "--skip", elsewhere)
	if !errors.Is(err, exitFaults) || !strings.HasPrefix(out, "CHECK ") || !strings.Contains(out, "refuses the connection") || !strings.Contains(out, "1 fault, 1 warning.") {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		if len(line) > 190 || strings.HasSuffix(line, " \n") {
			t.Errorf("%d characters: %s", len(line), line)
		}
	}
	if out, err := doctor(t, text, "--skip", elsewhere+",harbor"); !errors.Is(err, exitWarnings) || !strings.Contains(out, "harbor.password") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := doctor(t, text, "--skip", elsewhere+",harbor", "--warnings-ok"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := doctor(t, text, "--skip", elsewhere+",harbor.refused", "--for", "edge"); err != nil || strings.Contains(out, "administrator") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A misspelt id would go on failing what it was to leave out, without a word.
func TestDoctorSkipsNoCheckThatThereIsNot(t *testing.T) {
	text := strings.Replace(alone, "STORE", t.TempDir(), 1)
	for _, id := range []string{"foo", "stores", "foo.refused", ""} {
		if out, err := doctor(t, text, "--skip", "store,"+id); err == nil || !strings.Contains(err.Error(), "there is no check") || !strings.Contains(err.Error(), "robot, secrets, store, ") {
			t.Errorf("%q: %v\n%s", id, err, out)
		}
	}
	if _, err := doctor(t, text, "--skip", "peer,upstream,delegation,store.room"); err != nil && strings.Contains(err.Error(), "there is no check") {
		t.Error(err)
	}
}

func TestDoctorOfAFleetFileWithFaults(t *testing.T) {
	out, err := doctor(t, "domian: x\n", "--json")
	var found []preflight.Finding
	if !errors.Is(err, exitFaults) || json.Unmarshal([]byte(out), &found) != nil || len(found) < 2 || found[0].ID != "fleet.fault" || found[0].Result != preflight.Bad {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDoctorRefusesWhatItDoesNotKnow(t *testing.T) {
	for want, args := range map[string][]string{"want edge, gslb or provision": {"--for", "store"}, "mad1": {"--datacenter", "mad1"}, "want an address": {"--root", "x"}} {
		if out, err := doctor(t, alone, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
