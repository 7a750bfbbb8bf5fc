package fleet

// Roles of datacenters.
const (
	Primary = "primary" // answered to clients while it is healthy
	Backup  = "backup"  // answered only when no primary can be
)

// Datacenter is one place with a Harbor and, before it, an edge.
type Datacenter struct {
	Role      string    `yaml:"role"`      // primary | backup: a backup is answered only when no primary can be; default primary
	Location  *Location `yaml:"location"`  // for the distance to clients and peers; absent: only networks and the order of names count
	Networks  []Network `yaml:"networks"`  // clients that are at home here; the longest prefix wins
	Addresses []Addr    `yaml:"addresses"` // what DNS answers with; needed with gslb
	Edge      URL       `yaml:"edge"`      // how peers and probes reach this edge; absent: probes ask Harbor itself
	Harbor    URL       `yaml:"harbor"`    // the Harbor behind it; required
	GSLB      []Addr    `yaml:"gslb"`      // this datacenter's name server, as the parent zone has it (glue)
	Weight    *int      `yaml:"weight"`    // share where several are equally near, 1 to 1000; default 1
	Probe     Probed    `yaml:"probe"`     // what name servers ask instead of the edge or Harbor: https://…, tcp://host:port or file:/path

	ProjectDefaults struct {
		AutoScan *bool `yaml:"auto_scan"` // false where there is no scanner; absent: true
	} `yaml:"project_defaults"` // for every project here, under what a project says itself
}

// Location is a point on the earth, in degrees.
type Location struct {
	Latitude  float64 `yaml:"latitude"`  // -90 to 90
	Longitude float64 `yaml:"longitude"` // -180 to 180
	Country   string  `yaml:"country"`   // ISO 3166-1, as FR; for geographic databases without coordinates
	Continent string  `yaml:"continent"` // AF | AN | AS | EU | NA | OC | SA; see country
}

// Secrets says where vault: references are looked up.
type Secrets struct {
	Vault struct {
		Address URL        `yaml:"address"` // scheme and host, without /v1
		CA      string     `yaml:"ca"`      // file of the CA that signs Vault's certificate; absent: the system's
		Login   VaultLogin `yaml:"login"`   // one of token, approle and kubernetes
	} `yaml:"vault"` // a HashiCorp Vault or an OpenBao
}

// VaultLogin is one way to log in to Vault.
type VaultLogin struct {
	Token   Ref `yaml:"token"` // file: or env:
	AppRole *struct {
		RoleID   Ref    `yaml:"role_id"`   // file: or env:; required
		SecretID Ref    `yaml:"secret_id"` // file: or env:; required
		Mount    string `yaml:"mount"`     // where the method is; default approle
	} `yaml:"approle"` // a role and its secret
	Kubernetes *struct {
		Role  string `yaml:"role"`  // of Vault; required
		Token Ref    `yaml:"token"` // absent: the pod's service account's
		Mount string `yaml:"mount"` // where the method is; default kubernetes
	} `yaml:"kubernetes"` // a pod's service account
}

// Harbor is what all Harbors of the fleet share.
type Harbor struct {
	Username          Text   `yaml:"username"`           // an administrator, for provision
	Password          Ref    `yaml:"password"`           // the administrator's
	TokenCertificates []Ref  `yaml:"token_certificates"` // file: certificates of all that sign tokens anywhere in the fleet; none: each token is shown to the local Harbor
	RobotPrefix       string `yaml:"robot_prefix"`       // of robots' names, as in Harbor's settings; default robot$
	CA                string `yaml:"ca"`                 // file of the CA that signs the Harbors' certificates; absent: the system's
	OIDC              *OIDC  `yaml:"oidc"`               // login by OpenID Connect; absent: left alone, as logins by LDAP or Harbor's own users are
	GC                *GC    `yaml:"gc"`                 // when Harbor removes what no tag and no manifest needs any more; absent: left alone
	SyncRobot         struct {
		Name   string `yaml:"name"`   // without Harbor's prefix; default breakwater-sync
		Secret Ref    `yaml:"secret"` // needed with grouped
	} `yaml:"sync_robot"` // of the system, as which Harbors replicate with projects.multi-dc.replication: grouped; provision makes it
	Settings struct {
		ProjectCreation string   `yaml:"project_creation"` // everyone | adminonly: who may make projects
		TokenLifetime   Duration `yaml:"token_lifetime"`   // of the tokens that registry clients get; whole minutes
		SessionTimeout  Duration `yaml:"session_timeout"`  // of the portal; whole minutes
	} `yaml:"settings"` // of the system; what is absent is left alone
}

// GC is when Harbor removes what no tag and no manifest needs any more.
type GC struct {
	Every    Duration `yaml:"every"`    // minutes that divide an hour, hours that divide a day, 1d or 7d; default 7d
	Untagged bool     `yaml:"untagged"` // artifacts without a tag go too
}

