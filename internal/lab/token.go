package lab

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tokenService  = "harbor-registry"
	tokenLifetime = 30 * time.Minute
	leeway        = time.Minute
)

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

type claims struct {
	jwt.RegisteredClaims
	Audience string   `json:"aud"`
	Access   []access `json:"access"`
}

// keyID is the key's name as libtrust writes it: the hash of the public key, in
// groups of four.
func keyID(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	hash := sha256.Sum256(der)
	s := strings.TrimRight(base32.StdEncoding.EncodeToString(hash[:30]), "=")
	var groups []string
	for group := range slices.Chunk([]byte(s), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, ":")
}

func (h *Harbor) mint(subject string, granted []access) (string, error) {
	now := time.Now().UTC().Truncate(time.Second)
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: "harbor-token-issuer", Subject: subject, ID: randomHex(8),
			ExpiresAt: jwt.NewNumericDate(now.Add(tokenLifetime)), NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now),
		},
		Audience: tokenService, Access: granted,
	})
	t.Header["kid"] = keyID(h.cfg.Key.Public())
	return t.SignedString(h.cfg.Key)
}

// serveToken is /service/token, with Harbor's surprises: a wrong password with
// a scope is an anonymous token, and so is every password while the database is down.
func (h *Harbor) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	query := r.URL.Query()
	if service := query.Get("service"); service != tokenService {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "Unable to handle service: %s", service)
		return
	}
	who := identity{}
	dbDown := h.faults.component(r, "db-down")
	if !dbDown {
		if who, _ = h.identify(r); who.token {
			who = identity{}
		}
	}
	scopes := strings.Fields(strings.Join(query["scope"], " "))
	if len(scopes) == 0 && who.name == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var granted []access
	for _, scope := range scopes {
		if a, ok := parseScope(scope); ok {
			a.Actions = []string{}
			switch {
			case a.Type == "registry" && who.admin:
				a.Actions = []string{"*"}
			case a.Type == "repository" && !dbDown:
				a.Actions = h.db.actions(who, a.Name)
			}
			granted = append(granted, a)
		}
	}
	raw, err := h.mint(who.name, granted)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, coreJSON, map[string]any{
		"token": raw, "access_token": "", "expires_in": int(tokenLifetime.Seconds()), "issued_at": time.Now().UTC().Format(time.RFC3339),
	})
}

func parseScope(s string) (access, bool) {
	kind, rest, ok := strings.Cut(s, ":")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 {
		return access{}, false
	}
	return access{Type: kind, Name: rest[:i]}, true
}

// bearer verifies a token as loosely as Harbor does: no exp is as good as one,
// the issuer, the key's name and the subject do not matter, a scope counts for
// its whole project, and of two scopes of one project the last.
func (h *Harbor) bearer(raw string) (identity, bool) {
	options := []jwt.ParserOption{jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(tokenService), jwt.WithLeeway(leeway)}
	var c struct {
		jwt.RegisteredClaims
		Access []access `json:"access"`
	}
	_, err := jwt.NewParser(options...).ParseWithClaims(raw, &c, func(*jwt.Token) (any, error) { return &h.cfg.Key.PublicKey, nil })
	if err != nil || c.IssuedAt == nil {
		return identity{}, false
	}
	who := identity{name: c.Subject, token: true, issued: c.IssuedAt.Time, granted: map[string][]string{}}
	for _, a := range c.Access {
		if project, _, ok := strings.Cut(a.Name, "/"); ok && a.Type == "repository" {
			who.granted[project] = a.Actions
		}
	}
	return who, true
}
