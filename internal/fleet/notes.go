package fleet

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/naming"
)

// Note is something in a file that can be so, and is seldom meant.
type Note struct {
	Line    int    // 0: of what is not written
	Field   string // as edge.touch
	Message string
	Idle    bool // it is written, and does nothing
}

// String is the note as "edge.touch (line 12): message".
func (n Note) String() string {
	if n.Line > 0 {
		return fmt.Sprintf("%s (line %d): %s", n.Field, n.Line, n.Message)
	}
	return n.Field + ": " + n.Message
}

// notes are what is said of a file that has no fault.
type notes struct {
	*decoder
	f *Fleet
}

func (n *notes) add(path, format string, args ...any) {
	n.f.Notes = append(n.f.Notes, Note{n.lines[path], path, fmt.Sprintf(format, args...), false})
}

// idle notes a field that does nothing, if it is written.
func (n *notes) idle(path, format string, args ...any) {
	if n.written(path) {
		n.f.Notes = append(n.f.Notes, Note{n.lines[path], path, fmt.Sprintf(format, args...), true})
	}
}

func (f *Fleet) note(d *decoder) {
	n := &notes{d, f}
	n.names()
	n.idleFields()
	n.listeners()
	n.edge()
	if f.GSLB != nil {
		n.gslb()
	}
	n.projects()
	slices.SortStableFunc(f.Notes, func(a, b Note) int { return cmp.Or(a.Line-b.Line, strings.Compare(a.Field, b.Field)) })
}

// names are what leads somewhere else than it is meant to.
func (n *notes) names() {
	f := n.f
	if !strings.Contains(f.Domain, ".") && f.Domain != "localhost" {
		n.add("domain", "%s has no dot: docker and containerd take it for a path on Docker Hub, not for a registry", f.Domain)
	}
	for _, name := range sorted(f.Datacenters) {
		dc, path := f.Datacenters[name], "datacenters."+name
		for field, address := range map[string]URL{"edge": dc.Edge, "harbor": dc.Harbor} {
			host := strings.ToLower(nameOf(address))
			switch {
			case host == f.Domain && (len(f.Datacenters) > 1 || field == "harbor"):
				n.add(path+"."+field, "%s is the one name: it leads to the nearest edge, whichever that is; write a name of this %s alone", f.Domain, field)
			case f.GSLB != nil && f.GSLB.Names[host] != nil:
				n.add(path+"."+field, "%s is one of gslb.names: it leads to the nearest edge, whichever that is; write a name of this %s alone", host, field)
			case f.GSLB != nil && n.delegated(host):
				n.add(path+"."+field, "%s is in the zone that is delegated to the fleet's name servers, and they know no such name; write one outside of it", host)
			}
		}
		if strings.HasPrefix(string(dc.Edge), "http://") && !loopback(nameOf(dc.Edge)) && len(f.Datacenters) > 1 {
			n.add(path+".edge", "other datacenters come here without TLS: content and tokens pass in the clear; write https://, with edge.tls or something before the edge that has a certificate")
		}
		n.loopback(name)
		if l := dc.Location; l != nil && !(n.written(path+".location.latitude") && n.written(path+".location.longitude")) {
			n.add(path+".location", "it has no latitude and longitude, and counts as 0, 0: in the sea off Africa")
		}
	}
	if v := f.Secrets.Vault.Address; strings.HasPrefix(string(v), "http://") && !loopback(nameOf(v)) {
		n.add("secrets.vault.address", "secrets pass without TLS; write https://")
	}
}

// loopback is where others would come back to themselves: a fleet is on one machine as a whole,
// or not at all.
func (n *notes) loopback(name string) {
	for field, of := range map[string]func(*Datacenter) URL{"edge": func(dc *Datacenter) URL { return dc.Edge }, "harbor": func(dc *Datacenter) URL { return dc.Harbor }} {
		elsewhere := slices.ContainsFunc(sorted(n.f.Datacenters), func(other string) bool {
			address := of(n.f.Datacenters[other])
			return address != "" && !loopback(nameOf(address))
		})
		if address := of(n.f.Datacenters[name]); elsewhere && loopback(nameOf(address)) {
			n.add("datacenters."+name+"."+field, "%s is whichever machine asks, and the other datacenters ask too; write an address that they reach", address)
		}
	}
}

