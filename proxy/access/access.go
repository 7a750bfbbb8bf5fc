// Package access decides who may do what: permission is per repo, it is asked
// for on every request before a byte is sent, and it is never wider than
// Harbor's. README.md lists the rules.
package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

const (
	maxRemembered = 1 << 16
	maxTokens     = 1 << 14
	rememberFor   = 5 * time.Minute
	askDeadline   = 10 * time.Second
)

// Config says whom to believe.
type Config struct {
	Harbor   *registry.Source   // the local Harbor: asked about what cannot be verified here
	Verifier *registry.Verifier // the fleet's token certificates; nil: every token is shown to the local Harbor
	Members  Members            // nil: a restart forgets who holds what
	Grants   Grants             // nil: a restart forgets what Harbor granted
	// OutageGrace is how long what Harbor granted holds while no Harbor of the
	// fleet can answer; 0: not at all.
	OutageGrace time.Duration
	Secret      string           // the fleet's, from which edges' own tokens are signed; "": they are good here alone, until the end
	Now         func() time.Time // nil: time.Now
}

// Checker answers whether a request may go on. Safe for concurrent use.
type Checker struct {
	cfg    Config
	keys   atomic.Pointer[registry.Verifier] // in place of cfg.Verifier
	secret []byte                            // keys the hashes below: a core dump holds no credential
	grants *lru.Cache[grantKey, time.Time]
	tokens *lru.Cache[grantKey, registry.Token] // that were verified
	open   openness
	member *lru.Cache[memberKey, int64] // the project's id
	outage *outage

	projects *projects
}

type grantKey [sha256.Size]byte

type memberKey struct {
	repo   string
	digest digest.Digest
}

// Query is one question: may these credentials do this to that repo?
type Query struct {
	Authorization string   // the request's header, as it came
	Repos         []string // the repo; behind it, other spellings of it that a token may name
	Action        string   // pull, push or delete
	Scope         string   // what the challenge asks a client to get, "" for none
	BaseURL       string   // scheme and host that the client used: where its token service is
}

// New returns a Checker.
func New(cfg Config) (*Checker, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Checker{cfg: cfg, secret: make([]byte, sha256.Size), open: openness{harbor: cfg.Harbor, now: cfg.Now}}
	c.keys.Store(cfg.Verifier)
	rand.Read(c.secret) //nolint:errcheck // never fails
	var err error
	if c.grants, err = lru.New[grantKey, time.Time](maxRemembered); err != nil {
		return nil, err
	}
	if c.tokens, err = lru.New[grantKey, registry.Token](maxTokens); err != nil {
		return nil, err
	}
	if c.member, err = lru.New[memberKey, int64](maxRemembered); err != nil {
		return nil, err
	}
	if c.projects, err = newProjects(cfg); err != nil {
		return nil, err
	}
	c.outage, err = newOutage(cfg)
	return c, err
}

// Allow returns who asks, "" for nobody, when the request may go on; else the
// answer for the client: 401 with a challenge, 403, 404 for a project that is not
// there, or 503 when nobody can say.
func (c *Checker) Allow(ctx context.Context, q Query) (who string, err error) {
	scheme, credential, _ := strings.Cut(q.Authorization, " ")
	switch {
	case q.Authorization == "":
		if c.keys.Load() == nil && c.open.known(ctx) {
			return "", nil
		}
		return "", c.challenge(q, "", "log in, or ask the token service for an anonymous token")
	case strings.EqualFold(scheme, "Bearer"):
		token, err := c.verify(strings.TrimSpace(credential))
		if errors.Is(err, errNotOurs) {
			break
		}
		if err != nil {
			e := c.challenge(q, "invalid_token", "the token is not valid here, or no longer")
			e.Cause = err
			return "", e
		}
		for _, repo := range q.Repos {
			if token.Allows(repo, q.Action) && c.isOfProject(ctx, token, repo) {
				return token.Subject, nil
			}
		}
		return "", c.challenge(q, "insufficient_scope", "the token does not grant "+q.Action+" on this repo")
	}
	return Claimed(q.Authorization), c.ask(ctx, q)
}

// Knows returns whose token it is, if it is somebody's and can be verified here: a
// login with it needs no Harbor.
func (c *Checker) Knows(authorization string) (who string, ok bool) {
	scheme, raw, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	token, err := c.verify(strings.TrimSpace(raw))
	return token.Subject, err == nil && token.Subject != ""
}

// Claimed is who a credential says it is: a Basic one's user, a token's subject. It
// is true where somebody has accepted the credential.
func Claimed(authorization string) string {
	scheme, credential, _ := strings.Cut(authorization, " ")
	credential = strings.TrimSpace(credential)
	switch {
	case strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(credential)
		if err != nil {
			return ""
		}
		name, _, _ := strings.Cut(string(text), ":")
		return name
	case strings.EqualFold(scheme, "Bearer"):
		var claims jwt.RegisteredClaims
		if _, _, err := jwt.NewParser().ParseUnverified(credential, &claims); err == nil {
			return claims.Subject
		}
	}
	return ""
}

// errNotOurs is of a Harbor's token where there are no certificates: its Harbor
// is to be asked.
var errNotOurs = errors.New("only Harbor can verify the token")

// verify verifies a token; one that was verified before is good until it expires.
func (c *Checker) verify(raw string) (registry.Token, error) {
	key := keyedHash(c.secret, raw)
	if token, ok := c.tokens.Get(key); ok && c.cfg.Now().Before(token.ExpiresAt) {
		return token, nil
	}
	token, own, err := c.verifyOwn(raw)
	verifier := c.keys.Load()
	switch {
	case own:
	case verifier == nil:
		return token, errNotOurs
	default:
		token, err = verifier.Verify(raw)
	}
	if err == nil {
		c.tokens.Add(key, token)
	}
	if c.keys.Load() != verifier { // by keys that may count no longer
		c.tokens.Remove(key)
	}
	return token, err
}

