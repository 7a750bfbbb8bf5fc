package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/trial"
)

var built struct {
	sync.Once
	path string
	err  error
}

// breakwater is the built program.
func breakwater(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "breakwater-program-"); built.err != nil {
			return
		}
		built.path = filepath.Join(dir, "breakwater")
		text, err := exec.Command("go", "build", "-o", built.path, ".").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w\n%s", err, text)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

const keyOfNameServers = "a-secret-of-the-name-servers-0123456789"

// nameServers are three, par1, mad1 and drp1, each a process on a loopback address of its
// own. What their probes find are files.
type nameServers struct {
	t         *testing.T
	dir       string
	addresses [3]string
	ports     map[string]string // by listener: the same everywhere
	gslb      string            // further fields of the gslb section
	config    [3]string
	processes [3]*exec.Cmd
	logs      [3]*spoken
}

var places = [3]string{"par1", "mad1", "drp1"}

// lastNet is the third byte of the loopback addresses that were given last.
var lastNet atomic.Int32

// newNameServers makes the files of three. Fields are further ones of the gslb section.
func newNameServers(t *testing.T, fields string) *nameServers {
	t.Helper()
	s := &nameServers{t: t, dir: t.TempDir(), ports: map[string]string{}, gslb: fields}
	part := int32(os.Getpid()%60) + 61 // another run may be beside this one
	n := lastNet.Add(3)
	for i := range s.addresses {
		s.addresses[i] = fmt.Sprintf("127.%d.%d.1", part, int(n)+i)
	}
	for _, what := range []string{"listen", "metrics", "admin", "peers"} {
		l, err := net.Listen("tcp", s.addresses[0]+":0")
		if err != nil {
			t.Skip("this system has one loopback address")
		}
		defer l.Close()
		_, s.ports[what], _ = net.SplitHostPort(l.Addr().String())
	}
	s.key("key", keyOfNameServers)
	for i, name := range places {
		s.probes(name, "up")
		for j := range places {
			trial.Fresh(t, s.found(j, name))
		}
		s.config[i] = filepath.Join(s.dir, name+".yaml")
		s.write(i, "key", fields)
	}
	return s
}

func (s *nameServers) key(name, secret string) {
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(secret), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// write writes a name server's fleet file.
func (s *nameServers) write(i int, key, fields string) {
	s.t.Helper()
	text := "domain: harbor.example.org\ndatacenters:\n"
	for j, name := range places {
		further := ""
		if name == "par1" {
			further = ", \"2001:db8::1\""
		}
		role := "primary"
		if name == "drp1" {
			role = "backup"
		}
		text += fmt.Sprintf("  %s: { role: %s, harbor: \"http://127.0.0.1:%d\", addresses: [192.0.2.%d%s], networks: [10.%d.0.0/16], gslb: [%s], probe: \"file:%s\" }\n",
			name, role, j+1, j+1, map[bool]string{true: further}[strings.Contains(fields, "# AAAA")], j+1, s.addresses[j], s.found(i, name))
	}
	text += "gslb:\n"
	for what, port := range s.ports {
		text += fmt.Sprintf("  %s: \"%s:%s\"\n", what, s.addresses[i], port)
	}
	text += fmt.Sprintf("  state: %s/%s.json\n  key: \"file:%s/%s\"\n  probe: { interval: 200ms, timeout: 100ms, rise: 1, hold: 0s }\n%s\n", s.dir, places[i], s.dir, key, fields)
	if err := os.WriteFile(s.config[i], []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// found is the file of what the probes of a name server find of a datacenter.
func (s *nameServers) found(i int, datacenter string) string {
	return filepath.Join(s.dir, datacenter+".up-for-"+places[i])
}

// probes writes what the probes of all name servers find of a datacenter.
func (s *nameServers) probes(datacenter, say string) {
	s.t.Helper()
	for i := range places {
		s.probesOf(i, datacenter, say)
	}
}

// probesOf writes what the probes of one find.
func (s *nameServers) probesOf(i int, datacenter, say string) {
	s.t.Helper()
	file := s.found(i, datacenter)
	if err := errors.Join(os.WriteFile(file+".new", []byte(say), 0o600), os.Rename(file+".new", file)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *nameServers) start(i int) { s.startAs(i, places[i], "") }

// spoken is what a process says, which is read while it is written.
type spoken struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *spoken) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *spoken) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startAs starts one as the name server of a datacenter, with its siblings.
func (s *nameServers) startAs(i int, datacenter, siblings string) {
	s.t.Helper()
	cmd, text := exec.Command(breakwater(s.t), "gslb", "--config", s.config[i], "--datacenter", datacenter, "--siblings", siblings), new(spoken)
	cmd.Stderr = text
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.processes[i], s.logs[i] = cmd, text
	s.t.Cleanup(func() { s.stop(i, cmd) })
}

// stop ends a name server, if it is that one that runs still.
func (s *nameServers) stop(i int, cmd *exec.Cmd) {
	if s.processes[i] != cmd {
		return
	}
	s.processes[i] = nil
	cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	cmd.Wait()                          //nolint:errcheck // see above
	if s.t.Failed() {
		s.t.Logf("%s:\n%s", places[i], s.logs[i])
	}
}

// settled waits until a name server has seen that all datacenters serve.
func (s *nameServers) settled(i int) { s.sees(i, "par1", "mad1", "drp1") }

// sees waits until just these datacenters are up for a name server.
func (s *nameServers) sees(i int, up ...string) {
	s.t.Helper()
	trial.Until(s.t, func() error {
		r := s.report(i)
		for _, name := range places {
			if d, known := r.Datacenters[name]; !known || d.Up != slices.Contains(up, name) {
				return fmt.Errorf("the name server of %s sees %+v", places[i], r)
			}
		}
		return nil
	})
}

func (s *nameServers) report(i int) (r gslb.Report) {
	s.t.Helper()
	text, _ := s.cli(i, "status", "--json")
	if err := json.Unmarshal([]byte(text), &r); err != nil && text != "" && text[0] == '{' {
		s.t.Fatalf("%v in %s", err, text)
	}
	return r
}

// cli runs a command of gslb on the machine of a name server.
func (s *nameServers) cli(i int, args ...string) (text string, status int) {
	s.t.Helper()
	cmd := exec.Command(breakwater(s.t), append([]string{"gslb", args[0], "--config", s.config[i]}, args[1:]...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
