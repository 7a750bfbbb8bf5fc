package login_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/cmd/internal/login"
)

const (
	client = "console"
	secret = "a secret of the client's"
)

// issuer is an OpenID provider whose only user is logged in already. What it says can be
// made wrong.
type issuer struct {
	*httptest.Server
	t   *testing.T
	key *rsa.PrivateKey

	mu      sync.Mutex
	asked   map[string]url.Values // authorization requests, by code
	claims  func(jwt.MapClaims)   // changes an ID token before it is signed; nil: not
	sign    func(*jwt.Token) string
	info    map[string]any                 // of UserInfo; nil: there is none
	answers func(http.ResponseWriter) bool // to the token request, in place of a token
	leads   func(back url.Values)          // changes what the browser is led back with
}

func newIssuer(t *testing.T) *issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key, asked: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.configuration)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { t.Error("the client's secret is led elsewhere") })
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, i.info) })
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func writeJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body) //nolint:errcheck // the client is gone
}

// oidc is the provider, whose ops are let in.
func (i *issuer) oidc() *login.OIDC {
	return &login.OIDC{Name: "keycloak", Issuer: i.URL, ClientID: client, ClientSecret: secret, Scopes: []string{"profile"},
		UserClaim: "preferred_username", GroupsClaim: "groups", Groups: []string{"sre", "ops"}}
}

func (i *issuer) configuration(w http.ResponseWriter, _ *http.Request) {
	said := map[string]any{"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}}
	if i.info != nil {
		said["userinfo_endpoint"] = i.URL + "/userinfo"
	}
	writeJSON(w, said)
}

func (i *issuer) keys(w http.ResponseWriter, _ *http.Request) {
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	writeJSON(w, map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig",
		"n": number(i.key.N), "e": number(big.NewInt(int64(i.key.E)))}}})
}

func (i *issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != client || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" ||
		q.Get("scope") != "openid profile" || q.Get("nonce") == "" || q.Get("state") == "" {
		i.t.Errorf("the browser is led to the provider with %v", q)
	}
	code := rand.Text()
	i.mu.Lock()
	i.asked[code] = q
	i.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	if i.leads != nil {
		i.leads(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	id, password, _ := r.BasicAuth()
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	i.mu.Lock()
	asked, ok := i.asked[r.PostFormValue("code")]
	delete(i.asked, r.PostFormValue("code"))
	i.mu.Unlock()
	escaped := url.QueryEscape(secret)
	if !ok || id != client || password != escaped || asked.Get("redirect_uri") != r.PostFormValue("redirect_uri") ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": "invalid_grant"})
		return
	}
	if i.answers != nil && i.answers(w) {
		return
	}
	claims := jwt.MapClaims{"iss": i.URL, "sub": "4711", "aud": client, "azp": client, "nonce": asked.Get("nonce"), "preferred_username": "ada",
		"groups": []string{"staff", "ops"}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	if i.claims != nil {
		i.claims(claims)
	}
	sign := i.sign
	if sign == nil {
		sign = func(of *jwt.Token) string { return signed(i.t, of, i.key) }
	}
	of := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	of.Header["kid"] = "1"
	writeJSON(w, map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": sign(of)})
}

func signed(t *testing.T, of *jwt.Token, key any) string {
	text, err := of.SignedString(key)
	if err != nil {
		t.Error(err)
	}
	return text
}

// as is the same claims under another algorithm.
func as(method jwt.SigningMethod, of *jwt.Token) *jwt.Token {
	other := jwt.NewWithClaims(method, of.Claims)
	other.Header["kid"] = "1"
	return other
}
