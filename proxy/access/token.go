package access

import (
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/registry"
)

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

// Verifies reports whether a Harbor's token is good here as it is.
func (c *Checker) Verifies(raw string) bool {
	if c.keys.Load() == nil {
		return false
	}
	_, err := c.verify(strings.TrimSpace(raw))
	return err == nil
}