// UseKeys puts the keys that count from now on in place of the Verifier's. What
// was verified by those of before is verified again.
func (c *Checker) UseKeys(keys []*rsa.PublicKey) {
	next := registry.Verifier{Keys: keys}
	if before := c.keys.Load(); before != nil {
		next.Now = before.Now
	}
	c.keys.Store(&next)
	c.tokens.Purge()
}

func (c *Checker) challenge(q Query, fault, message string) *registry.Error {
	e := registry.Errorf(registry.CodeUnauthorized, "%s", message)
	params := map[string]string{"realm": q.BaseURL + "/service/token", "service": registry.HarborService}
	if q.Scope != "" {
		params["scope"] = q.Scope
	}
	if fault != "" {
		params["error"] = fault
	}
	e.Challenge = registry.Challenge{Scheme: "Bearer", Params: params}.String()
	return e
}

// ask shows the client's credentials to the local Harbor, and remembers a yes.
// A no is never remembered: it costs the one who asks for it, nobody else.
func (c *Checker) ask(ctx context.Context, q Query) error {
	key := keyedHash(c.secret, q.Repos[0], q.Action, q.Authorization)
	now := c.cfg.Now()
	if until, ok := c.grants.Get(key); ok && now.Before(until) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	if err := c.askHarbor(ctx, q, http.MethodHead); err != nil {
		return err
	}
	c.grants.Add(key, now.Add(min(rememberFor, lifetime(q.Authorization, now))))
	project, _, _ := strings.Cut(q.Repos[0], "/")
	c.projects.get(ctx, project) // so that its memberships are known to be its own
	return nil
}

// keyedHash is what is remembered of a credential.
func keyedHash(secret []byte, parts ...string) (key grantKey) {
	mac := hmac.New(sha256.New, secret)
	for _, s := range parts {
		mac.Write([]byte(s))
		mac.Write([]byte{0})
	}
	mac.Sum(key[:0])
	return key
}

// lifetime is how long a bearer token has left by its own word, which counts
// only against itself: it can shorten what is remembered.
func lifetime(authorization string, now time.Time) time.Duration {
	_, raw, _ := strings.Cut(authorization, " ")
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &claims); err != nil || claims.ExpiresAt == nil {
		return rememberFor
	}
	return claims.ExpiresAt.Sub(now)
}

// nobodyHas is a digest without content. Asking for it in a repo costs Harbor
// its permission check and nothing else: a HEAD is not passed to an upstream.
const nobodyHas = digest.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000000")

// AskHarbor shows credentials to the local Harbor: may they pull from the repo? An
// error of code UNAVAILABLE says that it could not tell.
func (c *Checker) AskHarbor(ctx context.Context, repo, authorization string) error {
	return c.askHarbor(ctx, Query{Repos: []string{repo}, Action: "pull", Authorization: authorization}, http.MethodHead)
}

// askHarbor asks whether the credentials may pull from the repo. The answer is
// in how Harbor refuses: its 404 comes after its permission check. A 404 that is
// no registry's, as of an ingress whose Harbor is gone, permits nothing, nor does
// a page with status 200: there is no such content.
func (c *Checker) askHarbor(ctx context.Context, q Query, method string) error {
	r := registry.Request{Method: method, Kind: registry.KindBlob, Repo: q.Repos[0], Digest: nobodyHas}
	resp, err := c.cfg.Harbor.Do(ctx, r, http.Header{"Authorization": {q.Authorization}})
	if err != nil {
		return err
	}
	e := registry.ReadError(resp)
	switch {
	case e.Status == http.StatusNotFound && (e.Code != "" || method == http.MethodHead && isJSON(resp)):
		return nil
	case e.Status == http.StatusNotFound && method == http.MethodHead:
		return c.askHarbor(ctx, q, http.MethodGet) // the body says whose word it is
	case e.Status == http.StatusUnauthorized && len(registry.ParseChallenges(resp.Header.Values("WWW-Authenticate"))) > 0:
		if scheme, _, _ := strings.Cut(q.Authorization, " "); strings.EqualFold(scheme, "Basic") {
			refused := registry.Errorf(registry.CodeUnauthorized, "wrong user or password, or no permission to %s here", q.Action)
			refused.Challenge = `Basic realm="harbor"`
			return refused
		}
		return c.challenge(q, "insufficient_scope", "the token does not grant "+q.Action+" on this repo")
	case e.Status == http.StatusUnauthorized && method == http.MethodHead:
		return c.askHarbor(ctx, q, http.MethodGet) // an empty challenge: the body says which
	case e.Status == http.StatusForbidden:
		return registry.Errorf(registry.CodeDenied, "no permission to %s here", q.Action)
	}
	return MissingProject(e)
}

func isJSON(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
}

// MissingProject reads Harbor's 401 with an empty challenge: by its body the
// project does not exist (NAME_UNKNOWN), or Harbor's database is down, which
// like every other failure to answer is UNAVAILABLE.
func MissingProject(e *registry.Error) *registry.Error {
	if e.Status == http.StatusUnauthorized && strings.HasPrefix(e.Message, "project ") && strings.HasSuffix(e.Message, " not found") {
		return registry.Errorf(registry.CodeNameUnknown, "there is no such project")
	}
	unavailable := registry.Errorf(registry.CodeUnavailable, "Harbor cannot say now; try again")
	unavailable.RetryAfter = max(e.RetryAfter, 5*time.Second)
	unavailable.Cause = e
	return unavailable
}
