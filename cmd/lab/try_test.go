package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"example.org/breakwater/internal/trial"
)

// TestWhatTheLabPrintsCanBePasted starts the lab as people do, and pastes every line that it
// suggests into a shell, in their order. A line whose client is not there is left out.
func TestWhatTheLabPrintsCanBePasted(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	lines, printed := labThatPrints(t)
	if len(lines) < 25 {
		t.Fatalf("only %d lines are suggested in\n%s", len(lines), printed)
	}
	beginsWithTheConsole(t, printed)
	home := shortDir(t)
	env, planned := pasteEnv(t, home), false
	for _, line := range lines {
		t.Run(line, func(t *testing.T) {
			words := strings.Fields(line)
			for strings.Contains(words[0], "=") { // a variable
				words = words[1:]
			}
			client := trial.Client(t, words[0])
			if words[0] == "docker" && env.docker == "" || words[0] == "podman" && os.Getuid() != 0 {
				t.Skip(client + " needs a daemon, or root")
			}
			pasted := line
			if strings.Contains(line, "./cmd/lab") && !strings.Contains(line, "status") { // it shows what clients see for 20 s
				pasted += " --for 1s"
			}
			cmd := clientCommand(t, home, trial.Client(t, "bash"), "-c", pasted)
			cmd.Dir, cmd.Env = "../..", append(cmd.Env, env.variables...)
			text, err := cmd.CombinedOutput()
			want := 0
			if strings.Contains(line, "provision plan") && !planned {
				want, planned = 2, true
			}
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("status %d, %v\n%s", got, err, text)
			}
			for _, trouble := range []string{"exit status", "usage:", "%!", " # "} {
				if strings.Contains(string(text)+line, trouble) {
					t.Errorf("%q is in\n%s", trouble, text)
				}
			}
		})
	}
}

// beginsWithTheConsole requires that the first of what is printed are the console's addresses,
// one of each datacenter, and that a browser is shown a page there.
func beginsWithTheConsole(t *testing.T, printed string) {
	t.Helper()
	const each = `( \S+  http://\S+/\n)`
	first := regexp.MustCompile(`^Look at it in a browser.*\n\n` + each + each + each + `\n`).FindStringSubmatch(printed)
	if first == nil {
		t.Errorf("it does not begin with the console:\n%s", printed)
		return
	}
	for i, line := range first[1:] {
		words := strings.Fields(line)
		resp, err := http.Get(words[1])
		if err != nil {
			t.Error(err)
			continue
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || words[0] != places[i].name || resp.StatusCode != http.StatusOK || !strings.Contains(string(page), " · breakwater</title>") {
			t.Errorf("%s: %v, %s\n%s", line, err, resp.Status, page)
		}
	}
}

// labThatPrints starts a lab, and returns the lines that it suggests and all that it prints.
func labThatPrints(t *testing.T) (lines []string, printed string) {
	t.Helper()
	return suggested(t, exec.Command(bin(t, "lab"), "--port", "0", "--quiet-harbors"))
}

// suggested starts that lab, and returns the same of it.
func suggested(t *testing.T, lab *exec.Cmd) (lines []string, printed string) {
	t.Helper()
	stdout, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	lab.Stderr = &stderr
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		lab.Process.Signal(syscall.SIGINT) //nolint:errcheck // it may have ended
		lab.Wait()                         //nolint:errcheck // see above
	})
	for scan := bufio.NewScanner(stdout); scan.Scan(); {
		printed += scan.Text() + "\n"
		if line, ok := strings.CutPrefix(scan.Text(), "  "); ok {
			lines = append(lines, line)
		}
		if strings.Contains(scan.Text(), "Ctrl-C") {
			go func() {
				for scan.Scan() { // requests
				}
			}()
			return lines, printed
		}
	}
	t.Fatalf("the lab ended\n%s%s", printed, &stderr)
	return nil, ""
}

type pasting struct {
	variables []string
	docker    string // its socket; "": none
}

// pasteEnv is what the clients of the lines use instead of the machine's own.
func pasteEnv(t *testing.T, home string) (p pasting) {
	t.Helper()
	storage := home + "/storage.conf"
	text := "[storage]\ndriver = \"vfs\"\ngraphroot = \"" + home + "/root\"\nrunroot = \"" + home + "/runroot\"\n"
	if err := os.WriteFile(storage, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.variables = []string{"CONTAINERS_STORAGE_CONF=" + storage, "GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE")}
	if daemon, err := exec.LookPath("dockerd"); err == nil && os.Getuid() == 0 {
		dockerDaemon(t, home, daemon)
		p.docker = "unix://" + home + "/d.sock"
		p.variables = append(p.variables, "DOCKER_HOST="+p.docker)
	}
	return p
}

// goEnv is what go has for a variable; a home of the test's own would give it another.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	text, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
