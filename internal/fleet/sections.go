package fleet

// Roles of datacenters.
const (
	Primary = "primary" // answered to clients while it is healthy
	Backup  = "backup"  // answered only when no primary can be
)

// Datacenter is one place with a Harbor and, before it, an edge.
type Datacenter struct {
	Role      string    `yaml:"role"`      // primary | backup; default primary
	Location  *Location `yaml:"location"`  // for the distance to clients; absent: only networks and the order of names count
	Networks  []Network `yaml:"networks"`  // clients that are at home here; the longest prefix wins
	Addresses []Addr    `yaml:"addresses"` // what DNS answers with; needed with gslb
	Edge      URL       `yaml:"edge"`      // how peers and probes reach this edge; absent: probes ask Harbor itself
	Harbor    URL       `yaml:"harbor"`    // the Harbor behind it; required
	GSLB      []Addr    `yaml:"gslb"`      // this datacenter's name server, as glue
	Weight    *int      `yaml:"weight"`    // share where several are equally near; default 1
	Probe     Probed    `yaml:"probe"`     // what name servers ask instead of the edge or Harbor: https://…, tcp://host:port or file:/path

	ProjectDefaults struct {
		AutoScan *bool `yaml:"auto_scan"` // false where there is no scanner
	} `yaml:"project_defaults"` // for every project here, under what a project says itself
}

// Location is a point on the earth, in degrees.
type Location struct {
	Latitude  float64 `yaml:"latitude"`
	Longitude float64 `yaml:"longitude"`
	Country   string  `yaml:"country"`   // ISO 3166-1, as FR; for geographic databases without coordinates
	Continent string  `yaml:"continent"` // AF, AN, AS, EU, NA, OC or SA; see country
}

// Secrets says where vault: references are looked up.
type Secrets struct {
	Vault struct {
		Address URL        `yaml:"address"`
		CA      string     `yaml:"ca"` // file of the CA that signs Vault's certificate; default: the system's
		Login   VaultLogin `yaml:"login"`
	} `yaml:"vault"`
}

// VaultLogin is one way to log in to Vault.
type VaultLogin struct {
	Token   Ref `yaml:"token"` // file: or env:
	AppRole *struct {
		RoleID   Ref    `yaml:"role_id"`
		SecretID Ref    `yaml:"secret_id"`
		Mount    string `yaml:"mount"` // where the method is; default approle
	} `yaml:"approle"`
	Kubernetes *struct {
		Role  string `yaml:"role"`
		Token Ref    `yaml:"token"` // default: the pod's service account's
		Mount string `yaml:"mount"` // where the method is; default kubernetes
	} `yaml:"kubernetes"`
}

// Harbor is what all Harbors of the fleet share.
type Harbor struct {
	Username          Text   `yaml:"username"`           // an administrator, for provision
	Password          Ref    `yaml:"password"`           //
	TokenCertificates []Ref  `yaml:"token_certificates"` // file: certificates of all that sign tokens anywhere in the fleet; none: each token is shown to the local Harbor
	RobotPrefix       string `yaml:"robot_prefix"`       // default robot$
	CA                string `yaml:"ca"`                 // file of the CA that signs the Harbors' certificates; default: the system's
	OIDC              *OIDC  `yaml:"oidc"`               // absent: left alone
	GC                *GC    `yaml:"gc"`                 // absent: left alone
	Settings          struct {
		ProjectCreation string   `yaml:"project_creation"` // who may make projects: everyone | adminonly
		TokenLifetime   Duration `yaml:"token_lifetime"`   // of the tokens that registry clients get; whole minutes
		SessionTimeout  Duration `yaml:"session_timeout"`  // of the portal; whole minutes
	} `yaml:"settings"` // of the system; what is absent is left alone
}

// GC is when Harbor removes what no tag and no manifest needs any more.
type GC struct {
	Every    Duration `yaml:"every"`    // default 7d
	Untagged bool     `yaml:"untagged"` // artifacts without a tag go too
}

// OIDC is Harbor's login by OpenID Connect.
type OIDC struct {
	Name         string `yaml:"name"`
	Endpoint     Issuer `yaml:"endpoint"` // the provider's issuer, as it writes it itself, without /.well-known/…
	ClientID     Text   `yaml:"client_id"`
	ClientSecret Ref    `yaml:"client_secret"`
	Scope        string `yaml:"scope"`        // default openid
	UserClaim    string `yaml:"user_claim"`   // default preferred_username
	GroupsClaim  string `yaml:"groups_claim"` // a claim at the top level of the token: Harbor reads no nested one
	AdminGroup   string `yaml:"admin_group"`
	AutoOnboard  *bool  `yaml:"auto_onboard"` // default true
}

