package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fence is a block of a page: ```sh lab … are commands, ```text lab what is among what they print.
var fence = regexp.MustCompile("(?ms)^ *```(sh|text) lab([^\n]*)\n(.*?)^ *```$")

// TestRunbooks runs, page by page, what the runbooks say, against a lab with the built
// program. The words behind "lab" say on whose machine (par1's unless one is named), and
// what is wrong meanwhile.
func TestRunbooks(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	need(t, "openssl")
	pages, err := filepath.Glob("../../deploy/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	program, ran := bin(t, "breakwater"), 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := fence.FindAllStringSubmatch(string(text), -1)
		if blocks == nil {
			continue
		}
		ran++
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			t.Parallel() // each waits for replications most of the time
			f := startLab(t)
			if f.Datacenters[0].GSLB == "" {
				t.Skip("this system has one loopback address")
			}
			for _, d := range f.Datacenters {
				f.serving(t, program, d)
			}
			r := runbook{f: f, program: program, dir: t.TempDir()}
			for _, b := range blocks {
				if b[1] == "text" {
					r.printed(t, b[3])
				} else if !t.Run(strings.TrimSpace("block"+b[2]), func(t *testing.T) { r.run(t, strings.Fields(b[2]), b[3]) }) { // what is wrong is mended behind it
					return
				}
			}
		})
	}
	if ran < 6 {
		t.Errorf("only %d pages have commands that run", ran)
	}
}

type runbook struct {
	f       *fleetUnderTest
	program string
	dir     string
	output  string // of the last block
}

// run runs a block as the page means it.
func (r *runbook) run(t *testing.T, words []string, script string) {
	t.Helper()
	at := 0
	for _, word := range words {
		if i := slices.IndexFunc(r.f.Datacenters, func(d datacenterReport) bool { return d.Name == word }); i >= 0 {
			at = i
			continue
		}
		switch word {
		case "par1-down":
			fault(t, r.f.Datacenters[0].Faults, `[{"name":"down"}]`)
		case "provisioned":
			output(t, exec.Command(r.program, "provision", "apply", "--yes", "--config", r.f.Datacenters[0].Fleet))
		default:
			t.Fatalf("nobody knows what %q means", word)
		}
	}
	fleet := r.f.Datacenters[at].Fleet
	there := []string{"/etc/breakwater/fleet.yaml", fleet, "/etc/breakwater/", filepath.Dir(filepath.Dir(fleet)) + "/", "harbor.example.org", r.f.Domain}
	for _, d := range r.f.Datacenters {
		there = append([]string{"https://harbor." + d.Name + ".example.org", d.Harbor}, there...)
	}
	cmd := exec.Command("sh", "-eu", "-c", strings.NewReplacer(there...).Replace(script))
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(r.program)+":"+os.Getenv("PATH"), "HARBOR_PASSWORD="+r.f.Admin.Password)
	text, err := cmd.CombinedOutput()
	r.output = string(text)
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, script, text)
	}
}

// printed looks for what the page shows, whose … stands for anything.
func (r *runbook) printed(t *testing.T, shown string) {
	t.Helper()
	rest := r.output
	for _, part := range strings.Split(shown, "…") {
		_, after, ok := strings.Cut(rest, strings.TrimSpace(part))
		if !ok {
			t.Errorf("%q is not in\n%s", strings.TrimSpace(part), r.output)
			return
		}
		rest = after
	}
}
