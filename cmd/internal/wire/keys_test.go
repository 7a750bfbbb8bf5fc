package wire

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/proxy/access"
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
	path := filepath.Join(t.TempDir(), "token.crt")
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
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		cfg := EdgeConfig{Fleet: &fleet.Fleet{}, Log: slog.New(slog.DiscardHandler)}
		cfg.Fleet.Harbor.TokenCertificates = []fleet.Ref{{Scheme: "file", Path: path}}
		verifier, err := newVerifier(cfg.Fleet.Harbor.TokenCertificates)
		if err != nil {
			t.Fatal(err)
		}
		checker, err := access.New(access.Config{Verifier: verifier})
		if err != nil {
			t.Fatal(err)
		}
		watchKeys(ctx, cfg, checker)
		synctest.Wait()
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
				time.Sleep(11 * time.Second)
				synctest.Wait()
			}
			for range 2 { // what was verified once is remembered
				if got := [2]bool{checker.Verifies(tokens[0]), checker.Verifies(tokens[1])}; got != step.good {
					t.Errorf("%s: %v, want %v", step.name, got, step.good)
				}
			}
		}
	})
}