// Edge is the same on every edge of the fleet.
type Edge struct {
	Listen    string `yaml:"listen"`     // default :443, or :80 with plain_http
	PlainHTTP bool   `yaml:"plain_http"` // serve without TLS: only behind something that terminates it; default true on a loopback address without a certificate
	TLS       struct {
		Certificate string `yaml:"certificate"` // PEM files, read again when they change
		Key         string `yaml:"key"`
	} `yaml:"tls"`
	Metrics string `yaml:"metrics"` // default :9090
	Admin   string `yaml:"admin"`   // default 127.0.0.1:9091; loopback, or reachable by operators alone
	Store   struct {
		Path string `yaml:"path"` // default /var/lib/breakwater
		Size Size   `yaml:"size"` // default 100GiB
	} `yaml:"store"`
	Robot struct {
		Name   string `yaml:"name"`   // without Harbor's prefix; default breakwater-edge
		Secret Ref    `yaml:"secret"` // absent: content is fetched with the credentials of the client who asks first
	} `yaml:"robot"`
	Peers struct {
		Key         Ref    `yaml:"key"`          // shared by all edges; 32 random bytes or more, as openssl rand -base64 32 makes them
		PreviousKey Ref    `yaml:"previous_key"` // the key of before, while it is replaced: both are good
		CA          string `yaml:"ca"`           // file of the private CA whose certificates edges show each other instead of the key (edge.tls, with clientAuth, for the host of their edge address)
	} `yaml:"peers"`
	Freshness struct {
		Cache   *Duration `yaml:"cache"`    // default 60s
		Repl    *Duration `yaml:"repl"`     // default 60s
		MultiDC *Duration `yaml:"multi-dc"` // default 0s: always asked
	} `yaml:"freshness"` // how long a tag is believed without asking
	Touch       *Duration `yaml:"touch"`        // default 6h: how often a pulled artifact is shown to Harbor's retention
	OutageGrace *Duration `yaml:"outage_grace"` // default 1h: how long remembered pull access holds while no Harbor answers; 0s: not at all
}

// GSLBName is one further name; what is not written is as in gslb.
type GSLBName struct {
	Method      string    `yaml:"method"`
	Panic       string    `yaml:"panic"`
	TTL         *Duration `yaml:"ttl"`
	Datacenters []string  `yaml:"datacenters"` // that may be answered, in order; absent: all
}

// GSLB is the same on every name server of the fleet.
type GSLB struct {
	Listen  string    `yaml:"listen"`  // default :53
	Metrics string    `yaml:"metrics"` // default :9092
	Admin   string    `yaml:"admin"`   // default 127.0.0.1:9093
	TTL     *Duration `yaml:"ttl"`     // default 30s
	SOA     struct {
		Mbox string `yaml:"mbox"` // who answers for the zone; default hostmaster.<domain>
	} `yaml:"soa"`
	ACMEChallenge string               `yaml:"acme_challenge"` // a name in another zone, where _acme-challenge.<name> leads: certificates by ACME's dns-01
	Method        string               `yaml:"method"`         // nearest (or twrr) | failover | static; default nearest
	Order         []string             `yaml:"order"`          // datacenters, for failover and for clients of whom nothing is known; absent: for failover as they stand in the file, and such clients are equally near to all
	MinPrimaries  int                  `yaml:"min_primaries"`  // with fewer healthy, backups take clients too, by distance; default 1: backups when there is no primary
	Names         map[string]*GSLBName `yaml:"names"`          // further names, with what differs from here; domain is always one
	Topology      string               `yaml:"topology"`       // file: a network and its datacenters in order of preference on each line; read again when it changes
	GeoIP         string               `yaml:"geoip"`          // a MaxMind database; networks and topology always win over it; read again when it changes
	State         string               `yaml:"state"`          // file of what outlasts a restart; default /var/lib/breakwater/gslb.json
	Explain       []Network            `yaml:"explain"`        // who may ask for the TXT records that say why; default loopback
	Probe         struct {
		Interval Duration `yaml:"interval"` // default 1s
		Timeout  Duration `yaml:"timeout"`  // default 500ms
		Fall     int      `yaml:"fall"`     // failures in a row until it is down; default 2
		Rise     int      `yaml:"rise"`     // successes in a row until it is up; default 3
		Confirm  Duration `yaml:"confirm"`  // how soon a failure is probed again; default 200ms
		Hold     Duration `yaml:"hold"`     // how long what went down stays down at least; default 5s
	} `yaml:"probe"`
	RateLimit   int    `yaml:"rate_limit"`   // responses a second for a client's /24 or /56 and kind of answer; over it every second one is cut short and the rest dropped, but for clients with a cookie or over TCP; default 0: no limit
	Version     string `yaml:"version"`      // what version.bind says; default: nothing
	Witnesses   []Addr `yaml:"witnesses"`    // outside the fleet: who reaches none of them is isolated
	Panic       string `yaml:"panic"`        // all | last-good | backup | nodata; default last-good
	Key         Ref    `yaml:"key"`          // shared by all name servers: their cookies, and observations between them; as edge.peers.key; read again with the file
	PreviousKey Ref    `yaml:"previous_key"` // the key of before, while it is replaced: both are good
	DNSSEC      struct {
		Key string `yaml:"key"` // file, the same on every node; absent: unsigned
	} `yaml:"dnssec"`
}
