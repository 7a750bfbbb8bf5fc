// Package wire turns a fleet file into running parts. It decides nothing; it is
// here because two programs start edges and neither can import the other.
package wire

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/naming"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/operator"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// EdgeConfig says which edge to start.
type EdgeConfig struct {
	Fleet      *fleet.Fleet
	Datacenter string // whose edge this is
	Version    string // in the User-Agent towards sources
	Log        *slog.Logger
	Level      *slog.LevelVar // what Log obeys; changed on the admin listener

	secrets *secret.Store
	tracing *tracing
	now     func() time.Time // what the edge shows its peers as the time; nil: the machine's
}

// Edge is an edge that is ready to serve.
type Edge struct {
	Daemon  *daemon.Daemon
	Servers []daemon.Server
	store   *store.Store
	state   *state.DB
	tracing *tracing
}

// NewEdge opens the edge's store and listeners. Its background work ends with ctx.
func NewEdge(ctx context.Context, cfg EdgeConfig) (*Edge, error) {
	dc, ok := cfg.Fleet.Datacenters[cfg.Datacenter]
	if !ok {
		return nil, fmt.Errorf("there is no datacenter %q in the fleet file", cfg.Datacenter)
	}
	warnOfIdle(cfg.Fleet, cfg.Log)
	var err error
	if cfg.secrets, err = secret.New(cfg.Fleet); err != nil {
		return nil, err
	}
	if cfg.tracing, err = newTracing(ctx, cfg); err != nil {
		return nil, err
	}
	e := &cfg.Fleet.Edge
	robot, keys, err := edgeSecrets(ctx, cfg.secrets, e)
	if err != nil {
		return nil, err
	}
	harbor, err := newHarbor(cfg, dc, robot)
	if err != nil {
		return nil, err
	}
	verifier, err := newVerifier(cfg.Fleet.Harbor.TokenCertificates)
	if err != nil {
		return nil, err
	}
	upstreams, err := upstreams(ctx, cfg)
	if err != nil {
		return nil, err
	}
	certificate, err := newCertificate(cfg)
	if err != nil {
		return nil, err
	}
	others, roots, err := peers(cfg, certificate)
	if err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	blobs, err := store.Open(store.Config{Dir: e.Store.Path, Size: max(0, int64(e.Store.Size)), Log: cfg.Log, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	edge := &Edge{store: blobs, tracing: cfg.tracing, Daemon: &daemon.Daemon{Log: cfg.Log}}
	if edge.state, err = state.Open(filepath.Join(e.Store.Path, "state.db"), cfg.Log); err != nil {
		return nil, errors.Join(err, edge.Close())
	}
	checker, err := access.New(access.Config{
		Harbor: harbor, Verifier: verifier, Members: edge.state, Grants: edge.state, Projects: edge.state,
		OutageGrace: time.Duration(*e.OutageGrace), Keys: keys,
	})
	if err != nil {
		return nil, errors.Join(err, edge.Close())
	}
	watchKeys(ctx, cfg, checker)
	handler := proxy.New(ctx, proxy.Config{
		Datacenter: cfg.Datacenter, Names: names(cfg.Fleet), Version: cfg.Version, Now: cfg.now, Namespaces: namespaces(cfg.Fleet, cfg.Datacenter), Harbor: harbor, Upstreams: upstreams, Peers: others, Keys: keys, About: about(cfg, certificate), PeerRoots: roots, OwnRobot: robot != "",
		Access: checker, Store: blobs, State: edge.state, Freshness: freshness(e), WebhookSecrets: webhookSecrets(cfg.Datacenter, keys), Machine: machine(cfg.Fleet), OwnsTags: ownsTags(cfg.Fleet, cfg.Datacenter), Log: cfg.Log, Metrics: metrics, Tracer: cfg.tracing.of(),
	})
	edge.Daemon.Drain = handler.Drain
	metrics.MustRegister(expiry(certificate)...)
	if edge.Servers, err = edgeServers(certificate, handler, metrics, cfg); err != nil {
		return nil, errors.Join(err, edge.Close())
	}
	return edge, nil
}

// warnOfIdle says at the start what is written in the fleet file and does nothing.
func warnOfIdle(f *fleet.Fleet, log *slog.Logger) {
	for _, note := range f.Notes {
		if note.Idle {
			log.Warn("a field of the fleet file does nothing", "field", note.Field, "line", note.Line, "why", note.Message)
		}
	}
}

// edgeSecrets looks up what an edge does not start without. All that is missing is said at once.
func edgeSecrets(ctx context.Context, s *secret.Store, e *fleet.Edge) (robot string, keys *keyring.Ring, err error) {
	if err = s.Need(ctx, e.Robot.Secret, e.Peers.Key, e.Peers.PreviousKey); err != nil {
		return "", nil, err
	}
	if robot, err = s.Get(ctx, e.Robot.Secret); err != nil {
		return "", nil, err
	}
	keys, err = s.Keys(ctx, "edge.peers", e.Peers.Key, e.Peers.PreviousKey)
	return robot, keys, err
}

// webhookSecrets are what the Harbor may show with a project's webhooks; nil: it sends none.
func webhookSecrets(datacenter string, keys *keyring.Ring) func(project string) []string {
	if keys == nil {
		return nil
	}
	return func(project string) (all []string) {
		for _, k := range keys.For(keyring.Webhooks) {
			all = append(all, secret.Webhook(k, datacenter, project))
		}
		return all
	}
}

// ownsTags tells the projects whose tags no replication puts.
func ownsTags(f *fleet.Fleet, datacenter string) func(project string) bool {
	return func(project string) bool {
		m := f.Projects.MultiDC.Items[strings.TrimPrefix(project, naming.MultiDC)]
		return m != nil && m.In(datacenter).Replication.Tags == fleet.TagsEdges
	}
}

// machine tells the accounts that replications and edges use from clients'. Harbors may
// have different prefixes for robots.
func machine(f *fleet.Fleet) func(account string) bool {
	return func(account string) bool {
		return strings.HasPrefix(account, f.Harbor.RobotPrefix+naming.MultiDC) && strings.HasSuffix(account, "+sync") ||
			f.Edge.Robot.Name != "" && account == f.Harbor.RobotPrefix+f.Edge.Robot.Name
	}
}

// about is what operators are told of the program.
func about(cfg EdgeConfig, certificate *daemon.Certificate) operator.About {
	a := operator.About{Fleet: cfg.Fleet.Hash}
	if certificate != nil {
		a.Certificate = certificate.Expires
	}
	return a
}

// expiry is the metric of an edge that has a certificate.
func expiry(c *daemon.Certificate) []prometheus.Collector {
	if c == nil {
		return nil
	}
	return []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_certificate_expiry_timestamp_seconds",
		Help: "When the certificate that clients are shown ends."}, func() float64 { return float64(c.Expires().Unix()) })}
}

