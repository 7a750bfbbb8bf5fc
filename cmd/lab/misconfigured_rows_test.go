package main

import (
	"fmt"
	"slices"
	"strings"
)

// misconfiguration is one thing that is wrong with a fleet file, with what it names, or
// with what is at the addresses that it names.
type misconfiguration struct {
	what  string
	edits []string          // pairs: a text of the well fleet file, and what stands there instead
	files map[string]string // beside the fleet file: by name, their content
	fault string            // of the Harbor of this datacenter, as the lab's stand-ins take them
	args  []string          // of the commands, in place of --datacenter par1
}

// misconfigurations are the rows of the table. The texts to edit are of wellFile.
func misconfigurations(w *world) []misconfiguration {
	return slices.Concat(ofTheFile(w), ofTheFleet(w), ofEdges(w), ofCertificates(w), ofTheConsole(w), ofTheMachine(w), ofOthers(w), ofNameServers(w))
}

// wrong is a misconfiguration by other words in the fleet file.
func wrong(what string, edits ...string) misconfiguration {
	return misconfiguration{what: what, edits: edits}
}

func ofTheFile(w *world) []misconfiguration {
	return []misconfiguration{
		wrong("an empty file", w.text, ""),
		wrong("comments alone", w.text, "# nothing yet\n"),
		wrong("two documents", w.text, w.text+"---\n"+w.text),
		wrong("a tab at the start of a line", "projects:\n", "projects:\n\tcache: {}\n"),
		wrong("a file in Latin-1", "# the fleet", "# le caf\xe9"),
		wrong("a quote that is not closed", `domain: `, `domain: "`),
		wrong("a key twice", "projects:\n", "domain: harbor.example.net\nprojects:\n"),
		wrong("a mistyped key", "plain_http:", "plain_htp:"),
		wrong("a list where a name belongs", "domain: "+domain, "domain: ["+domain+"]"),
		wrong("a merge key", "projects:\n", "<<: { domain: x }\nprojects:\n"),
		wrong("version 2", "domain: ", "version: 2\ndomain: "),
	}
}

func ofTheFleet(w *world) []misconfiguration {
	return []misconfiguration{
		wrong("no domain", "domain: "+domain+"\n", ""),
		wrong("a domain that is an address", "domain: "+domain, "domain: 192.0.2.1"),
		wrong("a domain with a scheme", "domain: "+domain, "domain: https://"+domain),
		wrong("no datacenters", w.datacenters, "datacenters: {}\n"),
		wrong("no primary", "role: primary", "role: backup"),
		wrong("a role that is none", "role: backup", "role: standby"),
		wrong("a datacenter with a bad name", "  drp1:", "  DRP_1:"),
		wrong("no Harbor", "harbor: \""+w.harbor(2)+"\", ", ""),
		wrong("a Harbor's address with a path", w.harbor(0)+`"`, w.harbor(0)+`/harbor"`),
		wrong("two datacenters with one Harbor", w.harbor(1), w.harbor(0)),
		wrong("an edge that is its own Harbor", w.ownEdge(), w.harbor(0)),
		wrong("two datacenters with one address", "addresses: ["+places[1].host+"]", "addresses: ["+places[2].host+"]"),
		wrong("an address of a group", "addresses: ["+places[1].host+"]", "addresses: [224.0.0.1]"),
		wrong("a location that is not on the earth", "latitude: 40.42", "latitude: 404.2"),
		wrong("one network in two datacenters", "10.2.0.0/16", "10.1.0.0/16"),
		wrong("a weight of 0", "role: backup", "weight: 0, role: backup"),
	}
}

func ofEdges(w *world) []misconfiguration {
	return []misconfiguration{
		wrong("a listener without a port", "listen: "+w.quoted(w.public), `listen: "127.0.0.1"`),
		wrong("the metrics' address is the clients'", "metrics: "+w.quoted(w.metrics), "metrics: "+w.quoted(w.public)),
		wrong("the admin listener on all addresses", "admin: "+w.quoted(w.admin), `admin: "0.0.0.0:9191"`), // no other row's: on all addresses it is theirs too
		wrong("a certificate without its key", "plain_http: true", `tls: { certificate: "`+w.file("tls.crt")+`" }`),
		wrong("neither TLS nor plain HTTP", "plain_http: true", "plain_http: false", "listen: "+w.quoted(w.public), `listen: ":18443"`),
		wrong("a store of no size", "size: 2GiB", "size: 2 apples"),
		wrong("a store larger than its disk", "size: 2GiB", "size: 900TiB"),
		{what: "a store that is a file", edits: []string{w.file("store"), w.file("taken")}, files: map[string]string{"taken": "x"}},
		wrong("a Vault reference and no Vault", "robot: { name: breakwater-edge, secret: ", `robot: { name: breakwater-edge, secret: "vault:secret/x#y" } # `),
		wrong("freshness below nothing", "plain_http: true", "freshness: { cache: -5s }\n  plain_http: true"),
		{what: "a peers' key of one byte", edits: []string{w.lab("peer-key"), w.file("key")}, files: map[string]string{"key": "x"}},
		{what: "a previous key of one byte", edits: []string{"peers: { ", `peers: { previous_key: "file:` + w.file("key") + `", `}, files: map[string]string{"key": "x"}},
		{what: "another peers' key", edits: []string{w.lab("peer-key"), w.file("key")}, files: map[string]string{"key": strings.Repeat("another", 6)}},
		wrong("peers' certificates without one of its own", "peers: { ", `peers: { ca: "`+w.file("ca.crt")+`", `),
		wrong("a secret that is no file", w.lab("edge-secret"), w.file("nowhere")),
		wrong("a variable that is not set", "file:"+w.lab("edge-secret"), "env:BREAKWATER_NOT_SET"),
		{what: "an empty secret", edits: []string{w.lab("edge-secret"), w.file("empty")}, files: map[string]string{"empty": "\n"}},
		{what: "a robot's secret that Harbor refuses", edits: []string{w.lab("edge-secret"), w.file("wrong")}, files: map[string]string{"wrong": "Wrong1Secret2Wrong"}},
		{what: "an administrator's password that Harbor refuses", edits: []string{w.lab("harbor-password"), w.file("wrong")}, files: map[string]string{"wrong": "Wrong1Secret2Wrong"}},
		wrong("a token certificate that is no file", w.lab("harbor-token.pem"), w.file("nowhere")),
		wrong("a token certificate that Harbor has no key of", w.lab("harbor-token.pem"), w.file("rsa.crt")),
		wrong("a token certificate that is no RSA one", w.lab("harbor-token.pem"), w.file("tls.crt")),
	}
}

