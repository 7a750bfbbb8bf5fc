package fleet

import (
	"strings"
	"testing"
)

// whole is a fleet of two datacenters of which nothing is to be noted.
const whole = `domain: harbor.example.org
datacenters:
  par1: { harbor: "https://harbor.par1.example.net", edge: "https://edge.par1.example.net", addresses: [192.0.2.10], gslb: [192.0.2.53], location: { latitude: 1, longitude: 2 } }
  mad1: { harbor: "https://harbor.mad1.example.net", edge: "https://edge.mad1.example.net", addresses: [198.51.100.10], gslb: [198.51.100.53] }
secrets: { vault: { address: "https://vault.example.net", login: { token: "env:T" } } }
harbor: { username: admin, password: "vault:a#b", token_certificates: ["file:/c"] }
projects:
  multi-dc: { app: { robots: { sync: "env:SYNC" } } }
  cache: { quay: { endpoint: "https://quay.io" } }
edge: { tls: { certificate: /c, key: /k }, robot: { secret: "env:ROBOT" }, peers: { key: "env:KEY" }, listen: ":443", metrics: ":9090", admin: "127.0.0.1:9091" }
gslb: { listen: ":53", metrics: ":9092", admin: "127.0.0.1:9093", ttl: 30s }
`

// noted are changes of it, and what is said of each.
var noted = []struct {
	name    string
	replace []string
	want    string // "": nothing is noted
}{
	{"nothing", nil, ""},
	{"a project by its whole name", []string{"app: {", "multi-dc-app: {"}, "projects.multi-dc.multi-dc-app (line 8): the prefix is added to it: the project is multi-dc-multi-dc-app; write app"},
	{"a cache by its whole name", []string{"quay: {", "cache-quay: {"}, "projects.cache.cache-quay (line 9): the prefix is added to it"},
	{"a regular expression", []string{"app: {", "app: { immutable_tags: [\"^v[0-9]+$\"],"}, "projects.multi-dc.app.immutable_tags (line 8): \"^v[0-9]+$\" matches nothing: it is a regular expression"},
	{"a regular expression of all", []string{"app: {", "app: { immutable_tags: [\".*\"],"}, "projects.multi-dc.app.immutable_tags (line 8): \".*\" matches nothing"},
	{"a certificate as a reference", []string{"certificate: /c", "certificate: \"file:/c\""}, "edge.tls.certificate (line 10): this is a path and no reference; write /c"},
	{"touch", []string{"listen: \":443\"", "touch: 1h"}, ""},
	{"touch without a robot", []string{"robot: { secret: \"env:ROBOT\" }", "touch: 1h"}, "edge.touch (line 10): it does nothing without edge.robot.secret"},
	{"addresses without name servers", []string{"gslb: {", "# gslb: {"}, "datacenters.par1.addresses (line 3): it does nothing without name servers, nor do datacenters.par1.gslb, datacenters.mad1.addresses, datacenters.mad1.gslb;"},
	{"a Vault that nothing is in", []string{"vault:a#b", "env:P"}, "secrets.vault (line 5): no vault: reference"},
	{"replication to nobody", append([]string{"app: {", "app: { replication: { pull: 1h },"}, oneAlone...), "projects.multi-dc.app.replication (line 8): it does nothing"},
	{"as many copies as datacenters", []string{"multi-dc: {", "multi-dc: { copies: 2,"}, "projects.multi-dc.copies (line 8): it does nothing: there are no more datacenters"},
	{"copies of a project in one place", append([]string{"app: {", "app: { copies: 2,"}, oneAlone...), "projects.multi-dc.app.copies (line 8): it does nothing"},
	{"always, and more", []string{"quay: {", "quay: { retention: { always: true, pulled_within: 1d },"}, "projects.cache.quay.retention.always (line 9): with it everything is kept"},
	{"no backup to panic for", []string{"ttl: 30s", "panic: backup"}, "gslb.panic (line 11): there is no datacenter with role: backup"},
	{"a database of places, and no place", []string{", location: { latitude: 1, longitude: 2 }", "", "ttl: 30s", "geoip: /g"}, "gslb.geoip (line 11): it does nothing"},
	{"the admin listener for everybody", []string{"127.0.0.1:9091", ":9091"}, "edge.admin (line 10): :9091 is reachable from other machines"},
	{"the other admin listener too", []string{"127.0.0.1:9093", "192.0.2.10:9093"}, "gslb.admin (line 11): 192.0.2.10:9093 is reachable from other machines"},
	{"edge and name server on one port", []string{"\":9092\"", "\"127.0.0.1:9090\""}, "gslb.metrics (line 11): 127.0.0.1:9090 is taken by edge.metrics (:9090) where edge and name server are on one machine"},
	{"an edge by the one name", []string{"https://edge.mad1.example.net", "https://Harbor.example.org"}, "datacenters.mad1.edge (line 4): harbor.example.org is the one name"},
	{"a Harbor by the one name", []string{"https://harbor.mad1.example.net", "https://harbor.example.org:8443"}, "datacenters.mad1.harbor (line 4): harbor.example.org is the one name"},
	{"an edge in the delegated zone", []string{"https://edge.mad1.example.net", "https://mad1.harbor.example.org"}, "datacenters.mad1.edge (line 4): mad1.harbor.example.org is in the zone that is delegated"},
	{"an edge without TLS", []string{"https://edge.mad1.example.net", "http://edge.mad1.example.net"}, "datacenters.mad1.edge (line 4): other datacenters come here without TLS"},
	{"a Vault without TLS", []string{"https://vault.example.net", "http://vault.example.net"}, "secrets.vault.address (line 5): secrets pass without TLS"},
	{"a place at sea", []string{"latitude: 1, longitude: 2", "country: FR"}, "datacenters.par1.location (line 3): it has no latitude"},
	{"a name without a dot", []string{"domain: harbor.example.org", "domain: harbor"}, "domain (line 1): harbor has no dot"},
	{"a small store", []string{"listen: \":443\"", "store: { size: 500MiB }"}, "edge.store.size (line 10): 500MiB is less than one large layer"},
	{"certificate and key in one", []string{"key: /k", "key: /c"}, "edge.tls.key (line 10): it is the certificate's file too"},
	{"a tag that is believed for a week", []string{"listen: \":443\"", "freshness: { cache: 7d }"}, "edge.freshness.cache (line 10): a tag that has moved is seen up to 7d later"},
	{"a grace of a month", []string{"listen: \":443\"", "outage_grace: 30d"}, "edge.outage_grace (line 10): who lost their permission pulls for up to 30d more"},
	{"a TTL of an hour", []string{"ttl: 30s", "ttl: 1h"}, "gslb.ttl (line 11): clients go to a datacenter that is down for up to 1h more"},
	{"probes that are slow", []string{"ttl: 30s", "probe: { interval: 2m, timeout: 1m }"}, "gslb.probe (line 11): a datacenter that is down is answered with for up to"},
	{"a hold of a day", []string{"ttl: 30s", "probe: { hold: 1d }"}, "gslb.probe.hold (line 11): a datacenter that is well again gets no clients for 1d"},
	{"IPv6 here alone", []string{"addresses: [192.0.2.10]", `addresses: [192.0.2.10, "2001:db8::10"]`}, "datacenters.mad1.addresses (line 4): mad1 has no IPv6 address: its clients that use IPv6 are sent to another (par1)"},
	{"peers without a key", []string{"ttl: 30s", "peers: \":9999\"", ", key: \"env:GSLBKEY\"", ""}, "gslb.peers (line 11): it does nothing"},
	{"more primaries, and no backup", []string{"ttl: 30s", "min_primaries: 2"}, "gslb.min_primaries (line 11): it does nothing"},
	{"a name that panics to backups, and none", []string{"ttl: 30s", "names: { r.example.net: { panic: backup } }"}, "gslb.names.r.example.net.panic (line 11): there is no datacenter with role: backup"},
	{"an access key where no provider is", []string{"endpoint: \"https://quay.io\"", "endpoint: \"https://123456789012.dkr.ecr.eu-west-1.amazonaws.com\", username: AKIAIOSFODNN7EXAMPLE, password: \"env:P\""}, "projects.cache.quay.username (line 9): the registry takes no access key"},
	{"a token that ends", []string{"endpoint: \"https://quay.io\"", "endpoint: \"https://123456789012.dkr.ecr.eu-west-1.amazonaws.com\", username: AWS, password: \"env:P\""}, "projects.cache.quay.password (line 9): a token of this registry ends"},
	{"an address of the API", []string{"endpoint: \"https://quay.io\"", "provider: aws-ecr, endpoint: \"https://api.ecr.eu-west-1.amazonaws.com\", username: AKIAIOSFODNN7EXAMPLE, password: \"env:P\""}, "projects.cache.quay.endpoint (line 9): it is the API's address"},
	{"the role of a machine", []string{"endpoint: \"https://quay.io\"", "provider: aws-ecr, endpoint: \"https://123456789012.dkr.ecr.eu-west-1.amazonaws.com\""}, "projects.cache.quay (line 9): without an access key Harbor alone"},
	{"a cache of the fleet", []string{"https://quay.io", "https://harbor.example.org"}, "projects.cache.quay.endpoint (line 9): it is the fleet itself"},
	{"a cache of a Harbor of the fleet", []string{"https://quay.io", "https://harbor.mad1.example.net:443"}, "projects.cache.quay.endpoint (line 9): it is the Harbor of mad1"},
	{"an edge by another of the names", []string{"ttl: 30s", "names: { edge.mad1.example.net: {} }"}, "datacenters.mad1.edge (line 4): edge.mad1.example.net is one of gslb.names"},
	{"two caches of one registry", []string{"quay: {", "own: { endpoint: \"https://quay.io\" }, quay: {"}, "projects.cache.quay (line 9): it is a cache of quay.io, as own is"},
	{"an edge on loopback, others elsewhere", []string{"https://edge.mad1.example.net", "https://127.0.0.1"}, "datacenters.mad1.edge (line 4): https://127.0.0.1 is whichever machine asks"},
	{"a Harbor on loopback, others elsewhere", []string{"https://harbor.mad1.example.net", "http://localhost:8080"}, "datacenters.mad1.harbor (line 4): http://localhost:8080 is whichever machine asks"},
	{"a relative path", []string{"key: /k", "key: tls.key"}, "edge.tls.key (line 10): tls.key is looked for in the directory that the edge is started in"},
	{"a time-out that nobody keeps", []string{"ttl: 30s", "probe: { timeout: 1ms }"}, "gslb.probe.timeout (line 11): no answer"},
	{"explanations for all", []string{"ttl: 30s", "explain: [0.0.0.0/0]"}, "gslb.explain (line 11): everybody may ask"},
	{"a proxy is everybody", []string{"ttl: 30s", "proxy_protocol: { from: [0.0.0.0/0] }"}, "gslb.proxy_protocol.from (line 11): everybody may say who asks"},
	{"explanations by way of a forwarder", []string{"ttl: 30s", "explain: [127.0.0.0/8]"}, "gslb.explain (line 11): everybody may ask who is answered with what, and why, where a forwarder"},
	{"explanations for a network", []string{"ttl: 30s", "explain: [10.0.0.0/8]"}, ""},
	{"name servers that never move", []string{"ttl: 30s", "ns: { glue: 2d }"}, "gslb.ns.glue (line 11): a name server that moves"},
	{"Docker Hub elsewhere", []string{"endpoint: \"https://quay.io\"", "provider: docker-hub, endpoint: \"https://quay.io\""}, "projects.cache.quay.endpoint (line 9): Harbor goes to Docker Hub"},
	{"redirects to everywhere", []string{"quay: {", "quay: { redirects: [\"::/0\"],"}, "projects.cache.quay.redirects (line 9): the upstream may have the edge ask whatever is inside"},
	{"redirects to a storage", []string{"quay: {", "quay: { redirects: [minio.example.net, 10.0.0.0/8],"}, ""},
	{"one secret for two robots", []string{"sync: \"env:SYNC\"", "readonly: \"env:SYNC\", readwrite: \"env:SYNC\", sync: \"env:S\""}, "projects.multi-dc.app.robots (line 8): robots have one secret"},
	{"one secret for two projects", []string{"app: { robots: { sync: \"env:SYNC\" } }", "defaults: { robots: { sync: \"env:SYNC\" } }, a: {}, b: {}"}, "projects.multi-dc.defaults.robots.sync (line 8): the robots of all projects get one secret"},
	{"OpenID without TLS", []string{"username: admin", "username: admin, oidc: { name: x, endpoint: \"http://k.example.net\", client_id: a, client_secret: \"env:S\" }"}, "harbor.oidc.endpoint (line 6): logins pass without TLS"},
	{"a quota without a unit", []string{"app: {", "app: { quota: 10,"}, "projects.multi-dc.app.quota (line 8): no layer fits in 10 bytes"},
	{"groups without OpenID", []string{"app: {", "app: { members: [{ group: g, role: guest }],"}, "projects.multi-dc.app.members (line 8): groups are the OpenID provider's"},
	{"no robot", []string{"robot: { secret: \"env:ROBOT\" }, ", ""}, "edge.robot.secret: it is not set"},
	{"no certificates of tokens", []string{", token_certificates: [\"file:/c\"]", ""}, "harbor.token_certificates: they are not set"},
	{"one edge alone", append([]string{"{ key: \"env:KEY\" }", "{}", "robots: { sync: \"env:SYNC\" }", "quota: 1GiB"}, oneAlone...), ""},
}

var oneAlone = []string{"  mad1:", "  # mad1:"}

func TestNotes(t *testing.T) {
	for _, c := range noted {
		t.Run(c.name, func(t *testing.T) {
			f, err := Load("fleet.yaml", []byte(strings.NewReplacer(c.replace...).Replace(whole)))
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, n := range f.Notes {
				all = append(all, n.String())
			}
			got := strings.Join(all, "\n")
			if c.want == "" && got != "" || !strings.Contains("\n"+got, "\n"+c.want) {
				t.Errorf("want %q in\n%s", c.want, got)
			}
		})
	}
}

// The fleet of the article is as one would want it.
func TestTheArticleIsNotNoted(t *testing.T) {
	f, err := ReadFile("../../deploy/fleet.article.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range f.Notes {
		t.Error(n)
	}
}
