package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

const (
	tokenPath     = "/service/token"
	peerTokenPath = PeerPath + "/token"

	clientHeader = "Breakwater-Client-Authorization" // between edges: whose token it is to be
	maxToken     = 1 << 20
	maxScopes    = 32
	outageWatch  = 5 * time.Second
)

// tokenQuestion is a client's request for a token (distribution's token specification).
type tokenQuestion struct {
	in            *http.Request
	query         url.Values
	authorization string
	repos         []string // those that it asks to pull from; access.Login where it names none
}

// tokenAnswer is what a token service said.
type tokenAnswer struct {
	status  int
	header  http.Header
	body    []byte
	token   string
	subject string   // "" is anonymous
	pull    []string // the repos that may be pulled from
}

// serveToken answers /service/token: the local Harbor does, else a peer's, else,
// for a while, what Harbor granted last (README.md, "Tokens").
func (h *Handler) serveToken(x *exchange) error {
	x.kind = "token"
	if x.r.Method != http.MethodGet { // as Harbor does; containerd tries POST first, also while Harbor is down
		x.outcome = "own"
		x.w.Header().Set("Allow", http.MethodGet)
		return registry.Errorf(registry.CodeUnsupported, "a token is asked for by GET")
	}
	ctx, q := x.r.Context(), newTokenQuestion(x.r, x.r.Header.Get("Authorization"))
	own, err := h.askHarborForToken(ctx, q)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		return h.giveToken(x, q, own, h.harbor)
	}
	errs := []error{fmt.Errorf("%s: %w", h.harbor.name, err)}
	for _, peer := range h.peers {
		if !peer.usable() {
			continue
		}
		a, err := h.askPeerForToken(ctx, peer, q)
		if err == nil {
			return h.giveToken(x, q, a, peer)
		}
		errs = append(errs, fmt.Errorf("%s: %w", peer.name, err))
	}
	return h.giveOutageToken(x, q, errors.Join(errs...))
}

func newTokenQuestion(r *http.Request, authorization string) tokenQuestion {
	q := tokenQuestion{in: r, query: r.URL.Query(), authorization: authorization}
	for _, scope := range strings.Fields(strings.Join(q.query["scope"], " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		if at := strings.LastIndexByte(rest, ':'); kind == "repository" && at > 0 && len(q.repos) < maxScopes {
			q.repos = append(q.repos, rest[:at])
		}
	}
	if len(q.query["scope"]) == 0 {
		q.repos = []string{access.Login}
	}
	return q
}

// askHarborForToken asks the local Harbor. Its error is don't-know: there was no
// answer, or one that it gives because its database is down.
func (h *Handler) askHarborForToken(ctx context.Context, q tokenQuestion) (tokenAnswer, error) {
	if !h.harbor.usable() {
		return tokenAnswer{}, errDown
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Deadline)
	defer cancel()
	out := &httputil.ProxyRequest{In: q.in, Out: q.in.Clone(ctx)}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Connection", "Upgrade", "Te", "Cookie", "Authorization", clientHeader} {
		out.Out.Header.Del(name)
	}
	h.pass.rewrite(out)
	out.Out.URL.Path, out.Out.URL.RawPath = tokenPath, ""
	out.Out.Header.Set("Accept-Encoding", "identity")
	if q.authorization != "" {
		out.Out.Header.Set("Authorization", q.authorization)
	}
	resp, err := h.harbor.registry.Transport().RoundTrip(out.Out)
	if err != nil {
		h.harbor.suspect()
		return tokenAnswer{}, err
	}
	a, err := readToken(resp)
	if err != nil {
		h.harbor.note(resp)
		return a, err
	}
	var believed time.Duration
	switch {
	case len(a.pull) < len(h.cfg.Access.Remembered(q.authorization, q.repos)): // it will be forgotten: look now
	case a.subject == "" && (q.authorization != "" || a.status == http.StatusOK && len(a.pull) < len(q.repos)): // nobody, who may do less than asked for
		believed = lookFor
	default:
		return a, nil
	}
	if h.unwell(ctx, q, believed) {
		return a, errors.New("it takes somebody for nobody, and its database does not answer")
	}
	return a, nil
}