// delegated reports whether a host is below a name that the fleet's name servers answer for.
func (n *notes) delegated(host string) bool {
	for _, name := range append([]string{n.f.Domain}, sorted(n.f.GSLB.Names)...) {
		if strings.HasSuffix(host, "."+name) && n.f.GSLB.Names[host] == nil {
			return true
		}
	}
	return false
}

// listeners are what stands in each other's way, or open to everybody.
func (n *notes) listeners() {
	f := n.f
	open := func(path, address string) {
		if host := hostOfListener(address); !loopback(host) {
			n.add(path, "%s is reachable from other machines, and nobody logs in there; write 127.0.0.1:%s, or let a firewall keep others out", address, portOf(address))
		}
	}
	open("edge.admin", f.Edge.Admin)
	g := f.GSLB
	if g == nil {
		return
	}
	open("gslb.admin", g.Admin)
	for _, own := range gslbListeners(g) {
		for _, of := range edgeListeners(&f.Edge) {
			if overlap(own.address, of.address) {
				n.add(own.path, "%s is taken by %s (%s) where edge and name server are on one machine", own.address, of.path, of.address)
			}
		}
	}
}

func (n *notes) edge() {
	e := &n.f.Edge
	if e.Robot.Secret.IsZero() {
		n.add("edge.robot.secret", "it is not set: edges fetch with the credentials of the client who asks first, and learn nothing of projects that were deleted and made again")
	}
	if e.Store.Size < 1<<30 {
		n.add("edge.store.size", "%s is less than one large layer has; write 100GiB", e.Store.Size)
	}
	if e.TLS.Certificate != "" && e.TLS.Certificate == e.TLS.Key {
		n.add("edge.tls.key", "it is the certificate's file too; that is right only if both are in it")
	}
	for path, v := range map[string]*Duration{"edge.freshness.cache": e.Freshness.Cache, "edge.freshness.repl": e.Freshness.Repl, "edge.freshness.multi-dc": e.Freshness.MultiDC} {
		if *v > Duration(day) {
			n.add(path, "a tag that has moved is seen up to %s later", *v)
		}
	}
	if *e.OutageGrace > Duration(7*day) {
		n.add("edge.outage_grace", "who lost their permission pulls for up to %s more, while no Harbor can be asked", *e.OutageGrace)
	}
	for path, of := range map[string]string{"edge.store.path": e.Store.Path, "edge.tls.certificate": e.TLS.Certificate, "edge.tls.key": e.TLS.Key, "edge.console.users": e.Console.Users, "edge.changes": e.Changes} {
		if file, ref := strings.CutPrefix(of, "file:"); ref {
			n.add(path, "this is a path and no reference; write %s", file)
		} else if of != "" && !strings.HasPrefix(of, "/") {
			n.add(path, "%s is looked for in the directory that the edge is started in; write it from / on", of)
		}
	}
	n.peers()
}

// peers says what edges of several datacenters do without.
func (n *notes) peers() {
	f, edges := n.f, 0
	for _, dc := range f.Datacenters {
		if dc.Edge != "" {
			edges++
		}
	}
	switch {
	case len(f.Datacenters) < 2:
	case edges < 2 || f.Edge.Peers.Key.IsZero() && f.Edge.Peers.CA == "":
		n.add("edge.peers.key", "it (or edge.peers.ca) and the datacenters' edge addresses are not both set: edges do not stand in for each other, and what Harbor granted does not outlast a restart")
	case f.Edge.Peers.Key.IsZero():
		n.add("edge.peers.key", "it is not set: what Harbor granted does not outlast a restart of an edge, nor count at another one")
	case len(f.Harbor.TokenCertificates) == 0 && len(f.Projects.MultiDC.Items) > 0:
		n.add("harbor.token_certificates", "they are not set: while a Harbor is down its clients can pull, but not push to a peer's; list the certificates of all Harbors' token services, or one that they share")
	}
}

