package token

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
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

const (
	maxToken  = 1 << 20
	maxScopes = 32
)

// question is a client's request for a token.
type question struct {
	in            *http.Request
	query         url.Values
	authorization string
	repos         []string // that the client asks to pull from; access.Login where it names none
}

func newQuestion(r *http.Request, authorization string) question {
	q := question{in: r, query: r.URL.Query(), authorization: authorization}
	other := map[string]bool{} // projects of which something else than a pull is asked for: that counts for all of the project
	for _, scope := range strings.Fields(strings.Join(q.query["scope"], " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		at := strings.LastIndexByte(rest, ':')
		if kind != "repository" || at <= 0 {
			continue
		}
		repo, actions := rest[:at], strings.Split(rest[at+1:], ",")
		if !slices.Contains(actions, "pull") && !slices.Contains(actions, "*") {
			other[access.ProjectOf(repo)] = true
		} else if len(q.repos) < maxScopes {
			q.repos = append(q.repos, repo)
		}
	}
	q.repos = slices.DeleteFunc(q.repos, func(repo string) bool { return other[access.ProjectOf(repo)] })
	if len(q.query["scope"]) == 0 {
		q.repos = []string{access.Login}
	}
	return q
}

// issued is what a token service said.
type issued struct {
	status  int
	header  http.Header
	body    []byte
	token   string
	subject string          // "" is anonymous
	pull    []string        // the repos that may be pulled from
	grants  *registry.Token // what its claims say; nil: nobody can tell
}

var (
	errNoAnswer = errors.New("it does not answer")
	errWell     = errors.New("its Harbor is well, and did not answer this request")
)

// askHarbor asks the local Harbor. Its error is a don't-know: there was no answer, or
// one that Harbor gives because its database is down.
func (s *Service) askHarbor(ctx context.Context, q question) (issued, error) {
	if !s.Harbor.Usable() {
		return issued{}, source.ErrDown
	}
	ctx, cancel := context.WithTimeout(ctx, s.Deadline)
	defer cancel()
	resp, err := s.Harbor.Registry.Transport().RoundTrip(s.forHarbor(ctx, q))
	if err != nil {
		s.Harbor.Suspect()
		return issued{}, err
	}
	a, err := read(resp)
	if err != nil {
		s.Harbor.Note(registry.KindBase, resp)
		return a, err
	}
	var believed time.Duration // how old a check of the database may be
	switch {
	case len(a.pull) < len(s.Access.Remembered(q.authorization, q.repos)): // a remembered grant would be forgotten: check now
	case a.subject == "" && (q.authorization != "" || a.status == http.StatusOK && len(a.pull) < len(q.repos)): // an anonymous token for credentials, or one that grants less than was asked for
		believed = source.HealthFor
	default:
		return a, nil
	}
	if s.databaseIsDown(ctx, q, believed) {
		return a, errors.New("it takes somebody for nobody, and its database does not answer")
	}
	return a, nil
}

// forHarbor is the client's request as Harbor gets it.
func (s *Service) forHarbor(ctx context.Context, q question) *http.Request {
	out := &httputil.ProxyRequest{In: q.in, Out: q.in.Clone(ctx)}
	// A front of Harbor may wait for a body that the client announces and holds back.
	out.Out.Body, out.Out.ContentLength, out.Out.TransferEncoding = http.NoBody, 0, nil
	for _, name := range []string{"Content-Length", "Content-Type", "Transfer-Encoding", "Trailer", "Expect", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Connection", "Upgrade", "Te", "Cookie", "Authorization", peer.PreviousHeader, peer.ClientHeader} {
		out.Out.Header.Del(name)
	}
	s.Pass.Rewrite(out)
	out.Out.URL.Path, out.Out.URL.RawPath = registry.TokenPath, ""
	out.Out.Header.Set("Accept-Encoding", "identity")
	if q.authorization != "" {
		out.Out.Header.Set("Authorization", q.authorization)
	}
	return out.Out
}

// askPeer asks another datacenter's Harbor, through its edge.
func (s *Service) askPeer(ctx context.Context, p *source.Source, q question) (issued, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Deadline+2*checkDeadline) // its Harbor has the deadline; then it looks whether that is down
	defer cancel()
	query := url.Values{"service": q.query["service"], "scope": q.query["scope"], "account": q.query["account"]}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Registry.URL().String()+peer.TokenPath+"?"+query.Encode(), nil)
	if err != nil {
		return issued{}, err
	}
	if q.authorization != "" {
		req.Header.Set(peer.ClientHeader, q.authorization)
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		p.Suspect()
		return issued{}, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		resp.Body.Close()
		return issued{}, errWell
	}
	a, err := read(resp)
	if err == nil && a.status != http.StatusOK && a.status != http.StatusUnauthorized {
		err = fmt.Errorf("it answers %s", resp.Status)
	}
	return a, err
}

// read reads an answer that says something: a token, or a refusal.
func read(resp *http.Response) (a issued, err error) {
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxToken)); err != nil {
		return a, err
	}
	// A 404 or a redirect comes from a front whose Harbor is gone: Harbor's own token service answers neither.
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
	a.readClaims()
	return a, nil
}

// readClaims reads whom the token is for, and what it grants. A registry whose tokens
// are something else says neither.
func (a *issued) readClaims() {
	var claims struct {
		jwt.RegisteredClaims
		Access []registry.Access `json:"access"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(a.token, &claims); err != nil {
		return
	}
	a.subject = claims.Subject
	a.grants = &registry.Token{Subject: claims.Subject, Access: claims.Access}
	for _, entry := range claims.Access {
		if a.grants.Allows(entry.Name, "pull") {
			a.pull = append(a.pull, entry.Name)
		}
	}
	if a.subject != "" {
		a.pull = append(a.pull, access.Login)
	}
}
