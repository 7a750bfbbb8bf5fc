package registry

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestVerify(t *testing.T) {
	key, other := newKey(t), newKey(t)
	now := time.Now()
	pem := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&key.PublicKey))})
	base := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"iss": "harbor-token-issuer", "sub": "robot$x", "aud": "harbor-registry",
			"exp": now.Add(30 * time.Minute).Unix(), "nbf": now.Unix(), "iat": now.Unix(),
			"access": []Access{{"repository", "priv/app", []string{"pull", "push"}}}}
		if change != nil {
			change(c)
		}
		return c
	}
	set := func(k string, v any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[k] = v } }
	del := func(k string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, k) } }
	for _, c := range []struct {
		name   string
		claims jwt.MapClaims
		method jwt.SigningMethod
		key    any
		good   bool
	}{
		{"Harbor's own", base(nil), jwt.SigningMethodRS256, key, true},
		{"another issuer", base(set("iss", "other")), jwt.SigningMethodRS256, key, true},
		{"several audiences", base(set("aud", []string{"a", "harbor-registry"})), jwt.SigningMethodRS256, key, true},
		{"expired within the leeway", base(set("exp", now.Add(-30*time.Second).Unix())), jwt.SigningMethodRS256, key, true},
		{"not yet valid within the leeway", base(set("nbf", now.Add(30*time.Second).Unix())), jwt.SigningMethodRS256, key, true},
		{"another audience", base(set("aud", "other")), jwt.SigningMethodRS256, key, false},
		{"expired", base(set("exp", now.Add(-2*time.Minute).Unix())), jwt.SigningMethodRS256, key, false},
		{"not yet valid", base(set("nbf", now.Add(2*time.Minute).Unix())), jwt.SigningMethodRS256, key, false},
		{"no exp, which Harbor accepts", base(del("exp")), jwt.SigningMethodRS256, key, false},
		{"no iat", base(del("iat")), jwt.SigningMethodRS256, key, false},
		{"another key", base(nil), jwt.SigningMethodRS256, other, false},
		{"RS512", base(nil), jwt.SigningMethodRS512, key, false},
		{"none", base(nil), jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, false},
		{"HS256 with the public key as secret", base(nil), jwt.SigningMethodHS256, pem, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := jwt.NewWithClaims(c.method, c.claims).SignedString(c.key)
			if err != nil {
				t.Fatal(err)
			}
			v := Verifier{Keys: must(ParsePublicKeys(pem))}
			tok, err := v.Verify(raw)
			if (err == nil) != c.good {
				t.Errorf("%+v, %v", tok, err)
			}
			if c.good && (tok.Subject != "robot$x" || !tok.Allows("priv/app", "push")) {
				t.Errorf("%+v", tok)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTokenAllows(t *testing.T) {
	pull := func(name string, actions ...string) Access { return Access{"repository", name, actions} }
	for _, c := range []struct {
		name         string
		access       []Access
		repo, action string
		want         bool
	}{
		{"the repo", []Access{pull("p/a", "pull")}, "p/a", "pull", true},
		{"every action", []Access{pull("p/a", "*")}, "p/a", "delete", true},
		{"another action", []Access{pull("p/a", "pull")}, "p/a", "push", false},
		{"another repo of the project", []Access{pull("p/a", "pull")}, "p/b", "pull", false},
		{"a longer repo", []Access{pull("p/a", "pull")}, "p/a/b", "pull", false},
		{"two projects", []Access{pull("p/a", "pull"), pull("q/a", "pull")}, "p/a", "pull", true},
		{"two scopes of a project: the last counts", []Access{pull("p/a", "pull"), pull("p/a")}, "p/a", "pull", false},
		{"two repos of a project, as a mount needs them", []Access{pull("p/a", "pull", "push"), pull("p/b", "pull")}, "p/a", "pull", true},
		{"two repos of a project: the last counts for both", []Access{pull("p/a", "pull", "push"), pull("p/b", "pull")}, "p/a", "push", false},
		{"two repos of a project: the last is no key to the first", []Access{pull("p/a"), pull("p/b", "pull")}, "p/a", "pull", false},
		{"another type", []Access{{"registry", "p/a", []string{"pull"}}}, "p/a", "pull", false},
		{"nothing", nil, "p/a", "pull", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (Token{Access: c.access}).Allows(c.repo, c.action); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("a.b.c")
	v := Verifier{Keys: []*rsa.PublicKey{&key.PublicKey}}
	f.Fuzz(func(t *testing.T, raw string) {
		if tok, err := v.Verify(raw); err == nil {
			t.Errorf("verified %q as %+v", raw, tok)
		}
	})
}

// A verifier goes by the clock that it is given.
func TestVerifyGoesByItsClock(t *testing.T) {
	key := newKey(t)
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	claims := jwt.MapClaims{"aud": "harbor-registry", "exp": at.Add(time.Minute).Unix(), "iat": at.Unix()}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	v := Verifier{Keys: []*rsa.PublicKey{&key.PublicKey}}
	if _, err := v.Verify(raw); err == nil {
		t.Error("it is good years later")
	}
	for after, good := range map[time.Duration]bool{0: true, time.Minute + 59*time.Second: true, 2*time.Minute + time.Second: false} {
		v.Now = func() time.Time { return at.Add(after) }
		tok, err := v.Verify(raw)
		if (err == nil) != good || good && (!tok.IssuedAt.Equal(at) || !tok.ExpiresAt.Equal(at.Add(time.Minute))) {
			t.Errorf("after %v: %+v, %v", after, tok, err)
		}
	}
	long := make([]byte, 64<<10+1)
	if _, err := v.Verify(string(long)); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("%v", err)
	}
}

// Every key of a file is read; what is none is told.
func TestParsePublicKeys(t *testing.T) {
	one, two := newKey(t), newKey(t)
	block := func(key *rsa.PrivateKey) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&key.PublicKey))})
	}
	if keys, err := ParsePublicKeys(append(block(one), block(two)...)); err != nil || len(keys) != 2 || !keys[0].Equal(&one.PublicKey) || !keys[1].Equal(&two.PublicKey) {
		t.Errorf("%v, %v", keys, err)
	}
	for name, data := range map[string][]byte{"nothing": nil, "no PEM": []byte("x"), "another thing": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})} {
		if keys, err := ParsePublicKeys(data); err == nil {
			t.Errorf("%s: %v", name, keys)
		}
	}
}
