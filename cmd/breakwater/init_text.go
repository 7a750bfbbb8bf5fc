package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// plainWord needs no quotes in YAML.
var plainWord = regexp.MustCompile(`^[a-z][a-z0-9]*([.-][a-z0-9]+)*$|^https?://[A-Za-z0-9.:/_-]*[A-Za-z0-9/]$`)

// inYAML is a text as YAML has it; nothing in it can end the value, or begin another.
func inYAML(text string) string {
	if plainWord.MatchString(text) && text != "null" && text != "true" && text != "false" {
		return text
	}
	return strconv.QuoteToASCII(text)
}

const secretDirectory = "/etc/breakwater/secrets/"

// text is the fleet file.
func (s *sketch) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	several := len(s.datacenters) > 1
	line(editorHeader + "fleet.schema.json")
	line("# The fleet: every process reads this one file, and --datacenter says which one it runs in.")
	line("# Secrets are references, never values: file:<path>, env:<NAME> or vault:<path>#<key>.")
	line("# breakwater check tells what is wrong with it; docs/fleet-file.md has all fields.")
	line("version: 1")
	line("domain: %s   # the one name that clients use", inYAML(s.domain))
	line("\ndatacenters:")
	for _, dc := range s.datacenters {
		line("  %s:", inYAML(dc.name))
		line("    harbor: %s   # the Harbor behind it", inYAML(dc.value))
		if edge := valueOf(s.edges, dc.name); edge != "" {
			line("    edge: %s   # how the other datacenters and probes reach its edge", inYAML(edge))
		}
	}
	for _, edge := range s.edges {
		if valueOf(s.datacenters, edge.name) == "" { // check says that its harbor is missing
			line("  %s: { edge: %s }", inYAML(edge.name), inYAML(edge.value))
		}
	}
	off := "" // a comment, before what a minimal file does without
	if s.minimal {
		off = "# "
	}
	line("\n%sharbor:", off)
	line("%s  username: admin   # for breakwater provision", off)
	line("%s  password: %q", off, "file:"+secretDirectory+"harbor-admin")
	line("  # The certificates of all Harbors' token services: with them logins outlast a Harbor.")
	line("  # token_certificates: [\"file:/etc/breakwater/harbor-token.crt\"]")
	s.writeProjects(line, several)
	line("\nedge:")
	if s.minimal {
		line("  plain_http: true   # until there is a certificate, or behind something that has it")
	}
	line("%s  tls: { certificate: /etc/breakwater/tls.crt, key: /etc/breakwater/tls.key }   # for the domain; or plain_http: true behind something that has it", off)
	line("  store: { path: /var/lib/breakwater, size: 100GiB }")
	line("%s  robot: { secret: %q }   # its own account at the Harbors, which provision makes", off, "file:"+secretDirectory+"edge-robot")
	if several {
		line("%s  peers: { key: %q }   # the same at all edges: openssl rand -base64 32", off, "file:"+secretDirectory+"peer-key")
		line("\n# Name servers that lead clients to the nearest datacenter that serves: give each datacenter its addresses")
		line("# (what clients are answered with) and gslb (its name server), then")
		line("# gslb: {}")
	}
	return b.String()
}

func (s *sketch) writeProjects(line func(string, ...any), several bool) {
	if len(s.caches)+len(s.projects) == 0 {
		return
	}
	line("\nprojects:")
	if len(s.projects) > 0 {
		line("  multi-dc:   # private, the same in all datacenters: multi-dc-<name>")
		line("    defaults:")
		line("      quota: 10GiB")
		robots := fmt.Sprintf("readonly: %q, readwrite: %q", "file:"+secretDirectory+"{name}-readonly", "file:"+secretDirectory+"{name}-readwrite")
		if several {
			robots += fmt.Sprintf(", sync: %q", "file:"+secretDirectory+"{name}-sync")
		}
		line("      robots: { %s }   # {name} is the project's name", robots)
		for _, name := range s.projects {
			line("    %s: {}", inYAML(name))
		}
	}
	if len(s.caches) > 0 {
		line("  cache:   # proxy caches: cache-<name>")
		line("    defaults: { quota: 100GiB }")
		for _, c := range s.caches {
			line("    %s: %s", inYAML(c.name), upstreamOf(c))
		}
	}
}

// upstreamOf is what a cache is of: what is given, or what its name says.
func upstreamOf(c pair) string {
	switch {
	case c.value != "":
		return "{ endpoint: " + inYAML(c.value) + " }"
	case c.name == "dockerhub" || c.name == "docker.io":
		return "{ provider: docker-hub }   # with username and password it may pull more"
	case strings.Contains(c.name, "."):
		return "{ endpoint: " + inYAML("https://"+c.name) + " }"
	}
	return "{}"
}

func valueOf(all []pair, name string) string {
	for _, p := range all {
		if p.name == name {
			return p.value
		}
	}
	return ""
}
