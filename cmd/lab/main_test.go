package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

func TestAPortThatIsTaken(t *testing.T) {
	l, err := listen("test", hubHost, 0, 0, 0)
	if err != nil {
		t.Skip("this system has one loopback address")
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	text := fails(t, exec.Command(bin(t, "lab"), "--port", port))
	if !strings.Contains(text, port) || !strings.Contains(text, "--port 0") || strings.Count(text, "\n") != 1 {
		t.Errorf("want one sentence that names the port and what to do:\n%s", text)
	}
}

// onFirst is where a program writes that is interrupted when it has written something.
type onFirst struct {
	cmd  *exec.Cmd
	seen []byte
}

func (w *onFirst) Write(b []byte) (int, error) {
	w.cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
	w.seen = append(w.seen, b...)
	return len(b), nil
}

// Who starts a lab at a terminal sees how far it is; what comes after is below the bar's end.
func TestALabThatStartsShowsABarOnATerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), bin(t, "lab"), "--json", "--port", "0")
	cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm")
	stdout := &onFirst{cmd: cmd}
	cmd.Stdout = stdout
	seen := trial.OnTerminal(t, 100, cmd)
	if !json.Valid(stdout.seen) {
		t.Errorf("stdout has %s", stdout.seen)
	}
	rest, drawn := seen, false
	for i, what := range []string{"Harbors", "images", "fleet files", "edge and name server of par1", "edge and name server of mad1", "edge and name server of drp1", "the zone above"} {
		if _, rest, drawn = strings.Cut(rest, fmt.Sprintf("] %d of 7, ", i)); drawn {
			_, rest, drawn = strings.Cut(rest, "s  "+what)
		}
		if !drawn {
			t.Fatalf("%q is not drawn in its place: %q", what, seen)
		}
	}
	if strings.Contains(seen[strings.LastIndex(seen, "\r\x1b[K"):], " of 7, ") {
		t.Errorf("the bar stays: %q", seen)
	}
}

// TestProvisionTheLab runs what the lab tells its user to try: the built program
// sets its Harbors up, and then what is pushed to one is in all. What it prints for machines
// there, and what all other commands print, is as docs/json.md says.
func TestProvisionTheLab(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f, program := startLab(t), bin(t, "breakwater")
	crane, home := trial.Client(t, "crane"), t.TempDir()
	provision := func(args ...string) *exec.Cmd {
		return exec.Command(program, append([]string{"provision", args[0], "--config", f.Datacenters[0].Fleet}, args[1:]...)...)
	}
	fails(t, provision("plan")) // there is something to do
	documented := readJSONManual(t)
	answers := func(command string, flags ...string) {
		t.Helper()
		documented.answers(t, "breakwater provision "+command, program, append([]string{"provision", command, "--config", f.Datacenters[0].Fleet}, flags...)...)
	}
	answers("plan")
	answers("apply", "--yes")
	if text := output(t, provision("plan")); !strings.Contains(text, "Nothing to do") {
		t.Errorf("a second plan says\n%s", text)
	}
	output(t, provision("verify"))
	answers("verify", "--no-canary")

	edge, writer := f.edge(0), f.Robots[1]
	output(t, clientCommand(t, home, crane, "auth", "login", "--insecure", edge, "-u", writer.Name, "-p", writer.Secret))
	output(t, clientCommand(t, home, crane, "copy", "--insecure", edge+"/multi-dc-demo/app:v1", edge+"/multi-dc-demo/replicated:v1"))
	for _, d := range f.Datacenters[1:] {
		trial.Until(t, func() error {
			req, err := http.NewRequest(http.MethodHead, d.Harbor+"/v2/multi-dc-demo/replicated/manifests/v1", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth(f.Admin.Username, f.Admin.Password)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("the Harbor of %s does not have what was pushed: %s", d.Name, resp.Status)
			}
			return nil
		})
	}
	if f.Datacenters[0].GSLB == "" {
		t.Skip("this system has one loopback address")
	}
	documented.answersAsDocumented(t, f)
	documented.complete(t, untried)
}