func ofCertificates(w *world) []misconfiguration {
	return []misconfiguration{
		wrong("a certificate that is no file", w.secured("nowhere.crt", "tls.key", true)...),
		wrong("a certificate and another's key", w.secured("tls.crt", "other.key", true)...),
		wrong("a certificate that has ended", w.secured("ended.crt", "ended.key", true)...),
		wrong("a certificate of tomorrow", w.secured("tomorrow.crt", "tomorrow.key", true)...),
		wrong("a certificate for other names", w.secured("names.crt", "names.key", true)...),
		wrong("a certificate whose authority is not known", w.secured("tls.crt", "tls.key", false)...),
	}
}

func ofTheConsole(w *world) []misconfiguration {
	console := func(format string, args ...any) []string {
		return []string{"plain_http: true", "console: { " + fmt.Sprintf(format, args...) + " }\n  plain_http: true"}
	}
	listen := w.quoted(w.host + ":9443")
	return []misconfiguration{
		wrong("a console at which nobody can log in", console("listen: %s", listen)...),
		wrong("a console without TLS", console("listen: \":9443\", users: %q", w.file("users"))...),
		wrong("a console's groups and no provider", console("listen: %s, groups: [sre]", listen)...),
		wrong("a console on the clients' port", console("listen: %s, users: %q", w.quoted(w.public), w.file("users"))...),
		wrong("a console's users that are no file", console("listen: %s, users: %q", listen, w.file("nowhere"))...),
		{what: "a console's users with an MD5 hash", edits: console("listen: %s, users: %q", listen, w.file("users")), files: map[string]string{"users": "ada:$apr1$x$y\n"}},
	}
}

func ofTheMachine(w *world) []misconfiguration {
	return []misconfiguration{
		wrong("a port that another program has", w.quoted(w.public), w.quoted(w.takenPort)),
		wrong("an address that the machine has not", "listen: "+w.quoted(w.public), `listen: "192.0.2.1:8443"`),
		{what: "a datacenter that is not in the file", args: []string{"--datacenter", "rom1"}},
	}
}

func ofOthers(w *world) []misconfiguration {
	return []misconfiguration{
		wrong("a Harbor that does not resolve", w.harbor(0), "http://harbor.nowhere.invalid"),
		wrong("a Harbor that refuses connections", w.harbor(0), "http://127.0.50.250:1"),
		wrong("a Harbor's address that is another program's", w.harbor(0), w.pageURL),
		wrong("HTTPS to a Harbor that speaks HTTP", w.harbor(0), strings.Replace(w.harbor(0), "http:", "https:", 1)),
		{what: "a Harbor whose registry is down", fault: `[{"name":"registry-down"}]`},
		wrong("a peer that does not answer", w.edge(1), "http://127.0.50.251:1"),
		wrong("two datacenters with one edge", w.edge(1), w.edge(2)),
		wrong("an upstream that refuses connections", "endpoint: "+w.quoted(w.hub), `endpoint: "http://127.0.50.252:1"`),
		wrong("an endpoint with /v2/", w.quoted(w.hub), w.quoted(w.hub+"/v2/")),
		wrong("a provider that is none", "provider: docker-registry", "provider: dockerhub"),
		wrong("an image of a cache that is not there", "projects:\n", "projects:\n  repl: { base: { images: [{ from: quay, name: a/b }] } }\n"),
		wrong("one secret for the robots of all projects", "    demo:\n", "    defaults: { robots: { sync: \"file:"+w.lab("sync-secret")+"\" } }\n    other: {}\n    demo:\n"),
	}
}

func ofNameServers(w *world) []misconfiguration {
	return []misconfiguration{
		wrong("a probe longer than its interval", "ttl: 2s", "ttl: 2s, probe: { interval: 1s, timeout: 5s }"),
		wrong("a method that is none", "ttl: 2s", "ttl: 2s, method: closest"),
		wrong("an order with a stranger", "ttl: 2s", "ttl: 2s, order: [par1, rom1]"),
		wrong("a topology that is no file", "ttl: 2s", `ttl: 2s, topology: "`+w.file("nowhere")+`"`),
		{what: "a topology that cannot be read", edits: []string{"ttl: 2s", `ttl: 2s, topology: "` + w.file("topology") + `"`}, files: map[string]string{"topology": "10.0.0.0/8 rom1\n"}},
		{what: "a geographic database that is none", edits: []string{"ttl: 2s", `ttl: 2s, geoip: "` + w.file("geo.mmdb") + `"`}, files: map[string]string{"geo.mmdb": "x"}},
		{what: "a state file that cannot be written", edits: []string{w.file("gslb.json"), w.file("taken") + "/gslb.json"}, files: map[string]string{"taken": "x"}},
		wrong("name servers that no address is told of", "gslb: ["+w.host+"], ", ""),
	}
}
