package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func check(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := checkCommand()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCheckSaysWhatTheFileDescribes(t *testing.T) {
	out, err := check(t, "", "../../deploy/fleet.example.yaml")
	if err != nil || !strings.Contains(out, "3 datacenters") || !strings.Contains(out, "cache-dockerhub") || !strings.Contains(out, "drp1") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheExamplesAreSound(t *testing.T) {
	files, err := filepath.Glob("../../deploy/fleet.*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if out, err := check(t, "", file); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestCheckReportsEveryFaultAtOnce(t *testing.T) {
	const faulty = "domian: x\ndatacenters: { par1: { harbor: x, role: y } }\n"
	out, err := check(t, faulty, "-")
	if err == nil || out != "" {
		t.Fatalf("%v %q", err, out)
	}
	for _, want := range []string{"stdin:1: domian:", "stdin:2: datacenters.par1.harbor:", "stdin:2: datacenters.par1.role:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	out, err = check(t, faulty, "--json", "-")
	var report struct {
		OK     bool
		Faults []struct {
			Line           int
			Field, Message string
		}
	}
	if err == nil {
		t.Error("faults, and no exit status")
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.OK || len(report.Faults) < 3 || report.Faults[0].Line != 1 {
		t.Errorf("%v in %s", err, out)
	}
}

func TestCheckSaysWhatAFleetDoesWithout(t *testing.T) {
	const two = "domain: h.example.org\ndatacenters:\n  par1: { harbor: \"https://a.example.org\", edge: \"https://b.example.org\" }\n  mad1: { harbor: \"https://c.example.org\", edge: \"https://d.example.org\" }\n" +
		"projects: { multi-dc: { app: { immutable_tags: [\"**\"], robots: { sync: env:S } } } }\n"
	for text, want := range map[string]string{
		two: "note: edge.peers.key",
		two + "edge: { plain_http: true, peers: { key: env:K } }":                                                                         "note: harbor.token_certificates",
		two + "edge: { plain_http: true, peers: { key: env:K }, robot: { secret: env:S } }\nharbor: { token_certificates: [\"file:a\"] }": "",
	} {
		out, err := check(t, text, "-")
		if err != nil || want == "" && strings.Contains(out, "note:") || !strings.Contains(out, want) {
			t.Errorf("want %q: %v\n%s", want, err, out)
		}
	}
}

// Who reads a fleet file sees in which Harbors a project is.
func TestCheckSaysWhereProjectsAre(t *testing.T) {
	const three = "domain: h.example.org\ndatacenters:\n  a: { harbor: \"https://a.example.org\", edge: \"https://e.a.example.org\" }\n  b: { harbor: \"https://b.example.org\", edge: \"https://e.b.example.org\" }\n  c: { harbor: \"https://c.example.org\", edge: \"https://e.c.example.org\" }\n" +
		"projects: { multi-dc: { copies: 2, defaults: { robots: { sync: \"env:{name}\" } }, app: {}, wide: { copies: all } } }\nedge: { plain_http: true, peers: { key: env:K }, robot: { secret: env:S } }\n"
	out, err := check(t, three, "-")
	for _, want := range []string{"multi-dc-app   replicated between a, b\n", "multi-dc-wide  replicated between all datacenters\n"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("want %q: %v\n%s", want, err, out)
		}
	}
	var report struct{ Projects []project }
	out, err = check(t, three, "--json", "-")
	if json.Unmarshal([]byte(out), &report) != nil || err != nil || len(report.Projects) != 2 || !slices.Equal(report.Projects[0].Homes, []string{"a", "b"}) || report.Projects[1].Homes != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCheckOfAFileThatIsNotThere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fleet.yaml")
	if _, err := check(t, "", name); err == nil || !os.IsNotExist(err) && !strings.Contains(err.Error(), name) {
		t.Error(err)
	}
}
