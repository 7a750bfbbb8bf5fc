package fleet

import (
	"regexp"
	"strings"
	"time"
)

func (f *Fleet) checkGSLB(d *decoder) {
	g := f.GSLB
	checkKeys(d, "gslb", g.Key, g.PreviousKey)
	checkListeners(d, gslbListeners(g))
	f.checkAnswer(d, "gslb", &GSLBName{g.Method, g.Panic, g.TTL, nil})
	f.checkMembers(d, "gslb.order", g.Order)
	if primaries := f.primaries(); g.MinPrimaries < 1 || primaries > 0 && g.MinPrimaries > primaries {
		d.report("gslb.min_primaries", "%d is out of 1 to %d, the primaries that there are", g.MinPrimaries, primaries)
	}
	for _, name := range sorted(g.Names) {
		path := "gslb.names." + name
		switch {
		case !hostname.MatchString(name) || !strings.Contains(name, "."):
			d.report(path, "%q is no host name; write it whole, as registry.example.org", name)
		case name == f.Domain:
			d.report(path, "this is domain itself; write what is for it in gslb")
		}
		f.checkAnswer(d, path, g.Names[name])
		f.checkMembers(d, path+".datacenters", g.Names[name].Datacenters)
	}
	f.checkZones(d)
	if _, written := d.lines["gslb.soa.mbox"]; written && !mailbox(g.SOA.Mbox) {
		d.report("gslb.soa.mbox", "%q is no mailbox; write sre.example.org for sre@example.org", g.SOA.Mbox)
	}
	checkTTL(d, "gslb.soa.ttl", *g.SOA.TTL, Duration(time.Second), Duration(day))
	checkTTL(d, "gslb.ns.ttl", *g.NS.TTL, Duration(time.Minute), Duration(7*day))
	checkTTL(d, "gslb.ns.glue", *g.NS.Glue, Duration(time.Minute), Duration(7*day))
	f.checkACMEChallenge(d, g)
	switch s := g.DNSSEC; {
	case s.PreviousKey == "":
	case s.Key == "":
		d.report("gslb.dnssec.previous_key", "there is no key beside it; write the one in use as gslb.dnssec.key")
	case s.Key == s.PreviousKey:
		d.report("gslb.dnssec.previous_key", "it is the file of gslb.dnssec.key; write that of the key of before, or leave it out")
	}
	switch {
	case g.Probe.Interval < Duration(100*time.Millisecond):
		d.report("gslb.probe.interval", "%v is shorter than 100ms", g.Probe.Interval)
	case g.Probe.Timeout <= 0 || g.Probe.Timeout >= g.Probe.Interval:
		d.report("gslb.probe.timeout", "must be more than 0 and less than the interval (%v)", g.Probe.Interval)
	}
	if c := g.Probe.Confirm; c < Duration(10*time.Millisecond) {
		d.report("gslb.probe.confirm", "%v is shorter than 10ms", c)
	}
	if g.RateLimit < 0 {
		d.report("gslb.rate_limit", "%d is negative", g.RateLimit)
	}
	if n := g.QueryLog.OneIn; n < 0 || n > 1_000_000 {
		d.report("gslb.query_log.one_in", "%d is out of 0 to 1000000; write 100 for one answer in a hundred", n)
	}
	if to := g.DNSTap.To; to != "" && !tapped.MatchString(to) {
		d.report("gslb.dnstap.to", "%q is nowhere to tell it; write unix:/run/dnstap.sock, tcp://192.0.2.9:6000 or file:/var/lib/breakwater/dns.fstrm", to)
	}
	if len(g.Version) > 255 {
		d.report("gslb.version", "it is longer than 255 bytes")
	}
	if g.Probe.Hold < 0 {
		d.report("gslb.probe.hold", "%v is negative", g.Probe.Hold)
	}
	if g.Probe.Fall < 1 || g.Probe.Rise < 1 {
		d.report("gslb.probe", "fall and rise are at least 1")
	}
	for _, name := range sorted(f.Datacenters) {
		if len(f.Datacenters[name].Addresses) == 0 {
			d.report("datacenters."+name+".addresses", "there is none, so DNS would have nothing to answer with; write this datacenter's addresses")
		}
	}
}

// tapped is where dnstap goes.
var tapped = regexp.MustCompile(`^((unix|file):/.+|tcp://(\[[0-9A-Fa-f:.]+\]|[^/?#@:\s]+):[0-9]{1,5})$`)

