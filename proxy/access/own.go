package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/registry"
)

const (
	ownTokenFor = 5 * time.Minute
	ownIssuer   = "breakwater-edge"
	ownLeeway   = 30 * time.Second // how far the edges' clocks may differ
)

// ownClaims are the claims of an edge's own token.
type ownClaims struct {
	jwt.RegisteredClaims
	Access []registry.Access `json:"access"`
}

// OwnToken signs a token that grants pulls from the repos for ownTokenFor (HS256, by the key
// that kid names). Only the fleet's edges accept it.
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
	key, token := c.outage.keys.For(keyring.Tokens)[0], jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"] = key.ID
	raw, err = token.SignedString(key.Secret)
	return raw, ownTokenFor, err
}

// verifyOwn verifies an edge's own token. ours is false for a Harbor's token.
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
		ParseWithClaims(raw, &claims, c.ownKey)
	if err != nil {
		return token, true, fmt.Errorf("verify an edge's token: %w", err)
	}
	for _, a := range claims.Access { // an edge never signs more, so someone else has the key
		if slices.ContainsFunc(a.Actions, func(action string) bool { return action != "pull" }) {
			return token, true, errors.New("verify an edge's token: it grants more than pulls")
		}
	}
	return registry.Token{Subject: claims.Subject, IssuedAt: claims.IssuedAt.Time, ExpiresAt: claims.ExpiresAt.Time, Access: claims.Access}, true, nil
}

// ownKey returns the key that an edge's own token names.
func (c *Checker) ownKey(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	key, ok := c.outage.keys.Find(keyring.Tokens, id)
	if !ok {
		return nil, errors.New("it is signed by none of the keys that this edge has")
	}
	return key.Secret, nil
}

// Own reports whether the credential is an edge's own token, by its issuer and algorithm. It
// may be invalid. No Harbor accepts one.
func (c *Checker) Own(authorization string) bool {
	scheme, raw, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	_, own, _ := c.verifyOwn(strings.TrimSpace(raw))
	return own
}
