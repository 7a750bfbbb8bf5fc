// Package proxy is the edge: it stands in front of one datacenter's Harbor, on
// the name that every client uses, and answers reads of the managed namespaces
// from its own store. README.md lists the rules in the order in which a request
// meets them.
package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	pathpkg "path"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// Config is what one edge needs. The fleet file is turned into it by the programs.
type Config struct {
	Datacenter string           // this edge's, in health and logs
	Namespaces []Namespace      // the declared ones; others are told by their prefixes
	Harbor     *registry.Source // the local Harbor, with the edge's own robot
	Peers      []Peer           // the other datacenters' edges, nearest first
	PeerSecret string           // shared by all edges; "": PeerRoots alone
	PeerRoots  *x509.CertPool   // authorities of the certificates that edges show each other; nil: PeerSecret alone. Neither: no peers
	OwnRobot   bool             // Harbor has the robot's credentials; false: content is fetched with those of the client who asked first
	Access     *access.Checker
	Store      *store.Store
	Memory     *Memory                  // nil: a restart forgets tags
	Freshness  func(Kind) time.Duration // how long a tag is believed without asking; nil: always ask
	Stalled    time.Duration            // how long a client may take nothing of an answer; 0: 5 min
	Deadline   time.Duration            // for an answer of a source where there is another one to ask; 0: 5 s
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil: none
	Tracer     trace.Tracer          // nil: no spans
	Now        func() time.Time      // nil: time.Now
}

// Handler serves the edge's public listener.
type Handler struct {
	cfg        Config
	namespaces map[string]Namespace
	tags       *tags
	hot        *lru.Cache[digest.Digest, []byte]
	sizes      *lru.Cache[named, int64]   // of the blobs that a repo's manifests name
	holders    *lru.Cache[string, string] // the name of the place that gave something last, by repo
	pass       *passer
	writes     *writes
	metrics    *metrics
	harbor     *place
	peers      []*place
	upstreams  map[string]*place // by the project of the cache
	peerKey    *peerKey
	mirrors    map[string]string // the project of a cache, by the names that mirrors' clients have for it
	started    time.Time
	leaving    atomic.Bool     // the process ends
	drained    atomic.Bool     // an operator says so
	ctx        context.Context // of the work beside requests
	harborSeen watched
	unwellSeen lastLook
	watching   atomic.Bool // whether Harbor is well again
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
		cfg.Stalled = stalledDeadline
	}
	if cfg.Freshness == nil {
		cfg.Freshness = func(Kind) time.Duration { return 0 }
	}
	h := &Handler{cfg: cfg, ctx: ctx, namespaces: map[string]Namespace{}, started: cfg.Now()}
	h.metrics = newMetrics(cfg.Metrics, h.draining)
	for _, ns := range cfg.Namespaces {
		h.namespaces[ns.Project] = ns
	}
	h.tags = newTags(ctx, cfg.Now, cfg.Memory)
	h.hot, _ = lru.New[digest.Digest, []byte](maxHot)
	h.sizes, _ = lru.New[named, int64](maxSizes) // fails for no size alone
	h.holders, _ = lru.New[string, string](maxHolders)
	h.pass = newPasser(cfg.Harbor)
	h.peerKey = newPeerKey(cfg.PeerSecret, cfg.Datacenter, cfg.Now)
	h.mirrors = newMirrors(h.namespaces)
	h.newPlaces(ctx)
	h.newWrites()
	h.gaugeHarbor()
	return h
}

// newPlaces makes a place of everything that content may come from.
func (h *Handler) newPlaces(ctx context.Context) {
	at := func(name string, kind placeKind, r *registry.Source) *place {
		return &place{name: name, kind: kind, registry: r, now: h.cfg.Now, ctx: ctx, metrics: h.metrics}
	}
	h.harbor = at("harbor", placeHarbor, h.cfg.Harbor)
	if h.peerKey != nil || h.cfg.PeerRoots != nil {
		for _, peer := range h.cfg.Peers {
			p := at("peer-"+peer.Datacenter, placePeer, peer.Edge)
			if h.peerKey != nil {
				p.token = h.peerKey.tokens(peer.Datacenter)
			}
			h.peers = append(h.peers, p)
		}
	}
	h.upstreams = map[string]*place{}
	for project, ns := range h.namespaces {
		if ns.Upstream != nil {
			h.upstreams[project] = at("upstream-"+strings.TrimPrefix(project, "cache-"), placeUpstream, ns.Upstream)
		}
	}
}

// Drain makes the health say that this edge is leaving, for good: the process ends.
// Requests are still served.
func (h *Handler) Drain() { h.leaving.Store(true) }

func (h *Handler) draining() bool { return h.leaving.Load() || h.drained.Load() }

// Ready is why no new clients should be sent here; nil: they may.
func (h *Handler) Ready() error {
	if h.draining() {
		return errors.New("this edge is draining")
	}
	return nil
}

// exchange is one request on its way through the edge, and what the log says of it.
type exchange struct {
	w       *responseWriter
	r       *http.Request
	begun   time.Time
	req     registry.Request
	ns      Namespace
	kind    string // end point, for logs and metrics
	query   access.Query
	mirror  bool   // a mirror's client: names are taken as they come
	peer    string // the datacenter of the edge that asks; "" for clients
	pushing bool   // that edge's client may push

	answered func(*http.Response) error // of a write: called with Harbor's answer, before the client has it
	who      string                     // by the credential that was accepted; "" for nobody
	outcome  string                     // hit, stale, fill, join, pass, …: see cacheStatus
	err      error
}

