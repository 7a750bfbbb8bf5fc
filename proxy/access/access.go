// Package access decides who may do what: permission is per repo, it is asked
// for on every request before a byte is sent, and it is never wider than
// Harbor's. README.md lists the rules.
package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

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
