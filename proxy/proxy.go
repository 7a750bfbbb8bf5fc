// Package proxy is the edge: it stands in front of one datacenter's Harbor, on
// the name that every client uses, and answers reads of the managed namespaces
// from its own store. README.md lists the rules in the order in which a request
// meets them. This package is the rim: it reads requests, asks the rooms below it in
// that order, and writes responses, metrics and the log.
package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/content"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/lists"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/operator"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/preheat"
	"example.org/breakwater/proxy/push"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/token"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/proxy/traffic"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/proxy/warm"
	"example.org/breakwater/proxy/writer"
	"example.org/breakwater/registry"
)

// Config is what one edge needs. The fleet file is turned into it by the programs.
type Config struct {
	Settings
	Datacenter string         // this edge's, in health and logs
	Version    string         // of the program, for its peers
	Keys       *keyring.Ring  // shared by all edges; nil: PeerRoots alone
	About      operator.About // what operators are told of the program
	Access     *access.Checker
	Store      *store.Store
	State      *state.DB     // nil: a restart forgets tags
	Stalled    time.Duration // how long a client may take nothing of an answer, or have a manifest on its way; 0: 5 min
	Deadline   time.Duration // for an answer of a source where there is another one to ask; 0: 5 s
	Pace       time.Duration // before the first retry of what is done beside requests, and a part of its other times; 0: 1 s
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil: none
	Tracer     trace.Tracer          // nil: no spans
	Now        func() time.Time      // nil: time.Now
}

// Settings are what of an edge's configuration may change while it serves (Handler.Reload).
type Settings struct {
	Names      []string                           // the hosts by which clients know this edge
	Namespaces []namespace.Namespace              // the declared ones; others are told by their prefixes
	Harbor     *registry.Source                   // the local Harbor, with the edge's own robot; anonymous: content is fetched with the credentials of the client who asked first
	Upstreams  map[string]*registry.Source        // what caches are of, by project, for when Harbor cannot fetch it
	Peers      []peer.Peer                        // the other datacenters' edges, nearest first
	PeerRoots  *x509.CertPool                     // authorities of the certificates that edges show each other; nil: Keys alone. Neither: no peers
	Freshness  func(namespace.Kind) time.Duration // how long a tag is believed without asking; nil: always ask
	Warm       []warm.Set                         // what is to be in the store before it is asked for
	Touch      time.Duration                      // how often Harbor's retention is shown that an artifact is pulled, at most; 0: never

	WebhookSecrets func(project string) []string // what the local Harbor shows with the webhooks of a project: one of them. nil, or none: no webhooks are taken
	PreheatSecrets []string                      // what the local Harbor shows where its preheat policies ask for images: one of them. None: none may
	Machine        func(account string) bool     // whether a Harbor's account is a replication's or an edge's: what it pushes is no news. nil: Harbor's own alone
	OwnsTags       func(project string) bool     // whether no replication puts tags into a project. nil: some may in all
}

const sourceDeadline = 5 * time.Second

// Handler serves the edge's public listener.
type Handler struct {
	cfg        Config
	live       atomic.Pointer[Settings] // in place of cfg's
	namespaces *namespace.Table
	key        *peer.Key
	neighbors  *hello.Neighbors
	routes     *source.Routes
	health     *source.Health
	tags       *tags.Cache
	versions   *version.Ledger
	refusals   *fetch.Refusals
	doubts     *push.Doubts
	underway   *push.Underway
	announcer  *announce.Announcer
	follower   *follow.Follower
	touches    *touch.Toucher
	fetch      *fetch.Fetcher
	lists      *lists.Lists
	pass       *pass.Proxy
	pusher     *push.Pusher
	tokens     *token.Service
	metrics    *traffic.Metrics
	traffic    *traffic.Watch
	content    *content.Content
	requests   *share.Shares // that are being answered, by client
	answers    *share.Shares // the bytes of answers that clients are taking, by client
	started    time.Time
	drain      operator.Drain
	hits       operator.Counter
	operator   *operator.Handler
	purger     operator.Purger
	warm       *warm.Warmer
	preheat    *preheat.Handler
}

