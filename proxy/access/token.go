package access

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/registry"
)

// Knows returns the user whose token it is. ok is false where the token cannot be verified
// here, or is an anonymous one. A login with a token that Knows needs no Harbor.
func (c *Checker) Knows(authorization string) (who string, ok bool) {
	scheme, raw, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	token, err := c.verify(strings.TrimSpace(raw))
	return token.Subject, err == nil && token.Subject != ""
}

// Refuses reports whether a token is known not to permit what the query asks for. It is
// false for one that only Harbor can verify, and for other credentials. A plain registry is
// asked.
func (c *Checker) Refuses(ctx context.Context, q Query) bool {
	if c.KnownPlain() {
		var e *registry.Error
		_, err := c.Allow(ctx, q)
		return errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
	}
	scheme, raw, _ := strings.Cut(q.Authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	token, err := c.verify(strings.TrimSpace(raw))
	if err != nil {
		return !errors.Is(err, errNotOurs)
	}
	return !c.permits(ctx, token, q)
}

// verified is a token that was verified.
type verified struct {
	registry.Token
	first time.Time // when it was first shown here; zero: of an edge's own, which no Harbor has given
}

// remembered is what is remembered of a token that is so long: of a longer one than
// maxToken when it was first shown, and no more.
func (v verified) remembered(length int) verified {
	if length > maxToken {
		v.Token = registry.Token{}
	}
	return v
}

// permits reports whether a token permits what the query asks for.
func (c *Checker) permits(ctx context.Context, token verified, q Query) bool {
	return slices.ContainsFunc(q.Repos, func(repo string) bool {
		return token.Allows(repo, q.Action) && (token.Subject != "" || !c.isPrivate(repo)) && c.isOfProject(ctx, token, repo)
	})
}

// Proven returns whose credentials a Harbor has accepted for a repo, or "" where it may have
// taken them for nobody's: everybody may read a public project, whatever they show. wrote
// says that the request was no read.
func (c *Checker) Proven(ctx context.Context, authorization, repo string, wrote bool) string {
	if scheme, raw, _ := strings.Cut(authorization, " "); strings.EqualFold(scheme, "Bearer") {
		if token, err := c.verify(strings.TrimSpace(raw)); err == nil {
			return token.Subject
		}
	}
	if authorization == "" || !wrote && !c.lookAfter(ctx, repo, time.Time{}, projectWait).private {
		return ""
	}
	return Claimed(authorization)
}

// Claimed returns the user that a credential names: the user of a Basic one, the subject of
// a token. It verifies nothing: the name is true only where the credential was accepted.
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

// errNotOurs says that a token is Harbor's and there are no certificates to verify it.
// Then the local Harbor has to be asked.
var errNotOurs = errors.New("only Harbor can verify the token")

// verify verifies a token. A token that was verified before is valid until it expires.
func (c *Checker) verify(raw string) (verified, error) {
	key := c.inMemory(raw)
	known, _ := c.tokens.Get(key)
	if c.cfg.Now().Before(known.ExpiresAt) {
		return known, nil
	}
	issued, own, err := c.verifyOwn(raw)
	token, verifier := verified{Token: issued}, c.keys.Load()
	switch {
	case own:
	case verifier == nil:
		return token, errNotOurs
	default:
		if token.first = known.first; token.first.IsZero() {
			token.first = c.cfg.Now()
		}
		token.Token, err = verifier.Verify(raw)
	}
	if err == nil && !own { // an edge's own is verified quickly, and its key may go
		c.tokens.Add(key, token.remembered(len(raw)))
	}
	if c.keys.Load() != verifier { // UseKeys was called meanwhile, and these keys may no longer count
		c.tokens.Remove(key)
	}
	return token, err
}

// UseKeys replaces the Verifier's keys. Every token is verified again by the new keys, or
// without any is shown to the local Harbor.
func (c *Checker) UseKeys(keys []*rsa.PublicKey) {
	next := &registry.Verifier{Keys: keys}
	if before := c.keys.Load(); before != nil {
		next.Now = before.Now
	}
	if len(keys) == 0 {
		next = nil
	}
	c.keys.Store(next)
	c.tokens.Purge()
}

// lifetime returns how long a bearer token says that it is still valid. That is not
// verified. It only shortens the time for which Harbor's yes is remembered, so a false
// one gains nothing.
func lifetime(authorization string, now time.Time) time.Duration {
	_, raw, _ := strings.Cut(authorization, " ")
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &claims); err != nil || claims.ExpiresAt == nil {
		return rememberFor
	}
	return claims.ExpiresAt.Sub(now)
}

// Verifies reports whether a Harbor's token can be verified here. Then a client needs no
// other token.
func (c *Checker) Verifies(raw string) bool {
	if c.keys.Load() == nil {
		return false
	}
	_, err := c.verify(strings.TrimSpace(raw))
	return err == nil
}
