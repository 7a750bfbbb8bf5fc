package proxy

import (
	"errors"
	"net/http"
	"net/url"
	pathpkg "path"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/lists"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/operator"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/preheat"
	"example.org/breakwater/proxy/push"
	"example.org/breakwater/registry"
)

// The end points in logs and metrics, beside the kinds of the distribution API.
const (
	endpointHealth   = "health"
	endpointHello    = "hello"
	endpointOperator = "operator"
	endpointPeer     = "peer"
	endpointPreheat  = "preheat"
	endpointWebhook  = "webhook"
	endpointToken    = "token"
	endpointInvalid  = "invalid"
	endpointOther    = "other"
)

// request is what is known of a request. It is read once, before anything is answered,
// and does not change then.
type request struct {
	registry.Request // of the distribution API; zero for other end points
	http             *http.Request
	endpoint         string
	ns               namespace.Namespace
	query            access.Query // what a client has to be allowed
	peer             string       // the datacenter of the edge that asks; "" for clients
	mayPush          bool         // of a peer's HEAD: its client may
	frozen           bool         // it is by a tag that stays as it was first seen: Digest is that
	otherwise        *request     // of a plain project, where a mirror's client may mean that too; nil: nothing else
}

// read finds out what is known of the request. The error is its answer.
func (h *Handler) read(r *request) error {
	meant, err := h.namespaces.Mean(r.http)
	if err != nil {
		return err
	}
	r.http = at(meant.URL, r.http)
	path := meant.URL.Path
	switch {
	case path == livenessPath || path == HealthPath:
		r.endpoint = endpointHealth
	case path == peer.HelloPath:
		r.endpoint = endpointHello
	case strings.HasPrefix(path, peer.Path+"/v2/") || path == peer.TokenPath || path == peer.PurgePath || path == peer.AnnouncePath || path == peer.WarmPath || path == peer.ContentPath:
		return h.readPeer(r)
	case strings.HasPrefix(path, operator.Path) && h.operator.Has():
		r.endpoint = endpointOperator
	case strings.HasPrefix(path, preheat.Path+"/"):
		r.endpoint = endpointPreheat
	case path == webhookPath:
		r.endpoint = endpointWebhook
	case path == "/breakwater" || strings.HasPrefix(path, "/breakwater/"):
		return registry.Errorf(registry.CodeNameUnknown, "there is nothing at this path")
	case path == registry.TokenPath && !h.cfg.Access.Plain(r.http.Context()):
		r.endpoint = endpointToken
	case isRegistryPath(path):
		err = h.readRegistry(r, meant)
	case isRegistryPath(pathpkg.Clean("/" + path)): // Harbor's nginx cleans it, and a push would pass unseen
		r.endpoint = endpointInvalid
		err = registry.Errorf(registry.CodeNameInvalid, "the path holds empty or dot components")
	}
	if err != nil && h.cfg.Access.TokenService(r.http.Context(), path, pass.ClientURL(r.http)) { // a plain registry has it anywhere
		r.endpoint, err = endpointOther, nil
	}
	return err
}

func isRegistryPath(path string) bool { return path == "/v2" || strings.HasPrefix(path, "/v2/") }

// at is a request with another URL.
func at(u *url.URL, r *http.Request) *http.Request {
	moved := *r
	moved.URL = u
	return &moved
}

// readRegistry reads a client's request of the distribution API. A mirror's client
// names images as their upstream does.
func (h *Handler) readRegistry(r *request, meant namespace.Meant) (err error) {
	if r.Request, err = registry.ParseRequest(r.http.Method, r.http.URL); err != nil {
		r.endpoint = endpointInvalid
		return err
	}
	r.endpoint = r.Kind.String()
	r.ns = h.namespaces.Of(r.Project())
	if !meant.Mirror {
		r.Repo = r.ns.FullRepo(r.Repo)
	}
	r.query = r.permission()
	if meant.Otherwise != nil && r.Read() && r.content() {
		o := &request{http: at(meant.Otherwise, r.http)}
		if h.readRegistry(o, namespace.Meant{}) == nil {
			r.otherwise, r.query.Scope = o, r.query.Scope+" "+o.query.Scope
		}
	}
	return nil
}

// serveOtherwise answers a mirror's client from the plain project that its path names, where
// the registry's cache has nothing, as cause says. Where the cache cannot say what it has, an
// empty list of the plain project is no answer.
func (h *Handler) serveOtherwise(w *response, r *request, cause error) error {
	var e *registry.Error
	if !errors.As(cause, &e) || e.Status == http.StatusUnauthorized && r.query.Authorization == "" {
		return cause
	}
	var test func(*http.Response) bool
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		test = lists.Some
	default:
		return cause
	}
	if w.Status == 0 && h.tryOtherwise(w, r, test) {
		return nil
	}
	return cause
}

// tryOtherwise answers from the plain project that a mirror's client may mean, where Harbor
// has an answer that passes the test. Harbor decides by the client's own credentials.
func (h *Handler) tryOtherwise(w *response, r *request, test func(*http.Response) bool) bool {
	if r.otherwise == nil || !h.routes.Harbor.Usable() || !h.pass.Try(w, r.otherwise.http, r.otherwise.Path(), test) {
		return false
	}
	*r, w.outcome = *r.otherwise, outcomePass
	return true
}

// permission is what the client has to be allowed for the request.
func (r *request) permission() access.Query {
	return access.Query{
		Authorization: r.http.Header.Get("Authorization"), Repos: []string{r.Repo, r.ns.ShortRepo(r.Repo)},
		Action: r.Action(), Scope: r.Scope(), BaseURL: pass.ClientURL(r.http),
	}
}

// content reports whether the request is for what the edge keeps.
func (r *request) content() bool {
	return r.Kind == registry.KindManifest || r.Kind == registry.KindBlob || r.Kind == registry.KindTags || r.Kind == registry.KindReferrers
}

// question is the request as the rooms that ask sources know it.
func (r *request) question() fetch.Question {
	return fetch.Question{Request: r.Request, Namespace: r.ns, OwnOnly: r.peer != "", Authorization: r.http.Header.Get("Authorization"),
		Span: trace.SpanContextFromContext(r.http.Context())}
}

// write is the request as the room that takes writes knows it.
func (r *request) write() push.Request {
	return push.Request{HTTP: r.http, Parsed: r.Request, Namespace: r.ns, FromPeer: r.peer != ""}
}

// pushes reports whether a HEAD comes from a client that may push here. Then the Harbor
// that takes the push answers it.
func (h *Handler) pushes(r *request) bool {
	if r.http.Method != http.MethodHead || r.ns.Kind == namespace.Cache || r.peer != "" {
		return r.mayPush
	}
	query := r.query
	query.Action = "push"
	_, err := h.cfg.Access.Allow(r.http.Context(), query)
	return err == nil
}
