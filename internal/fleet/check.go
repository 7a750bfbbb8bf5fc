package fleet

import (
	"net/mail"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// DockerHub is the provider whose official images live in library/.
const DockerHub = "docker-hub"

// check reports what each value alone and all together must not be.
func (f *Fleet) check(d *decoder) {
	if *f.Version < 1 {
		d.report("version", "there is no version %d; write %d, or leave it out", *f.Version, Version)
	}
	switch {
	case f.Domain == "":
		d.report("domain", "it is missing; write the one name that clients use, as harbor.example.org")
	case !hostname.MatchString(f.Domain) || len(f.Domain) > 253:
		d.report("domain", "%q is no host name%s", f.Domain, insteadOf(f.Domain))
	case numbered.MatchString(f.Domain):
		d.report("domain", "%s is read as an IP address; clients and certificates need a name, as harbor.example.org", f.Domain)
	}
	f.checkDatacenters(d)
	f.checkNetworks(d)
	f.checkSecrets(d)
	f.Edge.check(d)
	f.checkConsole(d)
	if f.GSLB != nil {
		f.checkGSLB(d)
	}
	f.checkProjects(d)
}

var hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// numbered is what some programs read as an IP address, whatever else it is.
var numbered = regexp.MustCompile(`(^|\.)(0x)?[0-9]+$`)

// insteadOf proposes the host name that is meant by what is none.
func insteadOf(text string) string {
	_, after, scheme := strings.Cut(strings.TrimSpace(text), "://")
	if !scheme {
		after = strings.TrimSpace(text)
	}
	host, _, _ := strings.Cut(after, "/")
	if name, _, port := strings.Cut(host, ":"); port {
		host = name
	}
	if host = strings.ToLower(strings.Trim(host, ".")); host != text && hostname.MatchString(host) && !numbered.MatchString(host) {
		return "; write " + host
	}
	return ""
}

var datacenterName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// sorted lists a map's keys in order, so that two runs report alike.
func sorted[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *Fleet) checkDatacenters(d *decoder) {
	if len(f.Datacenters) == 0 {
		d.report("datacenters", "there is none; write at least one, with its harbor")
		return
	}
	primaries := 0
	servers, addresses := map[string]string{}, map[string]string{}
	for _, name := range d.order { // of two that are alike the later one is reported
		dc, path := f.Datacenters[name], "datacenters."+name
		if !datacenterName.MatchString(name) {
			d.report(path, "a datacenter's name is a DNS label: lower-case letters, digits and dashes")
		}
		switch dc.Role {
		case Primary:
			primaries++
		case Backup:
		default:
			d.report(path+".role", "%q is no role; write primary or backup", dc.Role)
		}
		if dc.Harbor == "" {
			d.report(path+".harbor", "it is missing; write the address of this datacenter's Harbor")
		}
		if *dc.Weight < 1 || *dc.Weight > 1000 {
			d.report(path+".weight", "%d is out of 1 to 1000", *dc.Weight)
		}
		unique(d, servers, place(string(dc.Harbor)), path+".harbor", string(dc.Harbor), "the Harbor of datacenter "+name)
		unique(d, servers, place(string(dc.Edge)), path+".edge", string(dc.Edge), "the edge of datacenter "+name)
		for _, a := range dc.Addresses {
			if !a.IsValid() {
				continue
			}
			unique(d, addresses, a.Unmap().String(), path+".addresses", a.String(), "an address of datacenter "+name)
		}
		checkLocation(d, path+".location", dc.Location)
	}
	f.checkReachable(d, "addresses", func(dc *Datacenter) []Addr { return dc.Addresses })
	f.checkReachable(d, "gslb", func(dc *Datacenter) []Addr { return dc.GSLB })
	if primaries == 0 {
		d.report("datacenters", "none is primary, so nobody would be served; give one the role primary")
	}
}

var (
	countryCode = regexp.MustCompile(`^[A-Za-z]{2}$`)
	continents  = []string{"AF", "AN", "AS", "EU", "NA", "OC", "SA"}
)

func checkLocation(d *decoder, path string, l *Location) {
	switch {
	case l == nil:
	case !(l.Latitude >= -90 && l.Latitude <= 90 && l.Longitude >= -180 && l.Longitude <= 180):
		d.report(path, "it is not on the earth: latitude is -90 to 90, longitude -180 to 180")
	case l.Country != "" && !countryCode.MatchString(l.Country):
		d.report(path+".country", "%q is no country of two letters; write FR for France", l.Country)
	case l.Continent != "" && !slices.Contains(continents, strings.ToUpper(l.Continent)):
		d.report(path+".continent", "%q is none of %s", l.Continent, strings.Join(continents, ", "))
	}
}

// nobodys are networks whose addresses no machine has (RFC 1122, 1112, 4291, 6666).
var nobodys = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("::/128"), netip.MustParsePrefix("100::/64")}

