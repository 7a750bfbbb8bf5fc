package main

import (
	"fmt"
	"net/http"
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

// TestProvisionTheLab runs what the lab tells its user to try: the built program
// sets its Harbors up, and then what is pushed to one is in all.
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
	output(t, provision("apply", "--yes"))
	if text := output(t, provision("plan")); !strings.Contains(text, "Nothing to do") {
		t.Errorf("a second plan says\n%s", text)
	}
	output(t, provision("verify"))

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
}
