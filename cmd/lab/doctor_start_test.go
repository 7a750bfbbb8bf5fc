package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// lines are what a program writes while a test reads it.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// String is all that was written so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// silent is an address that takes connections, and says nothing.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// logged is a daemon that runs, and what it has logged.
type logged struct {
	cmd *exec.Cmd
	log *lines
}

// begin starts a daemon of breakwater for par1.
func begin(t *testing.T, program, daemon, text string, flags ...string) *logged {
	t.Helper()
	d := &logged{exec.Command(program, append([]string{daemon, "--config", put(t, text), "--datacenter", "par1"}, flags...)...), new(lines)}
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it may have ended
		d.cmd.Process.Kill() //nolint:errcheck // see above
		d.cmd.Wait()         //nolint:errcheck // see above
	})
	return d
}

type logLine struct{ Time, Level, Msg, ID, Do, Listener, Address string }

func (d *logged) find(want func(logLine) bool) (found logLine, ok bool) {
	for _, text := range strings.Split(d.log.String(), "\n") {
		var line logLine
		if json.Unmarshal([]byte(text), &line) == nil && want(line) {
			return line, true
		}
	}
	return found, false
}

// says waits until a finding is logged.
func (d *logged) says(t *testing.T, id, level string) {
	t.Helper()
	trial.Until(t, func() error {
		line, ok := d.find(func(l logLine) bool { return l.ID == id })
		if !ok {
			return fmt.Errorf("%s is not said:\n%s", id, d.log)
		}
		if line.Level != level || line.Do == "" {
			t.Errorf("%+v", line)
		}
		return nil
	})
}

// own is the fleet file with a store and listeners of the test's own.
func (p *patient) own(t *testing.T, pairs ...string) string {
	at := func(url string) string { return fmt.Sprintf(": %q", strings.TrimPrefix(url, "http://")) }
	d := p.Datacenters[0]
	text := p.with(t, append([]string{at(d.Edge), `: "127.0.0.1:0"`, at(d.Admin), `: "127.0.0.1:0"`, p.dir + "/par1/store", filepath.Join(t.TempDir(), "store"),
		at(d.GSLB), `: "127.0.0.1:0"`, p.dir + "/par1/gslb.json", filepath.Join(t.TempDir(), "gslb.json"), at(d.Steer), `: "127.0.0.1:0"`}, pairs...)...)
	return regexp.MustCompile(`metrics: "[^"]*"`).ReplaceAllString(text, `metrics: "127.0.0.1:0"`)
}

// A daemon says at its start what is wrong, though it serves; with --strict it does not
// serve with a fault.
func TestADaemonSaysWhatIsWrongAsItStarts(t *testing.T) {
	t.Parallel()
	p := startPatient(t)
	key := filepath.Join(p.dir, "edge-secret")
	ended := func(t *testing.T) string {
		i := issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		return p.own(t, "plain_http: true", fmt.Sprintf("tls: { certificate: %q, key: %q }", put(t, certificates(i.leaf, i.between)), put(t, i.key(t, i.leaf))),
			"harbor: { username:", fmt.Sprintf("harbor: { ca: %q, username:", put(t, certificates(i.authority))))
	}
	for _, c := range []struct {
		name, daemon, id, level string
		text                    func(t *testing.T) string
	}{
		{"a robot that Harbor refuses", "edge", "robot.login", "ERROR", func(t *testing.T) string { return p.own(t, key, put(t, "Wrong1Secret2")) }},
		{"a Harbor that does not resolve", "edge", "harbor.unresolved", "ERROR", func(t *testing.T) string {
			return p.own(t, fmt.Sprintf("harbor: %q", p.Datacenters[0].Harbor), `harbor: "http://harbor.invalid"`)
		}},
		{"a Harbor that hangs", "edge", "harbor.silent", "ERROR", func(t *testing.T) string {
			return p.own(t, fmt.Sprintf("harbor: %q", p.Datacenters[0].Harbor), fmt.Sprintf("harbor: %q", "http://"+silent(t)))
		}},
		{"a certificate that has ended", "edge", "certificate.ended", "ERROR", ended},
		{"a store that is larger than its disk", "edge", "store.room", "ERROR", func(t *testing.T) string { return p.own(t, "size: 2GiB", "size: 4000TiB") }},
		{"a name server without an address", "gslb", "gslb.no-address", "WARN", func(t *testing.T) string { return p.own(t, "gslb: ["+places[0].host+"], ", "") }},
		{"a state that cannot be written", "gslb", "gslb.state", "ERROR", func(t *testing.T) string {
			return regexp.MustCompile(`state: "[^"]*"`).ReplaceAllString(p.own(t), `state: "/proc/breakwater/gslb.json"`)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := c.text(t)
			d := begin(t, p.program, c.daemon, text)
			d.says(t, c.id, c.level)
			trial.Until(t, func() error {
				if _, serves := d.find(func(l logLine) bool { return l.Listener == "metrics" }); !serves {
					return fmt.Errorf("it does not serve:\n%s", d.log)
				}
				return nil
			})
			if c.level != "ERROR" {
				return
			}
			strict := begin(t, p.program, c.daemon, text, "--strict")
			err := strict.cmd.Wait()
			if err == nil || !strings.Contains(strict.log.String(), "--strict") {
				t.Errorf("%v:\n%s", err, strict.log)
			}
			if _, serves := strict.find(func(l logLine) bool { return l.Listener != "" }); serves {
				t.Errorf("it serves:\n%s", strict.log)
			}
			strict.says(t, c.id, c.level)
		})
	}
}