// checkReachable reports addresses that nobody can be sent to. A whole fleet may be on one
// machine, as one whose name servers all are; a part of it cannot. Each family is judged by itself: of IPv6 a machine has one
// loopback address, and so a fleet there has others beside it.
func (f *Fleet) checkReachable(d *decoder, field string, of func(*Datacenter) []Addr) {
	elsewhere := map[bool]bool{} // by whether it is IPv4: some are not on this machine
	var servers []Addr
	for _, dc := range f.Datacenters {
		servers = append(servers, dc.GSLB...)
		for _, a := range of(dc) {
			if a.IsValid() && !a.Unmap().IsLoopback() {
				elsewhere[a.Unmap().Is4()] = true
			}
		}
	}
	here := len(servers) > 0 && !slices.ContainsFunc(servers, func(a Addr) bool { return !a.Unmap().IsLoopback() })
	for _, name := range sorted(f.Datacenters) {
		for _, each := range of(f.Datacenters[name]) {
			a, path := each.Unmap(), "datacenters."+name+"."+field
			switch {
			case a.IsMulticast() || slices.ContainsFunc(nobodys, func(p netip.Prefix) bool { return p.Contains(a) }):
				d.report(path, "%s is the address of no machine; write the one that is reached from outside", a)
			case a.IsLinkLocalUnicast():
				d.report(path, "%s is good on one network segment alone; write the address that is reached from outside", a)
			case a.IsLoopback() && elsewhere[a.Is4()] && !here:
				d.report(path, "%s is whichever machine asks; write the address that is reached from outside", a)
			}
		}
	}
}

// unique reports a value that somebody else has already; whose says who has it now.
func unique(d *decoder, seen map[string]string, value, path, written, whose string) {
	if value == "" {
		return
	}
	if other, ok := seen[value]; ok {
		d.report(path, "%s is %s too; each has its own", written, other)
		return
	}
	seen[value] = whose
}

// checkNetworks reports networks that two datacenters claim. A longer prefix
// inside another's network is a hole, and legal: the longest prefix wins.
func (f *Fleet) checkNetworks(d *decoder) {
	seen := map[Network]string{}
	for _, name := range d.order {
		for _, n := range f.Datacenters[name].Networks {
			if !n.IsValid() {
				continue
			}
			if other, ok := seen[n]; ok {
				d.report("datacenters."+name+".networks", "%s is a network of datacenter %s too; clients are at home in one (a longer prefix may be cut out of another's)", n, other)
				continue
			}
			seen[n] = name
		}
	}
}

var systemDirectories = []string{"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/var", "/var/lib", "/var/log", "/var/run", "/var/tmp"}

func (e *Edge) check(d *decoder) {
	_, written := d.lines["edge"]
	tls := e.TLS.Certificate != "" || e.TLS.Key != ""
	switch {
	case (e.TLS.Certificate == "") != (e.TLS.Key == ""):
		d.report("edge.tls", "it needs both certificate and key")
	case tls && e.PlainHTTP:
		d.report("edge.plain_http", "there is a certificate too; keep one of the two")
	case written && !tls && !e.PlainHTTP:
		d.report("edge.tls", "there is no certificate; write tls.certificate and tls.key, or plain_http: true behind something that terminates TLS")
	}
	if e.Peers.CA != "" && !tls {
		d.report("edge.peers.ca", "edges that show each other certificates need one: write edge.tls, or edge.peers.key instead")
	}
	checkKeys(d, "edge.peers", e.Peers.Key, e.Peers.PreviousKey)
	checkListeners(d, edgeListeners(e))
	switch {
	case e.Store.Size == Unlimited:
		d.report("edge.store.size", "no disk is unlimited; write how much of it the store may take, as 500GiB")
	case e.Store.Size < 1<<20:
		d.report("edge.store.size", "a store holds at least 1MiB")
	}
	if path := filepath.Clean(e.Store.Path); path == "/" || slices.Contains(systemDirectories, path) {
		d.report("edge.store.path", "%s belongs to the system, and the store needs a directory of its own; write /var/lib/breakwater", path)
	}
	if name := e.Robot.Name; !naming.ValidProject(name) { // robots are named as projects are
		d.report("edge.robot.name", "%q is no robot's name: lower-case letters and digits, single . _ - among them, without Harbor's prefix", name)
	}
	for path, v := range map[string]*Duration{"edge.freshness.cache": e.Freshness.Cache, "edge.freshness.repl": e.Freshness.Repl,
		"edge.freshness.multi-dc": e.Freshness.MultiDC, "edge.touch": e.Touch, "edge.outage_grace": e.OutageGrace} {
		if *v < 0 {
			d.report(path, "%v is negative", *v)
		}
	}
}

// checkKeys checks the secrets that daemons share: one is replaced by another, not taken away.
func checkKeys(d *decoder, section string, key, previous Ref) {
	if key.IsZero() && !previous.IsZero() {
		d.report(section+".previous_key", "there is no key beside it; write %s.key", section)
	}
}

// mailbox reports whether s is an address with its @ written as a dot (RFC 1035,
// section 3.3.13).
func mailbox(s string) bool {
	_, err := mail.ParseAddress(strings.Replace(s, ".", "@", 1))
	return err == nil && !strings.Contains(s, "@")
}

func oneOf(d *decoder, path, value string, known ...string) {
	if d.written(path) && !slices.Contains(known, value) {
		meant := ""
		if best := naming.Nearest(strings.ToLower(value), known); best != "" {
			meant = "; do you mean " + best + "?"
		}
		d.report(path, "%q is none of %s%s", value, strings.Join(known, ", "), meant)
	}
}
