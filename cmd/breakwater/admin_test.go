package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/daemon"
)

// strangers are what may have an address instead of the daemon that is asked.
func strangers(t *testing.T) map[string]string {
	t.Helper()
	at := map[string]string{}
	for name, h := range map[string]http.HandlerFunc{
		"a page":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>It works!</html>") },
		"JSON":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"draining":true}`) },
		"nothing": http.NotFound,
		"another site": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
	} {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		at[name] = s.Listener.Addr().String()
	}
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	at["TLS"] = tls.Listener.Addr().String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "SSH-2.0-OpenSSH_9.2\r\n")
			c.Close()
		}
	}()
	at["SSH"] = l.Addr().String()
	return at
}

// What another program answers is not taken for a daemon's word.
func TestAnotherProgramHasTheAddress(t *testing.T) {
	edge := map[string]bool{"explain x/y:v1": true, "warm x/y:v1": true, "warm status": true, "traffic": true, "fills": true, "content": true, "purge sha256:" + strings.Repeat("a", 64): true, "edge drain": true, "edge release": true, "edge ready": true,
		"gslb status": false, "gslb explain --client 10.0.0.1": false, "gslb drain par1": false, "gslb force par1 up": false, "gslb release par1": false, "gslb ready": false}
	ask := func(line, address string) result {
		args := strings.Fields(line)
		if !strings.HasSuffix(line, "ready") {
			return program(t, nil, append(args, "--admin", address)...)
		}
		config := filepath.Join(t.TempDir(), "fleet.yaml")
		text := fmt.Sprintf("domain: h.example.org\ndatacenters: { par1: { harbor: \"https://h.example.org\" , addresses: [192.0.2.1], gslb: [192.0.2.2] } }\nedge: { plain_http: true, metrics: %q }\ngslb: { metrics: %q }\n", address, address)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return program(t, nil, append(args, "--config", config)...)
	}
	for line, ofEdge := range edge {
		is, isNot := daemon.Edge, daemon.NameServer
		if !ofEdge {
			is, isNot = isNot, is
		}
		for name, address := range strangers(t) {
			if got := ask(line, address); got.status != 1 || got.stdout != "" || !strings.Contains(got.stderr, "no breakwater "+is+"'s") || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("%s where %s answers: status %d: %s%s", line, name, got.status, got.stdout, got.stderr)
			}
		}
		other := httptest.NewServer(daemon.Named(isNot, http.NotFoundHandler()))
		if got := ask(line, other.Listener.Addr().String()); got.status != 1 || !strings.Contains(got.stderr, "is a breakwater "+isNot+", and no "+is) {
			t.Errorf("%s at a %s: status %d: %s", line, isNot, got.status, got.stderr)
		}
		other.Close()
		metrics := httptest.NewServer(daemon.Named(is, http.NotFoundHandler()))
		if got := ask(line, metrics.Listener.Addr().String()); got.status != 1 || !strings.HasSuffix(line, "ready") && !strings.Contains(got.stderr, "is that its admin listener") {
			t.Errorf("%s at another listener: status %d: %s", line, got.status, got.stderr)
		}
		metrics.Close()
	}
}

// What is for the whole fleet is not taken for this machine's edge without a word.
func TestFlagsOfAFleetDrainNeedTheFleet(t *testing.T) {
	for _, args := range [][]string{{"drain", "--reason", "new switches"}, {"drain", "--yes"}, {"release", "par1"}} {
		got := program(t, nil, append([]string{"edge"}, append(args, "--admin", "127.0.0.1:1")...)...)
		if got.status != 2 || got.stdout != "" || !strings.Contains(got.stderr, "--fleet; without it, it is the edge on this machine") {
			t.Errorf("%v: status %d: %s%s", args, got.status, got.stdout, got.stderr)
		}
	}
}

// An address of the admin listener may be written as the lab prints it.
func TestAdminListenerIsFoundByItsURL(t *testing.T) {
	edge := httptest.NewServer(daemon.Named(daemon.Edge, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })))
	defer edge.Close()
	for _, address := range []string{edge.Listener.Addr().String(), edge.URL, edge.URL + "/"} {
		if got := program(t, nil, "explain", "--json", "--admin", address, "x/y:v1"); got.status != 0 {
			t.Errorf("%s: status %d: %s", address, got.status, got.stderr)
		}
	}
	for command, want := range map[string]string{"drain": `{"format":1,"serving":false}`, "release": `{"format":1,"serving":true}`} {
		if got := program(t, nil, "edge", command, "--json", "--admin", edge.URL); got.status != 0 || got.stdout != want+"\n" {
			t.Errorf("%s: status %d: %s%s", command, got.status, got.stdout, got.stderr)
		}
	}
}
