package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

var machineTroubles = []trouble{
	{name: "a variable is missing", id: "secrets.missing", do: func(t *testing.T, p *patient) string {
		return p.with(t, "ttl: 2s }", `ttl: 2s, key: "env:BREAKWATER_TEST_UNSET" }`)
	}},
	{name: "a key could be guessed", id: "secrets.short", do: func(t *testing.T, p *patient) string {
		return p.with(t, "ttl: 2s }", fmt.Sprintf("ttl: 2s, key: \"file:%s\" }", put(t, "short")))
	}},
	{name: "a secret's file is missing", id: "secrets.missing", do: func(t *testing.T, p *patient) string {
		return p.with(t, p.dir+"/edge-secret", p.dir+"/none")
	}},
	{name: "an authority's file has none", id: "files.broken", do: func(t *testing.T, p *patient) string {
		return p.with(t, "harbor: { username:", fmt.Sprintf("harbor: { ca: %q, username:", put(t, "none")))
	}},
	{name: "the token certificate is missing", id: "files.unreadable", do: func(t *testing.T, p *patient) string {
		return p.with(t, p.dir+"/harbor-token.pem", p.dir+"/none.pem")
	}},
	{name: "the store is larger than its disk", id: "store.room", do: func(t *testing.T, p *patient) string {
		return p.with(t, "size: 2GiB", "size: 4000TiB")
	}},
	{name: "the store cannot be written to", id: "store.not-writable", do: func(t *testing.T, p *patient) string {
		return p.with(t, fmt.Sprintf("path: %q", p.dir+"/par1/store"), `path: "/proc/breakwater"`)
	}},
	{name: "another program has the port", id: "ports.taken", do: func(t *testing.T, p *patient) string {
		other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "another program") }))
		return p.with(t, fmt.Sprintf("metrics: %q", strings.TrimPrefix(p.Datacenters[0].Metrics, "http://")), fmt.Sprintf("metrics: %q", strings.TrimPrefix(other, "http://")))
	}},
	{name: "another datacenter's edge has the port", id: "ports.taken", do: func(t *testing.T, p *patient) string {
		listen := func(d datacenterReport) string {
			return fmt.Sprintf("listen: %q", strings.TrimPrefix(d.Edge, "http://"))
		}
		return p.with(t, listen(p.Datacenters[0]), listen(p.Datacenters[1]))
	}},
	{name: "the machine lacks the address", id: "ports.address", do: func(t *testing.T, p *patient) string {
		return p.with(t, fmt.Sprintf("metrics: %q", strings.TrimPrefix(p.Datacenters[0].Metrics, "http://")), `metrics: "192.0.2.1:9090"`)
	}},
	{name: "the name server's state cannot be written", id: "gslb.state", do: func(t *testing.T, p *patient) string {
		return p.with(t, p.dir+"/par1/gslb.json", "/proc/breakwater/gslb.json")
	}},
	{name: "the topology is broken", id: "gslb.topology", do: func(t *testing.T, p *patient) string {
		return p.with(t, "ttl: 2s }", fmt.Sprintf("ttl: 2s, topology: %q }", put(t, "10.1.0.0/16 nowhere\n")))
	}},
	{name: "there is no geographic database", id: "gslb.geoip", do: func(t *testing.T, p *patient) string {
		return p.with(t, "ttl: 2s }", fmt.Sprintf("ttl: 2s, geoip: %q }", p.dir+"/none.mmdb"))
	}},
}

var elsewhereTroubles = []trouble{
	{name: "a peer is down", id: "peer.refused", do: func(t *testing.T, p *patient) string { return p.peer(t, nobody(t)) }},
	{name: "a peer has another key", id: "peer.stranger", do: func(t *testing.T, p *patient) string {
		key := p.dir + "/peer-key"
		text := p.with(t, key, put(t, "another key, which is as long as a key should be"), "path: \""+p.dir+"/par1/store\"", fmt.Sprintf("path: %q", t.TempDir()),
			"  metrics: ", "  metrics: \"127.0.0.1:0\" # ", "  admin: ", "  admin: \"127.0.0.1:0\" # ", "  listen: ", "  listen: \"127.0.0.1:0\" # ", "gslb: { listen", "#")
		_, host := startEdgeOf(t, p.program, put(t, text), "mad1")
		return p.peer(t, "http://"+host)
	}},
	{name: "a peer's clock is wrong", id: "peer.clock", do: func(t *testing.T, p *patient) string {
		return p.peer(t, serve(t, front(t, p.Datacenters[1].Edge, late)))
	}},
	{name: "a peer's certificate is nobody's", id: "peer.certificate", do: func(t *testing.T, p *patient) string {
		server := httptest.NewTLSServer(front(t, p.Datacenters[1].Edge, func(*http.Response) {}))
		t.Cleanup(server.Close)
		return p.peer(t, server.URL)
	}},
	{name: "a peer is the edge of another datacenter", id: "peer.other", do: func(t *testing.T, p *patient) string {
		return p.peer(t, serve(t, front(t, p.Datacenters[2].Edge, func(*http.Response) {})))
	}},
	{name: "a peer is not where clients are sent", id: "peer.address", warn: true, do: func(t *testing.T, p *patient) string {
		return p.with(t, "addresses: ["+places[1].host+"]", "addresses: ["+places[1].host+", 127.0.20.7]")
	}},
	{name: "a peer is no edge", id: "peer.other", do: func(t *testing.T, p *patient) string { return p.peer(t, p.Upstreams[0].URL) }},
	{name: "an upstream is down", id: "upstream.refused", do: func(t *testing.T, p *patient) string {
		return p.with(t, p.Upstreams[0].URL, nobody(t))
	}},
	{name: "an upstream refuses the credentials", id: "upstream.login", do: func(t *testing.T, p *patient) string {
		closed := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.Header().Set("Www-Authenticate", `Basic realm="upstream"`)
			w.WriteHeader(http.StatusUnauthorized)
		}))
		return p.with(t, fmt.Sprintf("endpoint: %q", p.Upstreams[0].URL), fmt.Sprintf("endpoint: %q, username: somebody, password: \"file:%s\"", closed, put(t, "wrong")))
	}},
	{name: "a name server does not answer", id: "delegation.unreachable", do: func(t *testing.T, p *patient) string {
		other, err := startParent(0, map[string]string{"par1": places[0].host, "mad1": "127.0.20.9", "drp1": places[2].host})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(other.close)
		return other.address + "\x00" + p.with(t, "gslb: ["+places[1].host+"]", "gslb: [127.0.20.9]")
	}},
	{name: "the name is not delegated", id: "delegation.not-delegated", do: func(t *testing.T, p *patient) string {
		other, err := startParent(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(other.close)
		return other.address + "\x00" + p.fleet
	}},
	{name: "a peer does not reach this edge", id: "peer.sees", warn: true, do: func(t *testing.T, p *patient) string {
		act := func(verb string) {
			output(t, exec.Command(bin(t, "lab"), verb, "par1", "mad1", "--lab", p.dir, "--for", "0"))
		}
		act("partition")
		t.Cleanup(func() { act("heal") })
		trial.Until(t, func() error { // edges ask each other every six seconds
			if _, _, printed := p.examine(t, p.fleet, p.Parent); !strings.Contains(printed, "unreachable") {
				return errors.New("mad1's edge sees par1's yet")
			}
			return nil
		})
		return p.fleet
	}},
}