// Close gives the store back. The servers are closed by their Daemon, or here
// when it never ran.
func (e *Edge) Close() error {
	for _, s := range e.Servers {
		s.Listener.Close() //nolint:errcheck // closed already after a run
	}
	var err error
	if e.state != nil {
		err = e.state.Close()
	}
	return errors.Join(err, e.store.Close(), e.tracing.close())
}

func newVerifier(certificates []fleet.Ref) (*registry.Verifier, error) {
	if len(certificates) == 0 {
		return nil, nil
	}
	keys, err := readKeys(certificates)
	return &registry.Verifier{Keys: keys}, err
}

func readKeys(certificates []fleet.Ref) (keys []*rsa.PublicKey, err error) {
	for _, ref := range certificates {
		pem, err := os.ReadFile(ref.Path)
		if err != nil {
			return nil, fmt.Errorf("harbor.token_certificates: %w", err)
		}
		more, err := registry.ParsePublicKeys(pem)
		if err != nil {
			return nil, fmt.Errorf("harbor.token_certificates: %s: %w", ref.Path, err)
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// watchKeys reads the token certificates again when they change.
func watchKeys(ctx context.Context, cfg EdgeConfig, checker *access.Checker) {
	certificates := cfg.Fleet.Harbor.TokenCertificates
	if len(certificates) == 0 {
		return
	}
	var files []string
	for _, ref := range certificates {
		files = append(files, ref.Path)
	}
	go daemon.Watch(ctx, func() {
		keys, err := readKeys(certificates)
		if err != nil {
			cfg.Log.Warn("token certificates not read again, the last good ones stay", "err", err.Error())
			return
		}
		checker.UseKeys(keys)
		cfg.Log.Info("token certificates read again", "keys", len(keys))
	}, files...)
}

// newCertificate reads the edge's own certificate; nil where it serves plain HTTP.
func newCertificate(cfg EdgeConfig) (*daemon.Certificate, error) {
	e := &cfg.Fleet.Edge
	if e.TLS.Certificate == "" {
		return nil, nil
	}
	certificate, err := daemon.LoadCertificate(e.TLS.Certificate, e.TLS.Key, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("edge.tls: %w", err)
	}
	certificate.AskClients = e.Peers.CA != ""
	return certificate, nil
}

func freshness(e *fleet.Edge) func(namespace.Kind) time.Duration {
	return func(k namespace.Kind) time.Duration {
		switch k {
		case namespace.Cache:
			return time.Duration(*e.Freshness.Cache)
		case namespace.Repl:
			return time.Duration(*e.Freshness.Repl)
		case namespace.MultiDC:
			return time.Duration(*e.Freshness.MultiDC)
		}
		return 0
	}
}

// edgeServers opens the three listeners; none stays open when one cannot be had.
func edgeServers(certificate *daemon.Certificate, handler *proxy.Handler, metrics *prometheus.Registry, cfg EdgeConfig) (servers []daemon.Server, err error) {
	e := &cfg.Fleet.Edge
	public := daemon.Server{Name: "public", Handler: handler, Public: true}
	switch {
	case certificate != nil:
		public.TLS = certificate.Config()
	case !e.PlainHTTP:
		return nil, errors.New("edge.tls: there is no certificate; set edge.tls, or edge.plain_http: true behind something that terminates TLS")
	}
	admin := daemon.Admin(cfg.Level)
	handler.Admin(admin)
	servers = []daemon.Server{public, {Name: "metrics", Handler: daemon.Named(daemon.Edge, daemon.Metrics(metrics, handler.Ready, handler.Neighbors().Says))}, {Name: "admin", Handler: daemon.Named(daemon.Edge, admin)}}
	for i, address := range []string{e.Listen, e.Metrics, e.Admin} {
		if servers[i].Listener, err = daemon.Listen(fmt.Sprintf("edge %s (%s)", cfg.Datacenter, servers[i].Name), address); err != nil {
			for _, s := range servers[:i] {
				s.Listener.Close() //nolint:errcheck // the start failed in any case
			}
			return nil, err
		}
	}
	return servers, nil
}
