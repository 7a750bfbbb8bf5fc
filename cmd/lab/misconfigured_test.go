package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

var update = flag.Bool("update", false, "write what programs say of misconfigurations into cmd/README.md")

// TestMisconfigurations has a fleet file with one thing wrong after another checked, examined and
// started, and compares what is said of each with the table of cmd/README.md. Nothing that is
// wrong may be passed over by all.
func TestMisconfigurations(t *testing.T) {
	if testing.Short() || !trial.Full() {
		t.Skip("80 fleets are started")
	}
	f := startLab(t)
	if f.Datacenters[0].GSLB == "" {
		t.Skip("this system has one loopback address")
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html><title>Welcome</title></html>") //nolint:errcheck // a test's
	}))
	t.Cleanup(page.Close)
	at := func(n int) *world { return newWorld(t, f, n, page.URL) }
	whole := at(0)
	well := whole.says(t, misconfiguration{}, nil)
	count := len(misconfigurations(whole))
	rows := make([]string, count)
	t.Run("rows", func(t *testing.T) {
		slots := make(chan struct{}, 4)
		for i := range count {
			w := at(i + 1)
			m := misconfigurations(w)[i]
			t.Run(m.what, func(t *testing.T) {
				if m.fault == "" { // the others share the lab
					t.Parallel()
					slots <- struct{}{}
					defer func() { <-slots }()
				}
				said := w.says(t, m, well)
				if said.nothing() {
					t.Error("nothing is said of it")
				}
				rows[i] = fmt.Sprintf("| %s | %s |", m.what, strings.Join(said.cells(), " | "))
			})
		}
	})
	compareTable(t, "../README.md", rows)
}

// said is what the four say of a fleet file: sentences of what does not load, and the names of
// findings else.
type said struct{ check, doctor, start, status []string }

func (s *said) all() []*[]string { return []*[]string{&s.check, &s.doctor, &s.start, &s.status} }

// nothing reports whether all four are silent.
func (s *said) nothing() bool {
	return !slices.ContainsFunc(s.all(), func(part *[]string) bool { return len(*part) > 0 })
}

// without leaves out what is said of a well fleet file too.
func (s *said) without(well *said) {
	for i, part := range s.all() {
		*part = slices.DeleteFunc(*part, func(text string) bool { return slices.Contains(*well.all()[i], text) })
	}
}

// cells are the four, with what is repeated said once.
func (s *said) cells() (cells []string) {
	for i, part := range s.all() {
		texts := slices.Compact(slices.Sorted(slices.Values(*part)))
		text := strings.Join(texts[:min(len(texts), 2)], "; ")
		switch {
		case text == "":
			text = "-"
		case i > 0 && slices.Equal(texts, slices.Compact(slices.Sorted(slices.Values(s.check)))):
			text = "the same"
		}
		cells = append(cells, strings.NewReplacer("|", "\\|", "<", "&lt;").Replace(text))
	}
	return cells
}

// says has a fleet file with something wrong checked, examined, started and asked about, and
// leaves out what is said of the well one too.
func (w *world) says(t *testing.T, m misconfiguration, well *said) *said {
	t.Helper()
	config := w.write(t, m)
	if m.fault != "" {
		fault(t, w.f.Datacenters[0].Faults, m.fault)
		trial.Until(t, func() error { // Harbor's health is late, as a real one's
			if health := get(t, w.harbor(0)+"/api/v2.0/health"); !strings.Contains(health, `"unhealthy"`) {
				return errors.New(health)
			}
			return nil
		})
	}
	at := m.args
	if at == nil {
		at = []string{"--datacenter", "par1"}
	}
	s := &said{}
	stdout, stderr := w.run(t, "check", config)
	for _, line := range strings.Split(stderr+stdout, "\n") {
		if note, ok := strings.CutPrefix(line, "note: "); ok || strings.Contains(stderr, line) && line != "" {
			s.check = append(s.check, w.plain(cmp.Or(note, line)))
		}
	}
	findings := func(args ...string) (found []string) {
		stdout, stderr := w.run(t, append(args, at...)...)
		var examined []struct{ ID, Result string }
		var checked struct{ Machine []struct{ ID, Result string } }
		if json.Unmarshal([]byte(stdout), &examined) != nil && json.Unmarshal([]byte(stdout), &checked) == nil {
			examined = checked.Machine
		}
		for _, finding := range examined {
			if (finding.Result == "fault" || finding.Result == "warning") && finding.ID != "store.slow" { // that is this machine's
				found = append(found, "`"+finding.ID+"`")
			}
		}
		if len(found) == 0 {
			found = w.lines(stderr)
		}
		return found
	}
	if len(s.check) == 0 {
		s.check = findings("check", "--json", config)
	}
	s.doctor = findings("doctor", "--json", "--config", config, "--root", w.f.Parent)
	edge := w.start(t, append([]string{"edge", "--config", config}, at...))
	s.start = edge.says(t, w)
	gslb := w.start(t, append([]string{"gslb", "--config", config}, at...)) // it probes the edge
	s.start = append(s.start, gslb.says(t, w)...)
	stdout, stderr = w.run(t, "status", "--json", "--config", config)
	var state struct{ Findings []struct{ Kind string } }
	if json.Unmarshal([]byte(stdout), &state) == nil {
		for _, finding := range state.Findings {
			s.status = append(s.status, "`"+finding.Kind+"`")
		}
	} else {
		s.status = w.lines(stderr)
	}
	edge.stop()
	gslb.stop()
	if well != nil {
		s.without(well)
	}
	return s
}

