package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/trial"
)

func TestFilesAndTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	s, err := New(new(fleet.Fleet))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"good": "Hunter2Hunter2\n", "empty": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("BREAKWATER_TEST_SECRET", "from the environment")
	for _, c := range []struct {
		ref        fleet.Ref
		want, says string
	}{
		{fleet.Ref{}, "", ""},
		{fleet.Ref{Scheme: "file", Path: filepath.Join(dir, "good")}, "Hunter2Hunter2", ""},
		{fleet.Ref{Scheme: "env", Path: "BREAKWATER_TEST_SECRET"}, "from the environment", ""},
		{fleet.Ref{Scheme: "file", Path: filepath.Join(dir, "empty")}, "", "is empty"},
		{fleet.Ref{Scheme: "file", Path: filepath.Join(dir, "none")}, "", "no such file"},
		{fleet.Ref{Scheme: "env", Path: "BREAKWATER_TEST_UNSET"}, "", "no such variable"},
		{fleet.Ref{Scheme: "vault", Path: "a", Key: "b"}, "", "secrets.vault.address"},
	} {
		got, err := s.Get(t.Context(), c.ref)
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %q, %v", c.ref, got, err)
		}
	}
}

// Edges and Harbors derive it apart from each other: it may not change. The first value is
// what "openssl kdf HKDF" and "openssl dgst -sha256 -hmac" make of the same secret.
func TestWebhookSecretsAreOfOneProject(t *testing.T) {
	of := func(secret string) keyring.Key { return trial.Keys(secret, "").For(keyring.Webhooks)[0] }
	k, other := of("a peer key, as long as it has to be"), of("A peer key, as long as it has to be")
	if got := Webhook(k, "par1", "multi-dc-app"); got != "52839db592fceaec7740debfca0f7864de42997992da5dc3262b9d123343b41e" {
		t.Errorf("%s", got)
	}
	seen := map[string]bool{}
	for _, s := range []string{Webhook(k, "par1", "multi-dc-app"), Webhook(other, "par1", "multi-dc-app"), Webhook(k, "mad1", "multi-dc-app"), Webhook(k, "par1", "multi-dc-ap"), Webhook(k, "par", "1multi-dc-app")} {
		if seen[s] || len(s) != 64 {
			t.Errorf("%s is good for two", s)
		}
		seen[s] = true
	}
}