// New returns a Handler. Its work beside requests (revalidations, fills) ends with ctx.
func New(ctx context.Context, cfg Config) *Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Deadline == 0 {
		cfg.Deadline = sourceDeadline
	}
	if cfg.Stalled == 0 {
		cfg.Stalled = writer.Stalled
	}
	if cfg.Freshness == nil {
		cfg.Freshness = func(namespace.Kind) time.Duration { return 0 }
	}
	h := &Handler{cfg: cfg, started: cfg.Now(), namespaces: namespace.NewTable(cfg.Namespaces, cfg.Names...),
		requests: share.New(maxRequests, maxRequestsOne), answers: share.New(maxAnswers, maxAnswersOne)}
	h.live.Store(&cfg.Settings)
	h.key = peer.NewKey(cfg.Keys, cfg.Datacenter, cfg.Now)
	h.routes = source.NewRoutes(source.New(ctx, source.Config{Name: "harbor", Kind: source.Harbor, Registry: cfg.Harbor, Relay: true,
		Now: cfg.Now, Metrics: source.NewMetrics(cfg.Metrics)}), nil, nil, h.namespaces)
	h.routes.Use(h.others(cfg.Settings))
	h.neighbors = hello.New(hello.Config{Datacenter: cfg.Datacenter, Version: cfg.Version, Trust: h.trusted(cfg.Settings), Now: cfg.Now, Pace: cfg.Pace, Log: cfg.Log, Metrics: cfg.Metrics})
	h.health = source.NewHealth(ctx, cfg.Harbor, cfg.Now)
	h.metrics = traffic.NewMetrics(cfg.Metrics, h.drain.Draining, h.health.Up)
	h.tags = tags.New(ctx, cfg.Now, cfg.State)
	h.tags.Project, h.tags.Stays = cfg.Access.Project, h.stays
	h.fetch = fetch.New(h.routes, cfg.Store, cfg.Access, cfg.Deadline, cfg.Now)
	h.lists = &lists.Lists{Context: ctx, Routes: h.routes, State: cfg.State, Project: cfg.Access.Project, Deadline: cfg.Deadline, Bodies: h.fetch.Bodies}
	h.purger = operator.Purger{Store: cfg.Store, Tags: h.tags, Peers: h.routes.Peers, Deadline: cfg.Deadline, Log: cfg.Log}
	h.newWarmer()
	h.traffic = traffic.New(traffic.Config{Datacenter: cfg.Datacenter, Metrics: h.metrics, Sources: h.routes.All, Hits: fromStore, InFlight: h.requests.Taken,
		Fills: cfg.Store.Fills, RepoOf: h.fetch.RepoOf, Every: 10 * cfg.Pace, Now: cfg.Now}, h.routes.Harbor.Metrics)
	h.newVersions()
	h.content = &content.Content{Config: content.Config{Datacenter: cfg.Datacenter, Namespaces: h.namespaces, State: cfg.State, Tags: h.tags, Versions: h.versions,
		Holds: h.fetch.Holds, Owed: h.follower.Owed, Peers: h.routes.Peers, Deadline: cfg.Deadline}}
	h.pass = pass.ToHarbor(h.routes.Harbor.Name, cfg.Harbor)
	h.pass.Challenged = cfg.Access.Challenged
	h.pusher = push.New(push.Config{Harbor: h.routes.Harbor, Peers: h.routes.Peers, Pass: h.pass, Store: cfg.Store, Access: cfg.Access,
		Manifests: manifests{h}, Bring: h.follower.Bring, Elsewhere: h.elsewhere, Deadline: cfg.Deadline, Stalled: cfg.Stalled, Log: cfg.Log, Now: cfg.Now})
	h.tokens = token.New(ctx, token.Config{Harbor: h.routes.Harbor, Health: h.health, Peers: h.routes.Peers, Pass: h.pass, Access: cfg.Access,
		Deadline: cfg.Deadline, Log: cfg.Log, Metrics: cfg.Metrics, Now: cfg.Now})
	h.operator = operator.New(operator.Edge{About: cfg.About, Keys: cfg.Keys, Datacenter: cfg.Datacenter, Version: cfg.Version, Drain: &h.drain, Hits: &h.hits, Health: h.health,
		Sources: h.routes.All, Neighbors: h.neighbors, Store: cfg.Store, Hanging: cfg.State.Hanging,
		Requests: h.requests, Announcer: h.announcer, Follower: h.follower, Touches: h.touches, Tokens: h.tokens, Log: cfg.Log, Now: cfg.Now})
	h.run(ctx)
	return h
}