// write puts the fleet file with its fault into the world's directory.
func (w *world) write(t *testing.T, m misconfiguration) (config string) {
	t.Helper()
	text := w.text
	for i := 0; i+1 < len(m.edits); i += 2 {
		if !strings.Contains(text, m.edits[i]) {
			t.Fatalf("the fleet file does not hold %q:\n%s", m.edits[i], text)
		}
		text = strings.ReplaceAll(text, m.edits[i], m.edits[i+1])
	}
	config = w.file("fleet.yaml")
	files := map[string]string{"fleet.yaml": text}
	maps.Copy(files, m.files)
	for name, content := range files {
		if err := os.WriteFile(w.file(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

// run runs the program to its end, which must not take a minute.
func (w *world) run(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin(t, "breakwater"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run() //nolint:errcheck // what it says counts
	if ctx.Err() != nil {
		t.Errorf("breakwater %s takes a minute:\n%s%s", args[0], &out, &errs)
	}
	return out.String(), errs.String()
}

// started is a daemon that runs, or does not.
type started struct {
	cmd    *exec.Cmd
	lines  chan string // what it logs
	serves string      // the line that says that it does
	end    context.CancelFunc
}

func (w *world) start(t *testing.T, args []string) *started {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &started{cmd: exec.CommandContext(ctx, bin(t, "breakwater"), args...), lines: make(chan string, 1000), end: cancel, serves: map[string]string{"edge": "listening", "gslb": "answering"}[args[0]]}
	stderr, err := d.cmd.StderrPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.lines <- lines.Text()
		}
		close(d.lines)
	}()
	return d
}

// looksFor is how long the look of a daemon around itself may take, and then some.
const looksFor = 6 * time.Second

// says collects why the daemon does not start, or what it finds as it does until it serves.
func (d *started) says(t *testing.T, w *world) (found []string) {
	t.Helper()
	over, serves, looked := time.After(looksFor), false, false
	for !serves || !looked {
		select {
		case <-over:
			return found
		case line, more := <-d.lines:
			if !more {
				return found
			}
			var logged struct{ Level, Msg, ID, Field string }
			switch {
			case json.Unmarshal([]byte(line), &logged) != nil:
				found = append(found, w.plain(line))
			case logged.Msg == "preflight ended":
				looked = true
			case logged.Msg == d.serves:
				serves = true
			case logged.ID != "":
				found = append(found, "`"+logged.ID+"`")
			case logged.Field != "":
				found = append(found, "`"+logged.Field+"`: "+logged.Msg)
			}
		}
	}
	return found
}

func (d *started) stop() {
	d.end()
	for range d.lines { // to its end
	}
	d.cmd.Wait() //nolint:errcheck // it was killed
}

// lines are the sentences of what a command prints for people.
func (w *world) lines(text string) (all []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, w.plain(line))
		}
	}
	return all
}

var (
	loopbacks = regexp.MustCompile(`127\.0\.\d+\.\d+(:\d+)?`)
	sizes     = regexp.MustCompile(`\d+(\.\d+)?[KMGT]iB`)
)

// plain is a sentence without what differs from run to run.
func (w *world) plain(text string) string {
	text = strings.NewReplacer(w.dir+"/", "", w.f.Dir+"/", "", w.host, "127.0.0.1").Replace(text)
	return sizes.ReplaceAllString(loopbacks.ReplaceAllString(text, "127.0.0.1"), "…GiB")
}

const (
	tableBegins = "<!-- misconfigurations: BREAKWATER_TESTS=full go test ./cmd/lab -run TestMisconfigurations -update -->\n"
	tableEnds   = "<!-- end of misconfigurations -->\n"
)

// compareTable compares the table of a page with what it should be, or writes it.
func compareTable(t *testing.T, page string, rows []string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegins)
	is, after, ok2 := strings.Cut(rest, tableEnds)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := "\n| wrong | `check` | `doctor` | the start | `status` |\n|---|---|---|---|---|\n" + strings.Join(rows, "\n") + "\n\n"
	if *update {
		if err := os.WriteFile(page, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	had := strings.Split(is, "\n")
	for _, row := range rows {
		if !slices.Contains(had, row) {
			t.Errorf("%s does not have this row; -update writes it:\n%s", page, row)
		}
	}
	if is != want && !t.Failed() {
		t.Errorf("%s has rows that are not of this test, or in another order", page)
	}
}
