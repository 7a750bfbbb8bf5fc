package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"example.org/breakwater/registry"
)

// Grants remembers across restarts what Harbor granted, under keys that say
// nothing to a reader.
type Grants interface {
	Grant(key string, at time.Time)
	Granted(key string) (at time.Time, ok bool)
	Revoke(key string)
}

// outage is what the edge knows for the time when no Harbor of the fleet can
// answer: who was last granted what, and since when nobody has answered.
type outage struct {
	grace   time.Duration // 0: never
	now     func() time.Time
	sign    []byte // signs tokens that edges alone accept
	hide    []byte // keys the hashes of credentials
	recent  *lru.Cache[string, time.Time]
	lasting Grants // nil: a restart forgets

	mu    sync.Mutex
	since time.Time // zero: some Harbor answers
}

const (
	maxGrants = 1 << 16
	// A grant that is older does not count in an outage: who has not been here for
	// so long may have lost the permission unseen.
	grantFor     = 24 * time.Hour
	grantAgain   = 10 * time.Minute // then it is written down anew
	ownTokenFor  = 5 * time.Minute
	ownIssuer    = "breakwater-edge"
	ownLeeway    = 30 * time.Second // of the edges' clocks
	outageRecord = "outage"
)

func newOutage(cfg Config) (*outage, error) {
	o := &outage{grace: cfg.OutageGrace, now: cfg.Now}
	secret := cfg.Secret
	if secret == "" { // nobody else's, and of this life only
		secret = rand.Text()
	} else {
		o.lasting = cfg.Grants
	}
	o.sign, o.hide = derive("tokens", secret), derive("credentials", secret)
	if o.lasting != nil {
		o.since, _ = o.lasting.Granted(outageRecord)
	}
	var err error
	o.recent, err = lru.New[string, time.Time](maxGrants)
	return o, err
}

func derive(purpose, secret string) []byte {
	sum := sha256.Sum256([]byte("breakwater " + purpose + "\x00" + secret))
	return sum[:]
}

// key is what a grant is remembered by.
func (o *outage) key(authorization, repo string) string {
	h := keyedHash(o.hide, authorization, repo)
	return hex.EncodeToString(h[:])
}

func (o *outage) granted(key string) bool {
	at, ok := o.recent.Get(key)
	if !ok && o.lasting != nil {
		at, ok = o.lasting.Granted(key)
	}
	return ok && o.now().Sub(at) < grantFor
}

func (o *outage) revoke(key string) {
	o.recent.Remove(key)
	if o.lasting != nil {
		o.lasting.Revoke(key)
	}
}

// Login is, among repos, the permission to log in without asking for any.
const Login = ""

// Learn takes what a Harbor that is well said to a credential ("" is nobody's):
// of the repos that were asked for it may pull those in given, and no others.
func (c *Checker) Learn(authorization string, asked []string, given []string) {
	o := c.outage
	if o.grace == 0 {
		return
	}
	for _, repo := range asked {
		key := o.key(authorization, repo)
		if !slices.Contains(given, repo) {
			if o.granted(key) {
				o.revoke(key)
			}
			continue
		}
		if at, ok := o.recent.Get(key); ok && o.now().Sub(at) < grantAgain {
			continue
		}
		o.recent.Add(key, o.now())
		if o.lasting != nil {
			o.lasting.Grant(key, o.now())
		}
	}
}

// Remembered returns those of the repos that a Harbor lately granted to the credential.
func (c *Checker) Remembered(authorization string, asked []string) (given []string) {
	for _, repo := range asked {
		if c.outage.grace > 0 && c.outage.granted(c.outage.key(authorization, repo)) {
			given = append(given, repo)
		}
	}
	return given
}

// HarborAnswers notes that some Harbor of the fleet can say who may do what.
func (c *Checker) HarborAnswers() {
	o := c.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() && o.lasting != nil {
		o.lasting.Revoke(outageRecord)
	}
	o.since = time.Time{}
}

// InGrace notes that no Harbor of the fleet answers, and reports whether that is
// so for no longer than the grace.
func (c *Checker) InGrace() bool {
	o := c.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = o.now()
		if o.lasting != nil {
			o.lasting.Grant(outageRecord, o.since)
		}
	}
	return o.now().Sub(o.since) < o.grace
}

type ownClaims struct {
	jwt.RegisteredClaims
	Access []registry.Access `json:"access"`
}

// OwnToken signs a short token for pulls of the repos, which only the fleet's
// edges accept (HS256).
func (c *Checker) OwnToken(subject string, repos []string) (raw string, lifetime time.Duration, err error) {
	now := c.cfg.Now()
	claims := ownClaims{RegisteredClaims: jwt.RegisteredClaims{
		Issuer: ownIssuer, Subject: subject, Audience: jwt.ClaimStrings{registry.HarborService},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ownTokenFor)),
	}}
	for _, repo := range repos {
		if repo != Login {
			claims.Access = append(claims.Access, registry.Access{Type: "repository", Name: repo, Actions: []string{"pull"}})
		}
	}
	raw, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(c.outage.sign)
	return raw, ownTokenFor, err
}

// verifyOwn verifies a token of an edge. ours is false for those of a Harbor.
func (c *Checker) verifyOwn(raw string) (token registry.Token, ours bool, err error) {
	var header struct {
		jwt.RegisteredClaims
	}
	parsed, _, err := jwt.NewParser().ParseUnverified(raw, &header)
	if err != nil || parsed.Method.Alg() != jwt.SigningMethodHS256.Alg() || header.Issuer != ownIssuer {
		return token, false, nil
	}
	var claims ownClaims
	_, err = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(ownIssuer), jwt.WithAudience(registry.HarborService),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(ownLeeway), jwt.WithTimeFunc(c.cfg.Now)).
		ParseWithClaims(raw, &claims, func(*jwt.Token) (any, error) { return c.outage.sign, nil })
	if err != nil {
		return token, true, fmt.Errorf("verify an edge's token: %w", err)
	}
	for _, a := range claims.Access { // never more, whoever has the key
		if slices.ContainsFunc(a.Actions, func(action string) bool { return action != "pull" }) {
			return token, true, errors.New("verify an edge's token: it grants more than pulls")
		}
	}
	return registry.Token{Subject: claims.Subject, IssuedAt: claims.IssuedAt.Time, ExpiresAt: claims.ExpiresAt.Time, Access: claims.Access}, true, nil
}

// Own reports whether the credential is an edge's own token, which no Harbor would accept.
func (c *Checker) Own(authorization string) bool {
	scheme, raw, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	_, own, _ := c.verifyOwn(strings.TrimSpace(raw))
	return own
}

// Verifies reports whether a Harbor's token is good here as it is.
func (c *Checker) Verifies(raw string) bool {
	if c.keys.Load() == nil {
		return false
	}
	_, err := c.verify(strings.TrimSpace(raw))
	return err == nil
}