// run begins what the edge does by itself, until ctx ends. Each may ask for all of the others:
// none begins before all are made.
func (h *Handler) run(ctx context.Context) {
	for _, work := range []func(context.Context){h.neighbors.Run, h.follower.Run, h.touches.Run, h.announcer.Run, h.warm.Run, h.traffic.Run} {
		go work(ctx)
	}
	go h.cfg.Access.Watch(ctx, func() []string { return h.namespaces.Projects() })
}

// Reload has the edge serve by other settings, all of which are set. What is unchanged keeps
// its state; requests in flight go on with what they began with. Not to be called twice at once.
func (h *Handler) Reload(s Settings) {
	h.live.Store(&s)
	h.routes.Harbor.Use(s.Harbor)
	h.routes.Use(h.others(s))
	h.namespaces.Use(s.Namespaces, s.Names...)
	h.declare()
	h.announcer.Use(h.routes.Peers())
	h.tags.Others()
	go h.follower.Keep()
	h.neighbors.Use(h.trusted(s))
}

// others are the sources that content may come from but the local Harbor.
func (h *Handler) others(s Settings) (peers []source.Config, upstreams map[string]source.Config) {
	if h.key != nil || s.PeerRoots != nil {
		for _, p := range s.Peers {
			peers = append(peers, source.Config{Name: "peer-" + p.Datacenter, Kind: source.Peer, Datacenter: p.Datacenter, Registry: p.Edge, Probe: peer.HelloPath,
				Show: h.key.Shows(p.Datacenter), Marks: http.Header{peer.AskedHeader: {h.cfg.Datacenter}}})
		}
	}
	upstreams = map[string]source.Config{}
	for project, upstream := range s.Upstreams {
		name := "upstream-" + strings.TrimPrefix(project, "cache-")
		if s.Upstreams["cache-"+project] != nil { // a cache with a name of its own, beside the one that has this by its prefix
			name += "~own"
		}
		upstreams[project] = source.Config{Name: name, Kind: source.Upstream, Registry: upstream}
	}
	return peers, upstreams
}

// trusted are the edges that are asked, as those whose requests are believed.
func (h *Handler) trusted(s Settings) peer.Trust {
	t := peer.Trust{Key: h.key, Roots: s.PeerRoots, Now: h.cfg.Now}
	for _, p := range h.routes.Peers() {
		t.Peers = append(t.Peers, peer.Peer{Datacenter: p.Datacenter, Edge: p.Registry})
	}
	return t
}

// Drain makes the health say that this edge is leaving, for good: the process ends.
// Requests are still served.
func (h *Handler) Drain() { h.drain.Leave() }

// Neighbors are the edge's peers, as it sees them.
func (h *Handler) Neighbors() *hello.Neighbors { return h.neighbors }

// Ready is why no new clients should be sent here; nil: they may.
func (h *Handler) Ready() error {
	if h.drain.Draining() {
		return errors.New("this edge is draining")
	}
	return nil
}

// ServeHTTP follows README.md, "A request, in order".
func (h *Handler) ServeHTTP(rw http.ResponseWriter, in *http.Request) {
	w, r := h.newResponse(rw, in), &request{http: h.beginSpan(in), endpoint: endpointOther}
	defer h.finish(w, r)
	defer h.release(w)
	if w.err = h.admit(w, r); w.err == nil {
		w.err = h.read(r)
	}
	if w.err == nil {
		w.err = h.serve(w, r)
	} else {
		w.outcome = outcomeOwn
	}
	defer w.Hurry() // the server still sends what is in its buffers
	switch {
	case w.err == nil:
	case w.Status == 0:
		if w.outcome != outcomeOwn && w.Header().Get("Cache-Status") == "" {
			w.cacheStatus("fwd=miss", "detail=error")
		}
		registry.WriteError(w, w.err)
	default: // after the first byte the client must see a cut, not a short success
		panic(http.ErrAbortHandler)
	}
}

// serve answers a request by its end point.
func (h *Handler) serve(w *response, r *request) error {
	switch r.endpoint {
	case endpointHealth:
		return h.serveHealth(w, r)
	case endpointOperator:
		w.outcome = outcomeOwn
		h.operator.ServeHTTP(w, r.http)
		return nil
	case endpointHello:
		w.outcome = outcomeOwn
		return h.neighbors.Answer(w, r.http)
	case endpointPeer:
		return h.servePeer(w, r)
	case endpointPreheat:
		w.outcome = outcomeOwn
		return h.preheat.Serve(w, r.http)
	case endpointWebhook:
		return h.serveWebhook(w, r)
	case endpointToken:
		return h.serveToken(w, r)
	case endpointOther:
		return h.servePortal(w, r)
	}
	return h.serveOtherwise(w, r, h.serveRegistry(w, r))
}

