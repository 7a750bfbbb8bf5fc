package registry

import (
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// HarborService is the audience of Harbor's tokens and the service that its
// challenges name.
const HarborService = "harbor-registry"

// TokenPath is where Harbor's token service is, and the edge's.
const TokenPath = "/service/token"

// tokenLeeway is the clock difference that Harbor itself allows for exp and nbf.
const tokenLeeway = 60 * time.Second

// Access is one entry of a token's access claim (distribution's token
// specification): what may be done to one repo.
type Access struct {
	Type    string   `json:"type"` // "repository", "registry"
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// Token is a verified token: who, until when, and what for.
type Token struct {
	Subject   string // "" is anonymous
	IssuedAt  time.Time
	ExpiresAt time.Time
	Access    []Access
}

// Allows reports whether the token grants the action on exactly this repo.
// Where several scopes name one project, Harbor lets the last of them count for
// all of the project: an earlier, wider one is not to be trusted beside it. A
// client that mounts from a sibling has both repos in its token, in any order.
func (t Token) Allows(repo, action string) bool {
	project, _, _ := strings.Cut(repo, "/")
	named, last := false, false
	for _, a := range t.Access {
		if p, _, _ := strings.Cut(a.Name, "/"); a.Type != "repository" || p != project {
			continue
		}
		last = slices.Contains(a.Actions, action) || slices.Contains(a.Actions, "*")
		named = named || a.Name == repo && last
	}
	return named && last
}

// Verifier verifies tokens that a Harbor of the fleet issued. It is stricter
// than Harbor in one point: a token without exp is refused.
type Verifier struct {
	Keys []*rsa.PublicKey // a token signed by any of these is good
	Now  func() time.Time // nil: time.Now
}

type harborClaims struct {
	jwt.RegisteredClaims
	Access []Access `json:"access"`
}

// Verify checks a compact JWT: RS256 only, signed by one of the keys, aud
// harbor-registry, exp and iat present, exp and nbf within Harbor's 60 s. The
// issuer, the key id and the subject are not checked, because Harbor does not.
func (v *Verifier) Verify(raw string) (Token, error) {
	if len(raw) > maxErrorBody {
		return Token{}, errors.New("verify token: longer than any registry's")
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(HarborService),
		jwt.WithExpirationRequired(), jwt.WithLeeway(tokenLeeway),
	}
	if v.Now != nil {
		options = append(options, jwt.WithTimeFunc(v.Now))
	}
	keys := jwt.VerificationKeySet{}
	for _, k := range v.Keys {
		keys.Keys = append(keys.Keys, k)
	}
	var claims harborClaims
	_, err := jwt.NewParser(options...).ParseWithClaims(raw, &claims, func(*jwt.Token) (any, error) { return keys, nil })
	if err != nil {
		return Token{}, fmt.Errorf("verify token: %w", err)
	}
	if claims.IssuedAt == nil {
		return Token{}, errors.New("verify token: it has no iat")
	}
	return Token{Subject: claims.Subject, IssuedAt: claims.IssuedAt.Time, ExpiresAt: claims.ExpiresAt.Time, Access: claims.Access}, nil
}

// ParsePublicKeys reads every RSA public key of a PEM file: certificates, as
// Harbor mounts its own (core's tls.crt), or bare public keys.
func ParsePublicKeys(data []byte) ([]*rsa.PublicKey, error) {
	var keys []*rsa.PublicKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		key, err := jwt.ParseRSAPublicKeyFromPEM(pem.EncodeToMemory(block))
		if err != nil {
			return nil, fmt.Errorf("read a %s as an RSA public key: %w", strings.ToLower(block.Type), err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no PEM certificate or public key in it")
	}
	return keys, nil
}