// ServeHTTP follows README.md, "A request, in order".
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = h.beginSpan(r)
	x := &exchange{w: &responseWriter{ResponseWriter: w, now: h.cfg.Now, stalled: h.cfg.Stalled, streams: r.ProtoMajor >= 2}, r: r, begun: h.cfg.Now(), kind: "other", outcome: "pass"}
	defer h.finish(x)
	x.err = h.serve(x)
	defer x.w.hurry() // what is left in buffers
	switch {
	case x.err == nil:
	case x.w.status == 0:
		if x.outcome != "own" && x.w.Header().Get("Cache-Status") == "" {
			x.cacheStatus("fwd=miss", "detail=error")
		}
		registry.WriteError(x.w, x.err)
	default: // after the first byte the client must see a cut, not a short success
		panic(http.ErrAbortHandler)
	}
}

func (h *Handler) serve(x *exchange) (err error) {
	if x.r, x.mirror, err = h.mirrored(x.r); err != nil {
		x.outcome = "own"
		return err
	}
	path := x.r.URL.Path
	switch {
	case path == livenessPath:
		x.kind, x.outcome = "health", "own"
		return liveness(x.w)
	case path == healthPath:
		x.kind, x.outcome = "health", "own"
		return h.health(x)
	case strings.HasPrefix(path, PeerPath+"/v2/"):
		return h.servePeer(x)
	case path == peerTokenPath:
		return h.tokenForPeer(x)
	case path == peerPurgePath:
		return h.purgeForPeer(x)
	case path == "/breakwater" || strings.HasPrefix(path, "/breakwater/"):
		x.outcome = "own"
		return registry.Errorf(registry.CodeNameUnknown, "there is nothing at this path")
	case path == tokenPath:
		return h.serveToken(x)
	case isRegistryPath(path):
		return h.serveRegistry(x)
	case isRegistryPath(pathpkg.Clean("/" + path)): // Harbor's nginx cleans it, and a push would pass unseen
		x.kind, x.outcome = "invalid", "own"
		return registry.Errorf(registry.CodeNameInvalid, "the path holds empty or dot components")
	}
	return h.pass.serve(x)
}

func isRegistryPath(path string) bool { return path == "/v2" || strings.HasPrefix(path, "/v2/") }

// serveRegistry answers the OCI distribution API.
func (h *Handler) serveRegistry(x *exchange) (err error) {
	if x.req, err = registry.ParseRequest(x.r.Method, x.r.URL); err != nil {
		x.kind, x.outcome = "invalid", "own"
		return err
	}
	x.kind = x.req.Kind.String()
	x.w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	x.ns = resolve(h.namespaces, x.req.Project())
	if !x.mirror {
		x.req.Repo = x.ns.fullRepo(x.req.Repo)
	}
	x.query = access.Query{
		Authorization: x.r.Header.Get("Authorization"), Repos: []string{x.req.Repo, x.ns.shortRepo(x.req.Repo)},
		Action: x.req.Action(), Scope: x.req.Scope(), BaseURL: baseURL(x.r),
	}
	if x.req.Kind == registry.KindBase {
		if who, ok := h.cfg.Access.Knows(x.query.Authorization); ok {
			x.who, x.outcome = who, "own"
			x.w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, err := io.WriteString(x.w, "{}")
			return err
		}
	}
	content := x.req.Kind == registry.KindManifest || x.req.Kind == registry.KindBlob || x.req.Kind == registry.KindTags || x.req.Kind == registry.KindReferrers
	harborDecides := x.ns.Kind == KindPlain || !x.req.Read() || !content // by the client's own credentials
	// Nobody needs Harbor to be told to log in; only the catalog's challenge is Harbor's own.
	// The edge's own tokens say nothing to Harbor.
	if !harborDecides || x.query.Authorization == "" && x.req.Kind != registry.KindCatalog || h.cfg.Access.Own(x.query.Authorization) {
		if x.who, err = h.cfg.Access.Allow(x.r.Context(), x.query); err != nil {
			x.outcome = "own"
			return err
		}
	}
	switch {
	case x.ns.Kind == KindCache && !x.req.Read() && x.req.Method != http.MethodDelete:
		x.outcome = "own"
		return registry.Errorf(registry.CodeDenied, "%s is a proxy cache and takes no pushes: push to a multi-dc- or a plain project", x.ns.Project)
	case !x.req.Read(): // GET of an upload session is one of its writes
		return h.write(x)
	case x.ns.Kind == KindPlain || !content:
		return h.pass.serve(x)
	}
	return h.read(x)
}

// read answers a read of a managed namespace.
func (h *Handler) read(x *exchange) error {
	switch x.req.Kind {
	case registry.KindManifest:
		return h.serveManifest(x)
	case registry.KindTags:
		return h.serveTags(x)
	case registry.KindReferrers:
		return h.serveReferrers(x)
	}
	return h.serveBlob(x)
}

// baseURL is the scheme and host under which the client reached the edge. An
// edge without TLS believes what terminates it before the edge; a client that
// says so itself misleads nobody but itself.
func baseURL(r *http.Request) string {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// aborted reports whether err only says that the client went away.
func aborted(r *http.Request, err error) bool {
	return errors.Is(err, context.Canceled) && r.Context().Err() != nil
}