// serveRegistry answers a client's request of the OCI distribution API.
func (h *Handler) serveRegistry(w *response, r *request) (err error) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if r.Kind == registry.KindBase {
		if who, ok := h.cfg.Access.Knows(r.query.Authorization); ok {
			w.who, w.outcome = who, outcomeOwn
			return w.writeJSON(r, "application/json; charset=utf-8", struct{}{})
		}
	}
	harborDecides := r.ns.Kind == namespace.Plain || !r.Read() || !r.content() // by the client's own credentials
	// The edge itself challenges a client without credentials, so that Harbor is not needed;
	// only the catalog's challenge is Harbor's own, and a plain registry's. Harbor does not know the edge's tokens.
	if !harborDecides || r.query.Authorization == "" && r.Kind != registry.KindCatalog && !h.cfg.Access.Plain(r.http.Context()) || h.cfg.Access.Own(r.query.Authorization) {
		if w.who, err = h.cfg.Access.Allow(r.http.Context(), r.query); err != nil {
			w.outcome = outcomeOwn
			return err
		}
	}
	switch {
	case r.ns.Kind == namespace.Cache && !r.Read() && r.Method != http.MethodDelete:
		w.outcome = outcomeOwn
		return registry.Errorf(registry.CodeDenied, "%s is a proxy cache and takes no pushes: push to a multi-dc or a plain project", r.ns.Project)
	case !r.Read(): // GET of an upload session is one of its writes
		return h.serveWrite(w, r)
	case r.ns.Kind == namespace.Plain || !r.content():
		return h.passRead(w, r, false)
	}
	return h.serveContent(w, r)
}

// passRead has Harbor answer a read, by the client's own credentials. With missing the error
// says where Harbor has no such project; else that is its answer.
func (h *Handler) passRead(w *response, r *request, missing bool) error {
	path := ""
	if r.Repo != "" {
		path = r.Path()
	}
	return h.pass.ServeRead(w, r.http, pass.Read{Path: path, Down: h.tokens.KnowsNobody, Missing: missing})
}

// serveContent answers a read of a managed namespace.
func (h *Handler) serveContent(w *response, r *request) error {
	look := h.cfg.Access.Look // what is remembered is of one project
	if r.peer != "" {         // its client may be a user of a new one, whom nobody has seen here
		look = h.cfg.Access.LookNow
	}
	if look(r.http.Context(), r.Repo); h.cfg.Access.Unlisted(r.Repo) {
		return h.serveUnlisted(w, r)
	}
	return h.serveListed(w, r)
}

// serveUnlisted answers a read in a project that Harbor does not list for the edge. Harbor
// itself decides, as in a plain project: the client may be a user of a project that was made
// again, and what is held and what peers have is of another one. Where Harbor says that it has
// no such project, other datacenters may have it, for those whom their Harbors let.
func (h *Handler) serveUnlisted(w *response, r *request) error {
	var err error
	if r.peer != "" {
		if err = h.cfg.Access.AskHarbor(r.http.Context(), r.Repo, ""); !outcome.IsNo(err) {
			err = outcome.DontKnow(err)
		}
		return err
	}
	if r.otherwise != nil && (h.pass.Try(w, r.http, r.Path(), lists.Some) || h.tryOtherwise(w, r, nil)) {
		return nil
	}
	if err = h.passRead(w, r, true); !errors.Is(err, &registry.Error{Code: registry.CodeNameUnknown}) {
		return err
	}
	w.Header().Del("Cache-Status")
	return h.serveListed(w, r)
}

// serveListed answers a read from what is held and from the sources.
func (h *Handler) serveListed(w *response, r *request) error {
	switch r.Kind {
	case registry.KindManifest:
		err := h.serveManifest(w, r)
		if err == nil && r.peer == "" {
			h.touches.Served(touch.Answer{To: r.http, Who: w.who, Status: w.Status, Header: w.Header()}, r.Repo, r.Tag)
		}
		return err
	case registry.KindTags:
		return h.serveTags(w, r)
	case registry.KindReferrers:
		return h.serveReferrers(w, r)
	}
	return h.serveBlob(w, r)
}

// aborted reports whether err only says that the client went away.
func aborted(r *http.Request, err error) bool {
	return errors.Is(err, context.Canceled) && r.Context().Err() != nil
}
