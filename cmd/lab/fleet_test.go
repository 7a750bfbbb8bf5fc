package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// fleet is a lab that runs as a process of its own.
type fleetUnderTest struct {
	report
	printed []byte // what it printed of itself
	process *exec.Cmd
	stderr  *bytes.Buffer
	ended   chan error
}

// startLab starts one whose Harbors are quiet: tests do not wait for what is slow at a busy one.
func startLab(t *testing.T, env ...string) *fleetUnderTest {
	t.Helper()
	return startLabWith(t, env, "--quiet-harbors")
}

func startLabWith(t *testing.T, env []string, flags ...string) *fleetUnderTest {
	t.Helper()
	f := &fleetUnderTest{stderr: new(bytes.Buffer), ended: make(chan error, 1)}
	f.process = exec.Command(bin(t, "lab"), append([]string{"--json", "--port", "0"}, flags...)...)
	f.process.Env = append(os.Environ(), env...)
	f.process.Stderr = f.stderr
	stdout, err := f.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.process.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		f.process.Process.Kill() //nolint:errcheck // it did not start
		t.Fatalf("%v\n%s", err, f.stderr)
	}
	go func() {
		rest, _ := io.ReadAll(stdout)
		err := f.process.Wait()
		if len(rest) > 0 {
			err = fmt.Errorf("more than one object on stdout: %s", rest)
		}
		f.ended <- err
		close(f.ended)
	}()
	t.Cleanup(func() { // the lab removes what it keeps; the test may have ended it
		f.process.Process.Signal(os.Interrupt) //nolint:errcheck // see above
		<-f.ended
	})
	f.printed = line
	if err := json.Unmarshal(line, &f.report); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return f
}

func (f *fleetUnderTest) edge(i int) string {
	return strings.TrimPrefix(f.Datacenters[i].Edge, "http://")
}

func requests(t *testing.T, url string) map[string]int {
	t.Helper()
	var counts map[string]int
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// fault switches faults on at one of the lab's stand-ins until the test ends.
func fault(t *testing.T, url, faults string) {
	t.Helper()
	for _, step := range []struct{ method, body string }{{http.MethodPut, faults}, {http.MethodDelete, ""}} {
		send := func() {
			req, _ := http.NewRequest(step.method, url, strings.NewReader(step.body))
			resp, err := http.DefaultClient.Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s %s: %v, %v", step.method, url, resp, err)
				return
			}
			resp.Body.Close()
		}
		if step.method == http.MethodDelete {
			t.Cleanup(send)
			continue
		}
		send()
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func anonymousToken(t *testing.T, edge, repo string) string {
	t.Helper()
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(get(t, edge+"/service/token?service=harbor-registry&scope=repository:"+repo+":pull")), &body); err != nil {
		t.Fatal(err)
	}
	return body.Token
}