// readToken reads an answer that says something: a token, or a refusal.
func readToken(resp *http.Response) (a tokenAnswer, err error) {
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxToken)); err != nil {
		return a, err
	}
	// A token service is never elsewhere, or not found: a 404 or a redirect is of what stands before a Harbor that is gone.
	if a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusNotFound || a.status/100 == 3 {
		return a, fmt.Errorf("it answers %s", resp.Status)
	}
	if a.status != http.StatusOK {
		return a, nil
	}
	var body struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		return a, errors.New("it answers with something that is no token")
	}
	if a.token = body.Token; a.token == "" {
		a.token = body.AccessToken
	}
	var claims struct {
		jwt.RegisteredClaims
		Access []registry.Access `json:"access"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(a.token, &claims); err != nil {
		return a, nil // a registry whose tokens are something else
	}
	a.subject = claims.Subject
	granted := registry.Token{Access: claims.Access}
	for _, entry := range claims.Access {
		if granted.Allows(entry.Name, "pull") {
			a.pull = append(a.pull, entry.Name)
		}
	}
	if a.subject != "" {
		a.pull = append(a.pull, access.Login)
	}
	return a, nil
}

// unwell reports whether Harbor's database is down: then its token service takes
// everybody for nobody. Its manifests and blobs say so at once, its health after some
// seconds. A look of the given age will do.
func (h *Handler) unwell(ctx context.Context, q tokenQuestion, age time.Duration) bool {
	return h.unwellSeen.within(age, h.cfg.Now, func() bool {
		ctx := context.WithoutCancel(ctx)
		if len(q.repos) > 0 && registry.ValidRepo(q.repos[0]) && strings.HasPrefix(q.authorization, "Basic ") {
			asking, cancel := context.WithTimeout(ctx, probeDeadline)
			defer cancel()
			err := h.cfg.Access.AskHarbor(asking, q.repos[0], q.authorization)
			var e, harbors *registry.Error
			// Only this is the database's: who asks chooses the repo, and could choose one that makes Harbor stumble.
			if errors.As(err, &e) && e.Code == registry.CodeUnavailable && errors.As(e.Cause, &harbors) && harbors.Status == http.StatusUnauthorized {
				return true
			}
		}
		return !h.knowsPeople(ctx)
	})
}

// giveToken passes a token service's answer on, and remembers what it grants. A
// peer's token that cannot be verified here is exchanged for one of the edge's own.
func (h *Handler) giveToken(x *exchange, q tokenQuestion, a tokenAnswer, from *place) error {
	if a.subject != "" {
		h.cfg.Access.HarborAnswers()
	}
	switch {
	case from.kind == placePeer: // whom it does not know may be known here
		h.cfg.Access.Learn(q.authorization, a.pull, a.pull)
	case a.status == http.StatusOK || a.status == http.StatusUnauthorized:
		h.cfg.Access.Learn(q.authorization, q.repos, a.pull)
	}
	x.cacheStatus("fwd=bypass", "detail="+from.name)
	h.metrics.tokens.WithLabelValues(from.name).Inc()
	if from.kind == placePeer && a.status == http.StatusOK && !h.cfg.Access.Verifies(a.token) {
		return h.writeOwnToken(x, a.subject, a.pull)
	}
	header := x.w.Header()
	for name, values := range a.header {
		if name != "Connection" && name != "Content-Length" && name != "Transfer-Encoding" {
			header[name] = values
		}
	}
	if from.kind == placeHarbor {
		h.pass.ownChallenge(header, x.r)
	}
	x.w.WriteHeader(a.status)
	_, err := x.w.Write(a.body)
	return err
}

// giveOutageToken answers when no Harbor can: who was lately granted a pull gets
// it again, for as long as the grace lasts.
func (h *Handler) giveOutageToken(x *exchange, q tokenQuestion, cause error) error {
	x.outcome = "own"
	repos := h.cfg.Access.Remembered(q.authorization, q.repos)
	inGrace := h.cfg.Access.InGrace()
	h.watchOutage()
	if len(repos) == 0 || !inGrace {
		h.metrics.tokens.WithLabelValues("nobody").Inc()
		e := registry.Errorf(registry.CodeUnavailable, "no Harbor can say now who may do what; try again")
		e.RetryAfter, e.Cause = unavailableFor, cause
		return e
	}
	who := access.Claimed(q.authorization)
	h.metrics.tokens.WithLabelValues("outage").Inc()
	h.cfg.Log.Warn("outage token", "who", who, "repos", repos, "err", cause.Error())
	x.cacheStatus("fwd=bypass", "detail=outage")
	return h.writeOwnToken(x, who, repos)
}

// writeOwnToken writes a token that edges alone accept, in the form of Harbor's answers.
func (h *Handler) writeOwnToken(x *exchange, subject string, repos []string) error {
	raw, lifetime, err := h.cfg.Access.OwnToken(subject, repos)
	if err != nil {
		return err
	}
	return writeJSON(x, "application/json; charset=utf-8", map[string]any{
		"token": raw, "access_token": "", "expires_in": int(lifetime.Seconds()), "issued_at": h.cfg.Now().UTC().Format(time.RFC3339),
	})
}

// watchOutage looks whether Harbor is well again, so that the next outage has its
// whole grace though nobody came for a token in between.
func (h *Handler) watchOutage() {
	if !h.watching.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer h.watching.Store(false)
		tick := time.NewTicker(outageWatch)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-h.ctx.Done():
				return
			}
			if h.knowsPeople(h.ctx) {
				h.cfg.Access.HarborAnswers()
				return
			}
		}
	}()
}

// knowsPeople reports whether Harbor's database answers. Its health would say so some
// seconds late; an API that needs a login and the database says it now.
func (h *Handler) knowsPeople(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	resp, err := h.cfg.Harbor.API(ctx, "/api/v2.0/projects", url.Values{"page_size": {"1"}})
	if errors.Is(err, registry.ErrNoCredentials) {
		return h.harborUp(h.ctx)
	}
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode < 500
}

// askPeerForToken asks another datacenter's Harbor, through its edge.
func (h *Handler) askPeerForToken(ctx context.Context, peer *place, q tokenQuestion) (tokenAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Deadline)
	defer cancel()
	query := url.Values{"service": q.query["service"], "scope": q.query["scope"], "account": q.query["account"]}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer.registry.URL().String()+peerTokenPath+"?"+query.Encode(), nil)
	if err != nil {
		return tokenAnswer{}, err
	}
	if err := peer.showKey(req.Header); err != nil {
		return tokenAnswer{}, err
	}
	if q.authorization != "" {
		req.Header.Set(clientHeader, q.authorization)
	}
	resp, err := peer.registry.Transport().RoundTrip(req)
	if err != nil {
		peer.suspect()
		return tokenAnswer{}, err
	}
	h.metrics.askedOf(peer.name, resp)
	a, err := readToken(resp)
	if err == nil && a.status != http.StatusOK && a.status != http.StatusUnauthorized {
		err = fmt.Errorf("it answers %s", resp.Status)
	}
	return a, err
}

// tokenForPeer answers another edge from this datacenter's Harbor alone.
func (h *Handler) tokenForPeer(x *exchange) error {
	if err := h.fromPeer(x); err != nil {
		return err
	}
	if x.r.Method != http.MethodGet {
		return registry.Errorf(registry.CodeUnsupported, "a token is asked for by GET")
	}
	q := newTokenQuestion(x.r, x.r.Header.Get(clientHeader))
	a, err := h.askHarborForToken(x.r.Context(), q)
	if err != nil {
		return dontKnow(err)
	}
	if a.subject != "" {
		h.cfg.Access.HarborAnswers()
	}
	header := x.w.Header()
	for _, name := range []string{"Content-Type", "Www-Authenticate"} {
		if v := a.header[name]; v != nil {
			header[name] = slices.Clone(v)
		}
	}
	x.w.WriteHeader(a.status)
	_, err = x.w.Write(a.body)
	return err
}
