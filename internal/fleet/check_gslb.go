package fleet

import (
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
	if _, written := d.lines["gslb.soa.mbox"]; written && !mailbox(g.SOA.Mbox) {
		d.report("gslb.soa.mbox", "%q is no mailbox; write sre.example.org for sre@example.org", g.SOA.Mbox)
	}
	f.checkACMEChallenge(d, g)
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
	if *n.TTL < Duration(time.Second) || *n.TTL > Duration(day) || *n.TTL%Duration(time.Second) != 0 {
		d.report(path+".ttl", "%v is out of 1s to 1d, in whole seconds", *n.TTL)
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