// OIDC is Harbor's login by OpenID Connect.
type OIDC struct {
	Name         string `yaml:"name"`          // what Harbor's login page calls the provider; required
	Endpoint     Issuer `yaml:"endpoint"`      // the provider's issuer, as it writes it itself, without /.well-known/…; required
	ClientID     Text   `yaml:"client_id"`     // of Harbor at the provider; required
	ClientSecret Ref    `yaml:"client_secret"` // required
	Scope        string `yaml:"scope"`         // separated by commas; default openid
	UserClaim    string `yaml:"user_claim"`    // what users are called by; default preferred_username
	GroupsClaim  string `yaml:"groups_claim"`  // a claim at the top level of the token: Harbor reads no nested one
	AdminGroup   string `yaml:"admin_group"`   // its members administer Harbor
	AutoOnboard  *bool  `yaml:"auto_onboard"`  // users are made at their first login, without being asked for a name; default true
}

// Edge is the same on every edge of the fleet.
type Edge struct {
	Listen    string `yaml:"listen"`     // for clients and peers; default :443, or :80 with plain_http
	PlainHTTP bool   `yaml:"plain_http"` // serve without TLS: only behind something that terminates it; default true on a loopback address without a certificate
	TLS       struct {
		Certificate string `yaml:"certificate"` // PEM file, the chain included
		Key         string `yaml:"key"`         // PEM file
	} `yaml:"tls"` // what clients are shown for the domain; the files are read again when they change
	Metrics string  `yaml:"metrics"` // Prometheus and readiness; default :9090
	Admin   string  `yaml:"admin"`   // loopback, or reachable by operators alone; default 127.0.0.1:9091
	Changes string  `yaml:"changes"` // file in which provision on this machine keeps what its last plan and apply were; the console shows it; absent: nowhere
	Console Console `yaml:"console"` // the console for who is not on this machine, behind a login
	Store   struct {
		Path string `yaml:"path"` // a directory of its own; default /var/lib/breakwater
		Size Size   `yaml:"size"` // how much of the disk it may take; default 100GiB
	} `yaml:"store"` // of verified content
	Robot struct {
		Name   string `yaml:"name"`   // without Harbor's prefix; default breakwater-edge
		Secret Ref    `yaml:"secret"` // absent: content is fetched with the credentials of the client who asks first
	} `yaml:"robot"` // the edge's own account at every Harbor, which provision makes
	Peers struct {
		Key         Ref    `yaml:"key"`          // shared by all edges; 32 random bytes or more, as openssl rand -base64 32 makes them
		PreviousKey Ref    `yaml:"previous_key"` // the key of before, while it is replaced: both are good
		CA          string `yaml:"ca"`           // file of the private CA whose certificates edges show each other instead of the key (edge.tls, with clientAuth, for the host of their edge address)
	} `yaml:"peers"` // how the edges of the fleet know each other
	Freshness struct {
		Cache   *Duration `yaml:"cache"`    // of caches; default 60s
		Repl    *Duration `yaml:"repl"`     // of images that are always held; default 60s
		MultiDC *Duration `yaml:"multi-dc"` // of projects that datacenters share; default 0s: always asked
	} `yaml:"freshness"` // how long a tag is believed without asking
	Touch       *Duration `yaml:"touch"`        // how often a pulled artifact is shown to Harbor's retention, which counts no pull that the edge serves; 0s: never; default 6h
	Preheat     *bool     `yaml:"preheat"`      // whether Harbors know their edges as instances of the preheat provider Kraken, to which administrators of projects may have policies in the portal; absent: where a project has preheat
	OutageGrace *Duration `yaml:"outage_grace"` // how long remembered pull access holds while no Harbor answers, 0s: not at all; default 1h
}

// Console is the console's own listener. On the admin listener it is in any case.
type Console struct {
	Listen string `yaml:"listen"` // a port of its own, as :9443; TLS is needed, but on loopback; absent: nowhere
	TLS    struct {
		Certificate string `yaml:"certificate"` // PEM file, the chain included
		Key         string `yaml:"key"`         // PEM file
	} `yaml:"tls"` // what browsers are shown; the files are read again when they change; absent: edge.tls
	Users        string   `yaml:"users"`         // htpasswd file with bcrypt hashes, as htpasswd -B -C 12 makes it; read again when it changes; absent: nobody logs in by a password
	Groups       []string `yaml:"groups"`        // of the provider of harbor.oidc, whose members are let in; https://<listener>/login/back is to be a redirect URI there; absent: nobody logs in there
	ClientID     Text     `yaml:"client_id"`     // of the console at the provider; absent: Harbor's, with its secret
	ClientSecret Ref      `yaml:"client_secret"` // needed with client_id
}

// GSLBName is one further name; what is not written is as in gslb.
type GSLBName struct {
	Method      string    `yaml:"method"`      // nearest | twrr | failover | static
	Panic       string    `yaml:"panic"`       // all | last-good | backup | nodata
	TTL         *Duration `yaml:"ttl"`         // 1s to 1d
	Datacenters []string  `yaml:"datacenters"` // that may be answered, in order; absent: all
}

