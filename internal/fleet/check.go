package fleet

import (
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
)

// DockerHub is the provider whose official images live in library/.
const DockerHub = "docker-hub"

// check reports what each value alone and all together must not be.
func (f *Fleet) check(d *decoder) {
	switch {
	case f.Domain == "":
		d.report("domain", "it is missing; write the one name that clients use, as harbor.example.org")
	case !hostname.MatchString(f.Domain):
		d.report("domain", "%q is no host name", f.Domain)
	}
	f.checkDatacenters(d)
	f.checkNetworks(d)
	f.checkSecrets(d)
	f.Edge.check(d)
	if f.GSLB != nil {
		f.checkGSLB(d)
	}
	f.checkProjects(d)
}

var hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

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
	harbors, edges, addresses := map[URL]string{}, map[URL]string{}, map[string]string{}
	for _, name := range sorted(f.Datacenters) {
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
		if l := dc.Location; l != nil && !(l.Latitude >= -90 && l.Latitude <= 90 && l.Longitude >= -180 && l.Longitude <= 180) {
			d.report(path+".location", "it is not on the earth: latitude is -90 to 90, longitude -180 to 180")
		}
		unique(d, harbors, dc.Harbor, path+".harbor", "the Harbor of datacenter "+name)
		unique(d, edges, dc.Edge, path+".edge", "the edge of datacenter "+name)
		for _, a := range dc.Addresses {
			if !a.IsValid() {
				continue
			}
			unique(d, addresses, a.String(), path+".addresses", "an address of datacenter "+name)
		}
	}
	if primaries == 0 {
		d.report("datacenters", "none is primary, so nobody would be served; give one the role primary")
	}
}

// unique reports a value that another datacenter has already; whose says who has it now.
func unique[T ~string](d *decoder, seen map[T]string, value T, path, whose string) {
	if value == "" {
		return
	}
	if other, ok := seen[value]; ok {
		d.report(path, "%s is %s too; each has its own", value, other)
		return
	}
	seen[value] = whose
}

// checkNetworks reports networks that two datacenters claim. A longer prefix
// inside another's network is a hole, and legal: the longest prefix wins.
func (f *Fleet) checkNetworks(d *decoder) {
	seen := map[Network]string{}
	for _, name := range sorted(f.Datacenters) {
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

// checkSettings reports what Harbor would refuse, or read as something else.
func (f *Fleet) checkSettings(d *decoder) {
	s := f.Harbor.Settings
	if s.ProjectCreation != "" {
		oneOf(d, "harbor.settings.project_creation", s.ProjectCreation, "everyone", "adminonly")
	}
	for field, v := range map[string]Duration{"token_lifetime": s.TokenLifetime, "session_timeout": s.SessionTimeout} {
		if v < 0 || v%Duration(time.Minute) != 0 {
			d.report("harbor.settings."+field, "%v: Harbor counts in whole minutes", time.Duration(v))
		}
	}
	if gc := f.Harbor.GC; gc != nil {
		checkEvery(d, "harbor.gc.every", gc.Every)
	}
}

func (f *Fleet) checkSecrets(d *decoder) {
	v := f.Secrets.Vault
	ways := 0
	if !v.Login.Token.IsZero() {
		ways++
	}
	if a := v.Login.AppRole; a != nil {
		ways++
		if a.RoleID.IsZero() || a.SecretID.IsZero() {
			d.report("secrets.vault.login.approle", "it needs role_id and secret_id")
		}
	}
	if k := v.Login.Kubernetes; k != nil {
		ways++
		if k.Role == "" {
			d.report("secrets.vault.login.kubernetes.role", "it is missing")
		}
	}
	if v.Address != "" && ways != 1 {
		d.report("secrets.vault.login", "want one of token, approle and kubernetes; there are %d", ways)
	}
	if v.Address == "" {
		d.checkNoVault(f)
	}
	for _, ref := range f.Harbor.TokenCertificates {
		if ref.Scheme != "file" && !ref.IsZero() {
			d.report("harbor.token_certificates", "%s: a certificate is public; write file:<path>", ref)
		}
	}
	f.checkSettings(d)
	if o := f.Harbor.OIDC; o != nil && (o.Name == "" || o.Endpoint == "" || o.ClientID.IsZero() || o.ClientSecret.IsZero()) {
		d.report("harbor.oidc", "it needs name, endpoint, client_id and client_secret")
	}
}

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
	checkAddress(d, "edge.listen", e.Listen)
	checkAddress(d, "edge.metrics", e.Metrics)
	checkAddress(d, "edge.admin", e.Admin)
	if e.Store.Size < 1<<20 {
		d.report("edge.store.size", "a store holds at least 1MiB")
	}
	for path, v := range map[string]*Duration{"edge.freshness.cache": e.Freshness.Cache, "edge.freshness.repl": e.Freshness.Repl,
		"edge.freshness.multi-dc": e.Freshness.MultiDC, "edge.touch": e.Touch, "edge.outage_grace": e.OutageGrace} {
		if *v < 0 {
			d.report(path, "%v is negative", time.Duration(*v))
		}
	}
}

// checkKeys checks the secrets that daemons share: one is replaced by another, not taken away.
func checkKeys(d *decoder, section string, key, previous Ref) {
	if key.IsZero() && !previous.IsZero() {
		d.report(section+".previous_key", "there is no key beside it; write %s.key", section)
	}
}

func checkAddress(d *decoder, path, address string) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		d.report(path, "%q is no address to listen on; write :443 or 127.0.0.1:9091", address)
	}
}

// mailbox reports whether s is an address with its @ written as a dot (RFC 1035,
// section 3.3.13).
func mailbox(s string) bool {
	_, err := mail.ParseAddress(strings.Replace(s, ".", "@", 1))
	return err == nil && !strings.Contains(s, "@")
}

func oneOf(d *decoder, path, value string, known ...string) {
	if !slices.Contains(known, value) {
		d.report(path, "%q is none of %s", value, strings.Join(known, ", "))
	}
}
