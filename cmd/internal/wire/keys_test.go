package wire

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/registry"
)

// signingKeys are keys of Harbor's, and the files that their certificates would be.
func signingKeys(t *testing.T) (keys [2]*rsa.PrivateKey, files [2][]byte) {
	t.Helper()
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&keys[i].PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	return keys, files
}

// Harbor's signing key is changed: its certificate's file is replaced, and no edge restarted.
func TestTokenCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token.crt")
	write := func(data []byte) {
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	keys, files := signingKeys(t)
	write(files[0])
	f, err := fleet.Load("fleet.yaml", fmt.Appendf(nil, `
domain: harbor.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1" } }
harbor: { token_certificates: ["file:%s"] }
edge: { plain_http: true, listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", store: { path: %q } }
`, path, dir+"/store"))
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	e := run(t, EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&log, nil)), Level: new(slog.LevelVar)})
	tokens := [2]string{}
	for i, key := range keys {
		claims := jwt.RegisteredClaims{Audience: jwt.ClaimStrings{registry.HarborService}, IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}
		if tokens[i], err = jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name string
		file []byte
		good [2]bool
	}{
		{"at the start", nil, [2]bool{true, false}},
		{"both", append(append([]byte{}, files[0]...), files[1]...), [2]bool{true, true}},
		{"the new one alone", files[1], [2]bool{false, true}},
		{"a broken file", []byte("-----BEGIN"), [2]bool{false, true}},
		{"mended", files[0], [2]bool{true, false}},
	} {
		if step.file != nil {
			write(step.file)
			reload(t, &log)
		}
		for range 2 { // what was verified once is remembered
			if got := [2]bool{e.access.Verifies(tokens[0]), e.access.Verifies(tokens[1])}; got != step.good {
				t.Errorf("%s: %v, want %v", step.name, got, step.good)
			}
		}
	}
}