func (n *notes) gslb() {
	g := n.f.GSLB
	n.families()
	ttls := map[string]*Duration{"gslb.ttl": g.TTL}
	for name, own := range g.Names {
		ttls["gslb.names."+name+".ttl"] = own.TTL
	}
	for path, ttl := range ttls {
		if *ttl > Duration(10*time.Minute) && n.written(path) {
			n.add(path, "clients go to a datacenter that is down for up to %s more; 30s is usual", *ttl)
		}
	}
	if out := time.Duration(g.Probe.Interval + g.Probe.Timeout + Duration(g.Probe.Fall-1)*g.Probe.Confirm); out > time.Minute {
		n.add("gslb.probe", "a datacenter that is down is answered with for up to %v", out)
	}
	if g.Probe.Timeout < Duration(10*time.Millisecond) {
		n.add("gslb.probe.timeout", "no answer from another datacenter comes within %s", g.Probe.Timeout)
	}
	if slices.ContainsFunc(g.Explain, func(w Network) bool { return w.Bits() == 0 }) {
		n.add("gslb.explain", "everybody may ask who is answered with what, and why")
	} else if slices.ContainsFunc(g.Explain, func(w Network) bool { return w.Addr().IsLoopback() }) {
		n.add("gslb.explain", "everybody may ask who is answered with what, and why, where a forwarder on the same machine hands questions on")
	}
	for path, ttl := range map[string]*Duration{"gslb.ns.ttl": g.NS.TTL, "gslb.ns.glue": g.NS.Glue} {
		if *ttl > Duration(day) {
			n.add(path, "a name server that moves is looked for at its old place for up to %s; 1h is usual", *ttl)
		}
	}
	if slices.ContainsFunc(g.ProxyProtocol.From, func(w Network) bool { return w.Bits() == 0 }) {
		n.add("gslb.proxy_protocol.from", "everybody may say who asks, and nobody is answered who does not")
	}
	if g.Probe.Hold > Duration(time.Hour) {
		n.add("gslb.probe.hold", "a datacenter that is well again gets no clients for %s", g.Probe.Hold)
	}
}

// aws says where an edge has no way of its own to a registry of Amazon's, and where a login is none.
func (n *notes) aws(path string, c *Cache) {
	_, _, account := c.ECR()
	key := accessKey.MatchString(c.Username.Value)
	switch {
	case c.Provider != AWS && account && key:
		n.add(path+".username", "the registry takes no access key for a login; write provider: aws-ecr")
	case c.Provider != AWS && account && !c.Password.IsZero():
		n.add(path+".password", "a token of this registry ends after twelve hours; write provider: aws-ecr, and an access key and its secret key for username and password")
	case c.Provider == AWS && !account:
		n.add(path+".endpoint", "it is the API's address, by which Harbor alone finds the registry: the edge has no way there of its own; write https://<account>.dkr.ecr.<region>.amazonaws.com")
	case c.Provider == AWS && c.Password.IsZero():
		n.add(path, "without an access key Harbor alone fetches from there, by the role of its own machine: the edge has no way there of its own")
	}
}

// accessKey is how AWS writes the ID of one.
var accessKey = regexp.MustCompile(`^A[KS]IA[0-9A-Z]{16}$`)