// maxName is the longest name that DNS has, without the final dot (RFC 1035, section 2.3.4).
const maxName = 253

// checkZones: each of the names that are not below domain is a zone of its own. A zone has name
// servers with names of their own, and none is cut out of another.
func (f *Fleet) checkZones(d *decoder) {
	servers := map[string]string{} // first labels of name servers, and whose they are
	longest := len("_acme-challenge.")
	for _, name := range d.order {
		if len(f.Datacenters[name].GSLB) == 0 {
			continue
		}
		label := "ns-" + name
		servers[label] = name
		longest = max(longest, len(label)+1)
		if len(label) > 63 {
			d.report("datacenters."+name, "its name server would be called %s, and a label has at most 63 characters; write a name of 60 or less", label)
		}
	}
	if len(servers) == 0 && len(f.Datacenters) > 0 {
		d.report("gslb", "no datacenter has gslb addresses, so the zone would have no NS records and nothing could be delegated to it; write datacenters.<name>.gslb")
	}
	if len(f.Domain)+longest > maxName { // further names are keys of the file, which are shorter
		d.report("domain", "it is longer than %d characters, and no name any more with what name servers put before it (ns-<datacenter>, _acme-challenge)", maxName-longest)
	}
	apexes := []string{f.Domain}
	for _, name := range sorted(f.GSLB.Names) {
		if !strings.HasSuffix(name, "."+f.Domain) {
			apexes = append(apexes, name)
		}
	}
	for _, name := range append([]string{f.Domain}, sorted(f.GSLB.Names)...) {
		path := "gslb.names." + name
		if name == f.Domain {
			path = "domain"
		}
		for _, apex := range apexes {
			label, below := strings.CutSuffix(name, "."+apex)
			switch {
			case !below:
			case servers[label] != "":
				d.report(path, "it is the name of the name server of datacenter %s: resolvers would ask the edge for DNS; write another one", servers[label])
			case apex != f.Domain:
				d.report(path, "it is below gslb.names.%s, which is a zone of its own, and no zone is cut out of another here; write a name beside it, or make %s the domain", apex, apex)
			}
		}
	}
}

// checkACMEChallenge: the records that prove a name are written by an ACME client, in a
// zone that takes them; the fleet's own does not.
func (f *Fleet) checkACMEChallenge(d *decoder, g *GSLB) {
	to := g.ACMEChallenge
	if to == "" {
		return
	}
	if !hostname.MatchString(strings.ReplaceAll(to, "_", "a")) || !strings.Contains(to, ".") || len(to) > 250 {
		d.report("gslb.acme_challenge", "%q is no name; write it whole, as harbor.acme.example.org", to)
	}
	for _, name := range append([]string{f.Domain}, sorted(g.Names)...) {
		if to == name || strings.HasSuffix(to, "."+name) {
			d.report("gslb.acme_challenge", "%s is below %s, whose name servers take no records; name one of a zone that your ACME client can write to", to, name)
		}
	}
}

func (f *Fleet) primaries() (n int) {
	for _, dc := range f.Datacenters {
		if dc.Role == Primary {
			n++
		}
	}
	return n
}

// checkAnswer checks what is said of one name, or of all.
func (f *Fleet) checkAnswer(d *decoder, path string, n *GSLBName) {
	oneOf(d, path+".method", n.Method, "nearest", "twrr", "failover", "static")
	oneOf(d, path+".panic", n.Panic, "all", "last-good", "backup", "nodata")
	checkTTL(d, path+".ttl", *n.TTL, Duration(time.Second), Duration(day))
}

func checkTTL(d *decoder, path string, ttl, least, most Duration) {
	if ttl < least || ttl > most || ttl%Duration(time.Second) != 0 {
		d.report(path, "%v is out of %v to %v, in whole seconds", ttl, least, most)
	}
}

// checkMembers checks a list of datacenters.
func (f *Fleet) checkMembers(d *decoder, path string, names []string) {
	seen := map[string]bool{}
	for _, name := range names {
		switch {
		case f.Datacenters[name] == nil:
			d.report(path, "there is no datacenter %q; known here: %s", name, strings.Join(sorted(f.Datacenters), ", "))
		case seen[name]:
			d.report(path, "%s stands there twice", name)
		}
		seen[name] = true
	}
}
