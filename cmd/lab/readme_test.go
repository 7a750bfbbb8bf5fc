package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// TestTheFirstPullOfTheREADME does what README.md says to do in the first minute, in a lab on
// other ports: every command between its heading and the tour, which has a test of its own.
func TestTheFirstPullOfTheREADME(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "\n## A first pull in 60 seconds\n")
	if !ok {
		t.Fatal("README.md has no first pull")
	}
	part, _, _ = strings.Cut(part, "--tour")
	f, home := startLab(t), t.TempDir()
	if f.Datacenters[0].GSLB == "" {
		t.Skip("this system has one loopback address")
	}
	docker := dockerDaemon(t, home, trial.Client(t, "dockerd"))
	lab, ran := bin(t, "lab"), 0
	for _, command := range commandsOf(part) {
		words := strings.Fields(command)
		for i, word := range words {
			words[i] = strings.ReplaceAll(word, "127.0.10.1:5000", f.edge(0))
		}
		var cmd *exec.Cmd
		switch line := strings.Join(words, " "); {
		case line == "go run ./cmd/lab":
			continue // it runs
		case strings.HasPrefix(line, "go run ./cmd/lab "):
			cmd = exec.Command(lab, append(words[3:], "--for", "1s", "--lab", f.Dir)...)
		case words[0] == "docker":
			cmd = docker(words[1:]...)
		case words[0] == "dig":
			host, port, _ := strings.Cut(f.Datacenters[0].GSLB, ":")
			line = strings.NewReplacer("@127.0.10.1", "@"+host, "-p 5053", "-p "+port).Replace(line)
			cmd = clientCommand(t, home, trial.Client(t, "dig"), strings.Fields(line)[1:]...)
		default:
			t.Fatalf("this test does not know how to run %q", line)
		}
		ran++
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(cmd.Path)+" "+strings.Join(cmd.Args[1:], " "), err, out)
		}
	}
	if ran < 4 {
		t.Errorf("only %d commands", ran)
	}
}

// commandsOf are the commands of a part of the page, in its blocks and in its text.
func commandsOf(part string) (all []string) {
	inside, quoted := false, regexp.MustCompile("`((?:dig|go run) [^`]+)`")
	for line := range strings.SplitSeq(part, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside
		case inside:
			all = append(all, line)
		default:
			for _, m := range quoted.FindAllStringSubmatch(line, -1) {
				all = append(all, m[1])
			}
		}
	}
	return all
}