func (n *notes) projects() {
	own := map[string]string{place("https://" + n.f.Domain): "the fleet itself"}
	for name, dc := range n.f.Datacenters {
		own[place(string(dc.Harbor))], own[place(string(dc.Edge))] = "the Harbor of "+name, "the edge of "+name
	}
	delete(own, "")
	mirrors := map[string]string{}
	for _, name := range n.f.Projects.Cache.Names() {
		c, path := n.f.Projects.Cache.Items[name], "projects.cache."+name
		n.prefixed("projects.cache.", naming.Cache, name)
		if host := c.Endpoint.Host(); c.Provider == DockerHub && host != "hub.docker.com" && !strings.HasSuffix(host, "docker.io") {
			n.add(path+".endpoint", "Harbor goes to Docker Hub for provider: docker-hub, whatever stands here; write another provider for %s", host)
		}
		n.aws(path, c)
		if whose := own[place(string(c.Endpoint))]; whose != "" {
			n.add(path+".endpoint", "it is %s: a cache of what is here already", whose)
		}
		if other := mirrors[c.Host()]; other == "" {
			mirrors[c.Host()] = name
		} else if c.Host() != "" {
			n.add(path, "it is a cache of %s, as %s is: nodes that pull by that name (breakwater hosts) are led to that one", c.Host(), other)
		}
		if slices.ContainsFunc(c.Redirects, Destination.everywhere) {
			n.add(path+".redirects", "the upstream may have the edge ask whatever is inside, also this machine and the cloud below it; name the storage alone")
		}
		n.quota(path, c.Quota)
	}
	for name, m := range n.f.Projects.MultiDC.Items {
		n.prefixed("projects.multi-dc.", naming.MultiDC, name)
		n.expression("projects.multi-dc."+name+".immutable_tags", m.Immutable...)
		n.quota("projects.multi-dc."+name, m.Quota)
		if r := m.Robots; !r.ReadWrite.IsZero() && (r.ReadOnly == r.ReadWrite || r.Sync == r.ReadWrite) {
			n.add("projects.multi-dc."+name+".robots", "robots have one secret: who knows the one knows all; write one for each")
		}
	}
	if r := n.f.Projects.MultiDC.Defaults.Robots; len(n.f.Projects.MultiDC.Items) > 1 {
		for field, ref := range map[string]Ref{"readonly": r.ReadOnly, "readwrite": r.ReadWrite, "sync": r.Sync} {
			if !ref.IsZero() && !strings.Contains(ref.Path+ref.Key, "{name}") {
				n.add("projects.multi-dc.defaults.robots."+field, "the robots of all projects get one secret; with {name} in it each has its own")
			}
		}
	}
	if a := n.f.Projects.Artifactory; a != nil {
		n.expression("projects.artifactory.exclude", a.Exclude...)
	}
	if o := n.f.Harbor.OIDC; o != nil && strings.HasPrefix(string(o.Endpoint), "http://") {
		n.add("harbor.oidc.endpoint", "logins pass without TLS; write https://")
	}
	if path := n.members(); path != "" && n.f.Harbor.OIDC == nil {
		n.add(path, "groups are the OpenID provider's, and there is no harbor.oidc: a Harbor with another login refuses them, unless OpenID Connect was set up there by hand")
	}
	for name, r := range n.f.Projects.Repl.Items {
		n.prefixed("projects.repl.", naming.Repl, name)
		for i, image := range r.Images {
			n.expression(fmt.Sprintf("projects.repl.%s.images[%d]", name, i), image.Name, image.Tags)
		}
		n.quota("projects.repl."+name, r.Quota)
	}
}

// prefixed notes a project that is written with the prefix that it gets anyway.
func (n *notes) prefixed(section, prefix, name string) {
	if short, ok := strings.CutPrefix(name, prefix); ok && n.f.Project(prefix, name) == prefix+name {
		n.add(section+name, "the prefix is added to it: the project is %s%s; write %s for %s", prefix, name, short, name)
	}
}

// expression notes a regular expression where a glob stands: it can be read as one, and
// matches nothing, for no name and no tag begins with ^ or a dot, or ends with $.
func (n *notes) expression(path string, patterns ...string) {
	for _, p := range patterns {
		if strings.HasPrefix(p, "^") || strings.HasPrefix(p, ".*") || strings.HasSuffix(p, "$") {
			n.add(path, "%q matches nothing: it is a regular expression; write a glob, as v1.*", p)
		}
	}
}

// members is where groups are written first; "": nowhere.
func (n *notes) members() (first string) {
	for path := range n.lines {
		if strings.HasPrefix(path, "projects.") && strings.HasSuffix(path, ".members") && (first == "" || n.lines[path] < n.lines[first]) {
			first = path
		}
	}
	return first
}

func (n *notes) quota(path string, quota Size) {
	if quota > 0 && quota < 1<<20 {
		n.add(path+".quota", "no layer fits in %s; is a unit missing, as in 10GiB?", quota)
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
