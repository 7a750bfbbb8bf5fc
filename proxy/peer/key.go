package peer

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/keyring"
)

const (
	tokenFor   = time.Minute
	tokenRenew = 20 * time.Second // before a token ends
	leeway     = 10 * time.Minute // of the edges' clocks: one that is wrong is to hear of pushes all the same
	issuer     = "breakwater-edge"
)

// Key signs and verifies what edges say to each other: short tokens (JWT, HS256)
// that name who asks and who is asked, and by which of the fleet's keys (kid). The keys
// themselves never leave the edge. A nil Key verifies nothing.
type Key struct {
	ring       *keyring.Ring
	datacenter string
	now        func() time.Time
}

// shownIn are the headers in which tokens are shown: by the key in use, and by the one of
// before.
var shownIn = []string{"Authorization", PreviousHeader}

// NewKey returns the key of one datacenter's edge. It is nil where there is no ring.
func NewKey(ring *keyring.Ring, datacenter string, now func() time.Time) *Key {
	if ring == nil {
		return nil
	}
	return &Key{ring, datacenter, now}
}

// IDs are those of the keys by which the edge knows its peers.
func (k *Key) IDs() (ids []string) {
	if k == nil {
		return nil
	}
	for _, key := range k.ring.For(keyring.Peers) {
		ids = append(ids, key.ID)
	}
	return ids
}

// sign makes a token for one peer.
func (k *Key) sign(key keyring.Key, peer string) (string, error) {
	now := k.now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Issuer: issuer, Subject: k.datacenter, Audience: jwt.ClaimStrings{peer},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(tokenFor)),
	})
	token.Header["kid"] = key.ID
	return token.SignedString(key.Secret)
}

var errUnknownKey = errors.New("it is signed by none of the keys that this edge has")

// find returns the key that a token names. The token's signature is verified with it.
func (k *Key) find(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	key, ok := k.ring.Find(keyring.Peers, id)
	if !ok {
		return nil, errUnknownKey
	}
	return key.Secret, nil
}

// Verify returns the datacenter of the edge whose tokens a request shows: one of them is
// good. A token must be for this edge, and not by it.
func (k *Key) Verify(h http.Header) (datacenter string, refusal *Refusal) {
	why := &Refusal{RefusedKey, "no token is shown"}
	for _, header := range shownIn {
		datacenter, refusal = k.verify(h.Get(header))
		if refusal == nil {
			return datacenter, nil
		}
		if h.Get(header) != "" && (why.Kind == RefusedKey || refusal.Kind != RefusedKey) { // what is wrong with a token by our key says more
			why = refusal
		}
	}
	return "", why
}

func (k *Key) verify(authorization string) (datacenter string, refusal *Refusal) {
	scheme, raw, _ := strings.Cut(authorization, " ")
	if k == nil || !strings.EqualFold(scheme, "Bearer") {
		return "", &Refusal{RefusedKey, "no token is shown"}
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithAudience(k.datacenter),
		jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(k.now)).
		ParseWithClaims(strings.TrimSpace(raw), &claims, k.find)
	switch { // the claims are looked at only when the signature is good
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return "", &Refusal{RefusedDatacenter, "the token is for the edge of another datacenter"}
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return "", &Refusal{RefusedClock, "the token has ended, by the clock here"}
	case err != nil:
		return "", &Refusal{RefusedKey, "the token is by none of the keys here"}
	case claims.Subject == "" || claims.Subject == k.datacenter:
		return "", &Refusal{RefusedDatacenter, "the token is by an edge of this datacenter"}
	}
	return claims.Subject, nil
}

// Shows returns a function that adds to a request to a peer what shows who asks: a token by
// each of the fleet's keys. It makes new ones before the last end, and when the keys change.
// It is nil for a nil Key.
func (k *Key) Shows(peer string) func(http.Header) error {
	if k == nil {
		return nil
	}
	var mu sync.Mutex
	var ids, tokens []string
	var until time.Time
	return func(h http.Header) error {
		mu.Lock()
		defer mu.Unlock()
		if now := k.now(); !now.Before(until) || !slices.Equal(ids, k.IDs()) {
			ids, tokens = nil, nil
			for _, key := range k.ring.For(keyring.Peers) {
				token, err := k.sign(key, peer)
				if err != nil {
					return err
				}
				ids, tokens = append(ids, key.ID), append(tokens, token)
			}
			until = now.Add(tokenFor - tokenRenew)
		}
		for i, header := range shownIn {
			h.Del(header)
			if i < len(tokens) {
				h.Set(header, "Bearer "+tokens[i])
			}
		}
		return nil
	}
}