// GSLB is the same on every name server of the fleet.
type GSLB struct {
	Listen  string    `yaml:"listen"`  // UDP and TCP; default :53
	Metrics string    `yaml:"metrics"` // Prometheus and readiness; default :9092
	Admin   string    `yaml:"admin"`   // loopback, or reachable by operators alone; default 127.0.0.1:9093
	Peers   *string   `yaml:"peers"`   // where it takes signed questions and steering of the fleet's, on the same port on every name server; served where there is a key; off: nowhere; default :9094
	TTL     *Duration `yaml:"ttl"`     // of answers, 1s to 1d; default 30s
	SOA     struct {
		Mbox string    `yaml:"mbox"` // who answers for the zone; default hostmaster.<domain>
		TTL  *Duration `yaml:"ttl"`  // 1s to 1d; also the longest that resolvers remember that there is nothing; default 1h
	} `yaml:"soa"` // the zone's own record
	NS struct {
		TTL  *Duration `yaml:"ttl"`  // of the list of name servers, 1m to 7d; default 1h
		Glue *Duration `yaml:"glue"` // of their addresses, 1m to 7d; default 1h
	} `yaml:"ns"` // how long resolvers keep to the name servers, which most of them believe more than the parent
	ACMEChallenge string               `yaml:"acme_challenge"` // a name in another zone, where _acme-challenge.<name> leads: certificates by ACME's dns-01
	Method        string               `yaml:"method"`         // nearest | twrr | failover | static, of which twrr is another word for nearest; default nearest
	Order         []string             `yaml:"order"`          // datacenters, for failover and for clients of whom nothing is known; absent: for failover as they stand in the file, and such clients are equally near to all
	MinPrimaries  int                  `yaml:"min_primaries"`  // with fewer healthy, backups take clients too, by distance; 1: when there is no primary; default 1
	Names         map[string]*GSLBName `yaml:"names"`          // further names, with what differs from here; domain is always one
	Topology      string               `yaml:"topology"`       // file: a network and its datacenters in order of preference on each line; read again when it changes
	GeoIP         string               `yaml:"geoip"`          // a MaxMind database; networks and topology always win over it; read again when it changes
	State         string               `yaml:"state"`          // file of what outlasts a restart; default /var/lib/breakwater/gslb.json
	Explain       []Network            `yaml:"explain"`        // networks that may ask for the TXT records that say why; a forwarder asks for all of its clients; absent: nobody
	Probe         struct {
		Interval  Duration `yaml:"interval"`  // from one probe to the next, 100ms at least; default 1s
		Timeout   Duration `yaml:"timeout"`   // less than the interval; default 500ms
		Fall      int      `yaml:"fall"`      // failures in a row until it is down; default 2
		Rise      int      `yaml:"rise"`      // successes in a row until it is up; default 3
		Confirm   Duration `yaml:"confirm"`   // how soon a failure is probed again; default 200ms
		Hold      Duration `yaml:"hold"`      // how long what went down stays down at least; default 5s
		Addresses *bool    `yaml:"addresses"` // each of a datacenter's addresses is asked, where it has several; false where name servers do not reach what clients do, as behind a NAT; default true
	} `yaml:"probe"` // of all datacenters, by each name server
	RateLimit int `yaml:"rate_limit"` // responses a second for a client's /24 or /56 and kind of answer; over it every second one is cut short and the rest dropped, but for clients with a cookie or over TCP; 0: no limit; default 0
	QueryLog  struct {
		OneIn int `yaml:"one_in"` // of how many answers one is in the log, 1: all, up to 1,000 a second; 0: none; default 0
	} `yaml:"query_log"` // samples of what is asked and answered, with clients' networks
	DNSTap struct {
		To string `yaml:"to"` // unix:/path, tcp://host:port or file:/path; absent: nowhere
	} `yaml:"dnstap"` // every query and answer as dnstap, with clients' addresses, for a collector
	ProxyProtocol struct {
		From []Network `yaml:"from"` // who says for whom it asks: dnsdist, load balancers; what they send without saying it is dropped; absent: nobody
	} `yaml:"proxy_protocol"` // version 2, over UDP and TCP: the client is who it says, for steering, rate_limit and explain
	Version     string `yaml:"version"`      // what version.bind says; absent: nothing
	Witnesses   []Addr `yaml:"witnesses"`    // outside the fleet: who reaches none of them, no other datacenter and no other name server keeps what it knew
	Panic       string `yaml:"panic"`        // all | last-good | backup | nodata; default last-good
	Key         Ref    `yaml:"key"`          // shared by all name servers: their cookies, and what they ask each other; as edge.peers.key; read again with the file
	PreviousKey Ref    `yaml:"previous_key"` // the key of before, while it is replaced: both are good
	DNSSEC      struct {
		Key         string `yaml:"key"`          // file of the key, the same on every name server, as breakwater gslb keygen makes it; for its owner and group alone; read again when it changes
		PreviousKey string `yaml:"previous_key"` // file of the key of before, while it is replaced: the zones are signed with both
	} `yaml:"dnssec"` // signed answers; absent: they are not
}
