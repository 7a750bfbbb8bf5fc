package lab

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func sign(t *testing.T, key *rsa.PrivateKey, c map[string]any) string {
	t.Helper()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(c)).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func keys(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return "none"
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	m, _ := v.(map[string]any)
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}

// compareToken compares two answers of the token service: their fields, and
// what the tokens say.
func compareToken(t *testing.T, recorded, content string) {
	t.Helper()
	_, decoded, ok := strings.Cut(recorded, "decoded claims: ")
	var want, have claimsView
	if ok {
		if err := json.Unmarshal([]byte(strings.TrimSpace(decoded)), &want); err != nil {
			t.Fatal(err)
		}
	}
	first, _, _ := strings.Cut(recorded, "\n")
	if keys(first) != keys(content) {
		t.Errorf("fields %s, Harbor's %s", keys(content), keys(first))
	}
	var body struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(content), &body); err != nil || body.AccessToken != "" || body.ExpiresIn != 1800 {
		t.Errorf("%v in %s", err, content)
	}
	parts := strings.Split(body.Token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &have); err != nil {
		t.Fatal(err)
	}
	if a, b := have.comparable(), want.comparable(); a != b {
		t.Errorf("claims %s, Harbor's %s", a, b)
	}
}

type claimsView struct {
	Iss, Sub, Aud, Jti string
	Exp, Nbf, Iat      int64
	Access             []access
}

func (c claimsView) comparable() string {
	for _, a := range c.Access {
		slices.Sort(a.Actions)
	}
	return fmt.Sprint(c.Iss, c.Sub, c.Aud, len(c.Jti), c.Exp-c.Iat, c.Nbf-c.Iat, c.Access, c.Access == nil)
}

// TestMintedTokens is the recorded table of tokens made with Harbor's own key.
func TestMintedTokens(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(recordings, "minted-token-matrix.txt"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	both := []access{{"repository", "priv/app", []string{"pull"}}, {"repository", "priv/x", []string{}}}
	changes := map[string]map[string]any{
		"proper, no kid": {}, "wrong kid": {}, "iss=other": {"iss": "other"}, "no iss": {"iss": nil}, "aud=other": {"aud": "other"},
		"aud=[a,harbor-registry]": {"aud": []string{"a", "harbor-registry"}}, "no iat": {"iat": nil}, "iat 1h before project created": {"iat": now - 3*3600},
		"expired 30s ago": {"exp": now - 30}, "expired 120s ago": {"exp": now - 120}, "no exp": {"exp": nil}, "nbf 30s in future": {"nbf": now + 30},
		"nbf 120s in future": {"nbf": now + 120}, "sub unknown user, actions *": {"sub": "nobody", "access": []access{{"repository", "priv/app", []string{"*"}}}},
		"2 scopes same project pull then []": {"access": both}, "signed with dc2 key": {},
	}
	f := newFixture(t, "minted")
	host := f.host(t, "127.0.0.1:18081")
	rec := parseRecordings(t, "", "$ curl -i http://127.0.0.1:18081/v2/priv/app/manifests/v2\nHTTP/1.1 200 OK\n")[0]
	seen := 0
	for _, line := range strings.Split(string(text), "\n") {
		name, answer, ok := strings.Cut(line, ": ")
		change, known := changes[name]
		if !ok || !known {
			if answer = strings.TrimSpace(answer); strings.HasPrefix(answer, "200 {") || strings.HasPrefix(answer, "401 {") {
				t.Errorf("the case %q is not replayed", name)
			}
			continue
		}
		seen++
		c := map[string]any{"iss": "harbor-token-issuer", "sub": "admin", "aud": tokenService, "exp": now + 1800, "nbf": now, "iat": now, "access": both[:1]}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		key := f.key
		if name == "signed with dc2 key" {
			if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
				t.Fatal(err)
			}
		}
		rec.header.Set("Authorization", "Bearer "+sign(t, key, c))
		got, _ := f.do(t, rec, host)
		if want := strings.TrimSpace(answer)[:3]; fmt.Sprint(got.StatusCode) != want {
			t.Errorf("%s: %d, Harbor's %s", name, got.StatusCode, want)
		}
	}
	if seen != len(changes) {
		t.Errorf("%d of %d cases are in the recording", seen, len(changes))
	}
}
