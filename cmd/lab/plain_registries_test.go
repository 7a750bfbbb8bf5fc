package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/trial"
)

// The user whom plain registries know, and the hash of its password (bcrypt).
const (
	plainUser     = "ann"
	plainPassword = "Pass1word"
	plainHash     = "$2a$04$abcdefghijklmnopqrstuual3IUIaRbFOiGWKLbxXJdFwU9XbudNS"
)

// distribution is a registry of that program, with the login that auth says.
func distribution(t *testing.T, auth configuration.Auth) http.Handler {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"filesystem": {"rootdirectory": t.TempDir()}, "maintenance": {"uploadpurging": map[any]any{"enabled": false}}}, Auth: auth}
	config.HTTP.Secret = "plain"
	return handlers.NewApp(context.Background(), config)
}

func htpasswdFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(name, []byte(plainUser+":"+plainHash+"\n"), 0o644); err != nil { // nginx's workers read it too
		t.Fatal(err)
	}
	return name
}

// tokenService is one as distribution's token specification says, and the certificate of its key.
func tokenService(t *testing.T) (service http.Handler, certificate string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate = filepath.Join(t.TempDir(), "token.crt")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, given := r.BasicAuth()
		if r.Method != http.MethodGet || given && (user != plainUser || password != plainPassword) {
			http.Error(w, `{"details":"incorrect username or password"}`, http.StatusUnauthorized)
			return
		}
		access := []map[string]any{}
		for _, scope := range strings.Fields(strings.Join(r.URL.Query()["scope"], " ")) {
			if parts := strings.Split(scope, ":"); given && len(parts) == 3 {
				access = append(access, map[string]any{"type": parts[0], "name": parts[1], "actions": strings.Split(parts[2], ",")})
			}
		}
		now := time.Now()
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "tokens", "sub": user, "aud": r.URL.Query().Get("service"),
			"exp": now.Add(5 * time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "jti": "1", "access": access})
		token.Header["x5c"] = []string{base64.StdEncoding.EncodeToString(der)}
		signed, err := token.SignedString(key)
		if err != nil {
			t.Error(err)
		}
		json.NewEncoder(w).Encode(map[string]any{"token": signed}) //nolint:errcheck // the client has gone
	}), certificate
}

func tokenAuth(realm, certificate string) configuration.Auth {
	return configuration.Auth{"token": {"realm": realm, "service": "plain", "issuer": "tokens", "rootcertbundle": certificate}}
}

// nginxBefore has nginx, the program, before a registry, and returns where it listens. location
// says what it asks of whom.
func nginxBefore(t *testing.T, registry, location string) string {
	t.Helper()
	nginx, home := trial.Client(t, "nginx"), t.TempDir()
	address := trial.Free(t, "127.0.0.1")
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s/%s; ", kind, home, kind)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root; "
	}
	config := fmt.Sprintf("%sdaemon off; pid %s/pid; error_log %s/log; events {} http { access_log off; client_max_body_size 0; %s server { listen %s; location / { %s proxy_pass %s; proxy_set_header Host $http_host; } } }\n",
		user, home, home, temporary.String(), address, location, registry)
	if err := os.WriteFile(home+"/nginx.conf", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, nginx, "-p", home, "-c", home+"/nginx.conf", "-e", home+"/log")
	trial.Until(t, func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close() //nolint:errcheck // it was a question
		}
		return err
	})
	return "http://" + address
}

// asZot answers as zot does that lets everybody read what is below public/ and wants a login for
// the rest (its anonymousPolicy), before a registry that has no login.
func asZot(registry http.Handler) http.Handler {
	const challenge = `Basic realm="zot"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, given := r.BasicAuth()
		known := given && user == plainUser && password == plainPassword
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		refuse := func(status int, code string) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no","detail":{}}]}`, code) //nolint:errcheck // the client has gone
		}
		switch {
		case given && !known, !given && r.URL.Path == "/v2/" && strings.HasPrefix(r.UserAgent(), "docker/"):
			refuse(http.StatusUnauthorized, "UNAUTHORIZED")
		case r.URL.Path == "/v2/":
			w.Header().Set("WWW-Authenticate", "basic realm=zot")
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.Header().Set("Content-Type", "application/json")
		case !known && !(reads && strings.HasPrefix(r.URL.Path, "/v2/public/")):
			refuse(http.StatusUnauthorized, "UNAUTHORIZED")
		case strings.HasPrefix(r.URL.Path, "/v2/forbidden/"):
			refuse(http.StatusForbidden, "DENIED")
		default:
			registry.ServeHTTP(w, r)
		}
	})
}

// plainRegistry is one before which an edge stands.
type plainRegistry struct {
	name  string
	url   string
	reads bool // everybody may read it, also with a wrong password
	all   bool // and write
}

func serving(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func plainRegistries(t *testing.T) []plainRegistry {
	t.Helper()
	service, certificate := tokenService(t)
	elsewhere := serving(t, service)
	mux := http.NewServeMux()
	own := httptest.NewServer(mux)
	t.Cleanup(own.Close)
	mux.Handle("/v2/", distribution(t, tokenAuth(own.URL+"/v2/auth", certificate)))
	mux.Handle("/v2/auth", service)
	protected := fmt.Sprintf("auth_basic Registry; auth_basic_user_file %s;", htpasswdFile(t))
	return []plainRegistry{ // clients follow no realm to another private address, but one to a name
		{"no login", serving(t, distribution(t, nil)), true, true},
		{"htpasswd", serving(t, distribution(t, configuration.Auth{"htpasswd": {"realm": "Registry", "path": htpasswdFile(t)}})), false, false},
		{"a token service elsewhere", serving(t, distribution(t, tokenAuth(strings.Replace(elsewhere, "127.0.0.1", "localhost", 1)+"/auth", certificate))), false, false},
		{"a token service of its own", own.URL, false, false},
		{"htpasswd in nginx", nginxBefore(t, serving(t, distribution(t, nil)), protected), false, false},
		{"nginx lets everybody read", nginxBefore(t, serving(t, distribution(t, nil)), "limit_except GET HEAD { "+protected+" }"), true, false},
		{"zot's anonymous policy", serving(t, asZot(distribution(t, nil))), false, false},
	}
}
