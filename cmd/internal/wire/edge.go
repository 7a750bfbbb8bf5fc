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
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/cmd/internal/console"
	"example.org/breakwater/cmd/internal/login"
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
	File       string       // the fleet file's name: it is read again when it changes
	Fleet      *fleet.Fleet // in place of a File
	Datacenter string       // whose edge this is
	Version    string       // in the User-Agent towards sources
	Log        *slog.Logger
	Level      *slog.LevelVar       // what Log obeys; changed on the admin listener
	Journal    *daemon.Journal      // where Log writes, whose losses are counted; nil: it has none
	Lacks      func() []daemon.Lack // what is wrong with what the edge needs; nil: nothing

	tracing *tracing
	now     func() time.Time // what the edge shows its peers as the time; nil: the machine's
}

// Edge is an edge that is ready to serve.
type Edge struct {
	Daemon  *daemon.Daemon
	Servers []daemon.Server

	cfg     EdgeConfig
	reloads *daemon.Reloads
	began   *reading                    // what it was started with
	now     *reading                    // what is in force
	fleet   atomic.Pointer[fleet.Fleet] // now's, for those who ask
	console *console.Console
	rings   rings
	coming  atomic.Pointer[fleet.Fleet] // the fleet file that is being taken over; nil: none
	guard   *login.Guard                // before the console's own listener; nil: it has none
	handler *proxy.Handler
	access  *access.Checker
	store   *store.Store
	state   *state.DB
}

// NewEdge opens the edge's store and listeners. Its background work ends with ctx.
func NewEdge(ctx context.Context, cfg EdgeConfig) (_ *Edge, err error) {
	metrics := prometheus.NewRegistry()
	cfg.Journal.Count(metrics)
	e := &Edge{cfg: cfg, Daemon: &daemon.Daemon{Log: cfg.Log}, reloads: daemon.NewReloads("edge", cfg.Log, metrics, cfg.files()...)}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.cfg.tracing, err = newTracing(ctx, cfg); err != nil {
		return nil, err
	}
	now, err := e.read(ctx)
	if err != nil {
		return nil, err
	}
	e.began, e.now = now, now
	e.fleet.Store(now.fleet)
	e.warn(&reading{fleet: &fleet.Fleet{}})
	section := &now.fleet.Edge
	if e.store, err = store.Open(store.Config{Dir: section.Store.Path, Size: max(0, int64(section.Store.Size)), Log: cfg.Log, Metrics: metrics}); err != nil {
		return nil, err
	}
	if e.state, err = state.Open(filepath.Join(section.Store.Path, "state.db"), cfg.Log); err != nil {
		return nil, err
	}
	var verifier *registry.Verifier
	if len(now.tokenKeys) > 0 {
		verifier = &registry.Verifier{Keys: now.tokenKeys}
	}
	e.access, err = access.New(access.Config{
		Harbor: now.Harbor, Verifier: verifier, Members: e.state, Grants: e.state, Projects: e.state,
		OutageGrace: time.Duration(*section.OutageGrace), Keys: now.keys, Private: e.private,
	})
	if err != nil {
		return nil, err
	}
	e.handler = proxy.New(ctx, proxy.Config{Settings: now.Settings,
		Datacenter: cfg.Datacenter, Version: cfg.Version, Now: cfg.now, Keys: now.keys, Access: e.access, Store: e.store, State: e.state,
		About: e.about(), Log: cfg.Log, Metrics: metrics, Tracer: e.cfg.tracing.of(),
	})
	e.Daemon.Drain = e.handler.Drain
	metrics.MustRegister(expiry(now.certificate)...)
	if e.console, err = e.newConsole(); err != nil {
		return nil, err
	}
	e.Servers, err = e.servers(metrics)
	return e, err
}

// Run serves until ctx ends, and reads the files again when they change.
func (e *Edge) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.Daemon.Run(ctx, e.Servers...) })
	group.Go(func() error {
		e.reloads.Run(ctx, e.reload)
		return nil
	})
	return group.Wait()
}

