package peer

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tokenFor   = time.Minute
	tokenRenew = 20 * time.Second // before a token ends
	leeway     = 10 * time.Minute // of the edges' clocks: one that is wrong is to hear of pushes all the same
	issuer     = "breakwater-edge"
)

// Key signs and verifies what edges say to each other: short tokens (JWT, HS256)
// that name who asks and who is asked. The key itself never leaves the edge. A nil
// Key verifies nothing.
type Key struct {
	key        []byte
	datacenter string
	now        func() time.Time
}

// NewKey derives the key of one datacenter's edge from the fleet's secret. It is
// nil where there is no secret.
func NewKey(secret, datacenter string, now func() time.Time) *Key {
	if secret == "" {
		return nil
	}
	sum := sha256.Sum256([]byte("breakwater peers\x00" + secret))
	return &Key{sum[:], datacenter, now}
}

// sign makes a token for one peer.
func (k *Key) sign(peer string) (string, error) {
	now := k.now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Issuer: issuer, Subject: k.datacenter, Audience: jwt.ClaimStrings{peer},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(tokenFor)),
	}).SignedString(k.key)
}

// Verify returns the datacenter of the edge whose token the Authorization header
// shows. The token must be for this edge, and not by it.
func (k *Key) Verify(authorization string) (datacenter string, ok bool) {
	scheme, raw, _ := strings.Cut(authorization, " ")
	if k == nil || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithAudience(k.datacenter),
		jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(k.now)).
		ParseWithClaims(strings.TrimSpace(raw), &claims, func(*jwt.Token) (any, error) { return k.key, nil })
	return claims.Subject, err == nil && claims.Subject != "" && claims.Subject != k.datacenter
}

// Tokens returns a function that gives the token to show to a peer. It makes a new
// one before the last ends. A nil Key gives none.
func (k *Key) Tokens(peer string) func() (string, error) {
	if k == nil {
		return nil
	}
	var mu sync.Mutex
	var token string
	var until time.Time
	return func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := k.now(); !now.Before(until) {
			var err error
			if token, err = k.sign(peer); err != nil {
				return "", err
			}
			until = now.Add(tokenFor - tokenRenew)
		}
		return token, nil
	}
}
