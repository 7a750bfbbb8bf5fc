// Package access decides whether a request may go on. It checks the permission for the
// repo on every request, before a byte is sent. What it permits, Harbor would permit
// too, but for outage tokens. README.md lists the rules.
package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/registry"
)

const (
	maxRemembered = 1 << 16         // permissions, and memberships, in memory
	maxTokens     = 1 << 14         // verified tokens in memory
	maxToken      = 4 << 10         // bytes of one that is remembered; a longer one is verified each time
	rememberFor   = 5 * time.Minute // how long Harbor's yes counts where Harbor does not answer
	askDeadline   = 10 * time.Second
)

// Config is the configuration of a Checker.
type Config struct {
	Harbor   *registry.Source   // the local Harbor, which is asked about credentials that cannot be verified here
	Verifier *registry.Verifier // verifies tokens by the fleet's token certificates; nil: the local Harbor is asked about every token
	Members  Members            // nil: memberships do not outlast a restart
	Grants   Grants             // nil: grants do not outlast a restart
	Projects Projects           // nil: Members or Grants, where one of them is that too; else nothing outlasts a restart that is of a project
	// OutageGrace is how long after the beginning of an outage the edge may give tokens
	// for what Harbor granted before. An outage is the time when no Harbor of the fleet
	// answers. 0: the edge gives no tokens.
	OutageGrace time.Duration
	// Keys are the fleet's: those of the edges' own tokens, and those under which grants are
	// kept. nil: this process makes its own, so its tokens are valid here only and Grants is
	// not used.
	Keys *keyring.Ring
	// Private reports whether a project is declared to be private under a name of its own: before
	// that Harbor may have shown it to everybody. nil: none is.
	Private func(project string) bool
	Now     func() time.Time // nil: time.Now
}

// Checker decides whether a request may go on. It is safe for concurrent use.
type Checker struct {
	cfg    Config
	keys   atomic.Pointer[registry.Verifier] // used in place of cfg.Verifier
	secret []byte                            // keys the hashes in grants and tokens, so that memory holds no credential
	yeses  *yeses
	tokens *lru.Cache[grantKey, verified]
	local  local
	member *lru.Cache[memberKey, membership]
	outage *outage

	projects *projects
}

// grantKey is a keyed hash of a credential and of what it was used for.
type grantKey [sha256.Size]byte

// memberKey is a repo, or a whole project, and a digest that it holds.
type memberKey struct {
	repo   string
	digest digest.Digest
}

// Query asks whether credentials permit an action on a repo.
type Query struct {
	Authorization string   // the request's Authorization header, unchanged
	Repos         []string // the repo first, then other spellings of it that a token may name
	Action        string   // pull, push or delete
	Scope         string   // the scope in the challenge; "": the challenge has none
	BaseURL       string   // the scheme and host that the client used, where its token service is
}

// New returns a Checker. Its error says that a cache or a key could not be made.
func New(cfg Config) (*Checker, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Checker{cfg: cfg, secret: make([]byte, sha256.Size), local: local{harbor: cfg.Harbor, now: cfg.Now}}
	c.local.realms, _ = lru.New[string, *url.URL](maxRealms) // the size is positive: no error
	c.keys.Store(cfg.Verifier)
	rand.Read(c.secret) //nolint:errcheck // never fails
	var err error
	if c.yeses, err = newYeses(); err != nil {
		return nil, err
	}
	if c.tokens, err = lru.New[grantKey, verified](maxTokens); err != nil {
		return nil, err
	}
	if c.member, err = lru.New[memberKey, membership](maxRemembered); err != nil {
		return nil, err
	}
	if c.projects, err = newProjects(cfg); err != nil {
		return nil, err
	}
	c.outage, err = newOutage(cfg)
	return c, err
}

// Allow decides whether a request may go on. Where it may, Allow returns the user's name,
// or "" where it is not proven who that is (Proven). Where it may not, the error is the answer for
// the client: 401 with a challenge, 403, 404 where the project does not exist, or 503
// where no Harbor can decide.
func (c *Checker) Allow(ctx context.Context, q Query) (who string, err error) {
	scheme, credential, _ := strings.Cut(q.Authorization, " ")
	switch {
	case q.Authorization == "":
		switch kind := c.kind(ctx); {
		case kind == harbors:
			return "", c.challenge(q, "", "log in, or ask the token service for an anonymous token")
		case q.Repos[0] == "": // the registry itself answers
			return "", nil
		case kind == open:
			return "", c.askOpen(ctx, q)
		}
	case strings.EqualFold(scheme, "Bearer"):
		token, err := c.verify(strings.TrimSpace(credential))
		if errors.Is(err, errNotOurs) && (!c.isPrivate(q.Repos[0]) || Claimed(q.Authorization) != "") {
			break
		}
		if err != nil {
			e := c.challenge(q, "invalid_token", "the token is not valid here, or no longer")
			e.Cause = err
			return "", e
		}
		if c.permits(ctx, token, q) {
			return token.Subject, nil
		}
		return "", c.challenge(q, "insufficient_scope", "the token does not grant "+q.Action+" on this repo")
	}
	if err := c.ask(ctx, q); err != nil {
		return "", err
	}
	return c.Proven(ctx, q.Authorization, q.Repos[0], q.Action != "pull"), nil
}

// challenge returns a 401 that names the token service of the client's own base URL.
func (c *Checker) challenge(q Query, fault, message string) *registry.Error {
	e := registry.Errorf(registry.CodeUnauthorized, "%s", message)
	params := map[string]string{"realm": q.BaseURL + registry.TokenPath, "service": registry.HarborService}
	if q.Scope != "" {
		params["scope"] = q.Scope
	}
	if fault != "" {
		params["error"] = fault
	}
	e.Challenge = registry.Challenge{Scheme: "Bearer", Params: params}.String()
	return e
}

// inMemory returns a hash of the parts that stands for a credential in this process's memory,
// for which each request asks: SHA-256 of the process's random secret and the parts. To be taken for
// another credential, one has to have its SHA-256, of a beginning that nobody knows. That who
// knows such a hash could append to its parts (which HMAC prevents) gains nothing: no
// hash leaves the process, and what is remembered is found by a whole hash only.
func (c *Checker) inMemory(parts ...string) grantKey {
	var room [2 << 10]byte // most tokens are shorter
	text := append(room[:0], c.secret...)
	for _, s := range parts {
		text = append(append(text, s...), 0)
	}
	key := sha256.Sum256(text)
	clear(text)
	return key
}

// keyedHash returns a hash of the parts (HMAC-SHA256). It stands for a credential on disk.
func keyedHash(secret []byte, parts ...string) (key grantKey) {
	mac := hmac.New(sha256.New, secret)
	for _, s := range parts {
		mac.Write([]byte(s))
		mac.Write([]byte{0})
	}
	mac.Sum(key[:0])
	return key
}