// warnOfIdle says what is written in the fleet file and does nothing, where it was not there before.
func warnOfIdle(before, f *fleet.Fleet, log *slog.Logger) {
	for _, note := range f.Notes {
		said := slices.ContainsFunc(before.Notes, func(n fleet.Note) bool { return n.Field == note.Field && n.Message == note.Message })
		if note.Idle && !said {
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

// preheatSecrets are what the Harbor may show where its preheat policies ask for images.
func preheatSecrets(datacenter string, keys *keyring.Ring) (all []string) {
	for _, k := range keys.For(keyring.Preheat) {
		all = append(all, secret.Preheat(k, datacenter))
	}
	return all
}

// ownsTags tells the projects whose tags no replication puts.
func ownsTags(f *fleet.Fleet, datacenter string) func(project string) bool {
	return func(project string) bool {
		_, m := f.MultiDC(project)
		return m != nil && m.In(datacenter).Replication.Tags == fleet.TagsEdges
	}
}

// machine tells the accounts that replications and edges use from clients'. Harbors may
// have different prefixes for robots.
func machine(f *fleet.Fleet) func(account string) bool {
	return func(account string) bool {
		project, ofProject := strings.CutSuffix(strings.TrimPrefix(account, f.Harbor.RobotPrefix), "+sync")
		_, declared := f.MultiDC(project)
		return strings.HasPrefix(account, f.Harbor.RobotPrefix) && ofProject && (declared != nil || strings.HasPrefix(project, naming.MultiDC)) ||
			f.Edge.Robot.Name != "" && account == f.Harbor.RobotPrefix+f.Edge.Robot.Name
	}
}

// private tells the projects that are private by the fleet file, and may not have been before.
func (e *Edge) private(project string) bool {
	for _, f := range []*fleet.Fleet{e.fleet.Load(), e.coming.Load()} { // while one follows the other, what either says
		if f == nil {
			continue
		}
		if _, m := f.MultiDC(project); m != nil && m.Project != "" {
			return true
		}
	}
	return false
}

// about is what operators are told of the program.
func (e *Edge) about() operator.About {
	a := operator.About{
		Lacks: e.lacks,
		Fleet: func() string { return e.fleet.Load().Hash() },
		Config: func() (c operator.Config) {
			c.Read, c.Fault = e.reloads.Last()
			return c
		},
	}
	if e.began.certificate != nil {
		a.Certificate = e.began.certificate.Expires
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
	e.reloads.Stop()
	for _, s := range e.Servers {
		s.Listener.Close() //nolint:errcheck // closed already after a run
	}
	var all []error
	if e.state != nil {
		all = append(all, e.state.Close())
	}
	if e.store != nil {
		all = append(all, e.store.Close())
	}
	return errors.Join(append(all, e.cfg.tracing.close())...)
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

// newCertificate reads the edge's own certificate; nil where it serves plain HTTP.
func newCertificate(e *fleet.Edge, log *slog.Logger) (*daemon.Certificate, error) {
	if e.TLS.Certificate == "" {
		return nil, nil
	}
	certificate, err := daemon.LoadCertificate(e.TLS.Certificate, e.TLS.Key, log)
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

// servers opens the listeners; none stays open when one cannot be had.
func (e *Edge) servers(metrics *prometheus.Registry) (servers []daemon.Server, err error) {
	now, handler, cfg, section := e.now, e.handler, e.cfg, &e.now.fleet.Edge
	public := daemon.Server{Name: "public", Handler: handler, Public: true}
	switch {
	case now.certificate != nil:
		public.TLS = now.certificate.Config()
	case !section.PlainHTTP:
		return nil, errors.New("edge.tls: there is no certificate; set edge.tls, or edge.plain_http: true behind something that terminates TLS")
	}
	admin := daemon.Admin(cfg.Level)
	handler.Admin(admin)
	e.console.At(admin, "/console")
	servers = []daemon.Server{public, {Name: "metrics", Handler: daemon.Named(daemon.Edge, daemon.Metrics(metrics, handler.Ready, handler.Neighbors().Says))}, {Name: "admin", Handler: daemon.Named(daemon.Edge, daemon.ForOperators(section.Admin, admin))}}
	if now.door != nil {
		var own daemon.Server
		if own, e.guard, err = now.door.server(e.console); err != nil {
			return nil, err
		}
		servers = append(servers, own)
	}
	for i, address := range []string{section.Listen, section.Metrics, section.Admin, section.Console.Listen}[:len(servers)] {
		if servers[i].Listener, err = daemon.Listen(fmt.Sprintf("edge %s (%s)", cfg.Datacenter, servers[i].Name), address); err != nil {
			for _, s := range servers[:i] {
				s.Listener.Close() //nolint:errcheck // the start failed in any case
			}
			return nil, err
		}
	}
	return servers, nil
}
