package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
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

// Edges and Harbors derive it apart from each other: it may not change. The first value
// is what "openssl dgst -sha256 -hmac" says of the same message.
func TestWebhookSecretsAreOfOneProject(t *testing.T) {
	if got := Webhook("peer-key", "par1", "multi-dc-app"); got != "4043317424da4c06c52f25a56e210929dd8cd918dcced8156692d549b19d93c7" {
		t.Errorf("%s", got)
	}
	seen := map[string]bool{}
	for _, s := range []string{Webhook("k", "par1", "multi-dc-app"), Webhook("K", "par1", "multi-dc-app"), Webhook("k", "mad1", "multi-dc-app"), Webhook("k", "par1", "multi-dc-ap"), Webhook("k", "par", "1multi-dc-app")} {
		if seen[s] || len(s) != 64 {
			t.Errorf("%s is good for two", s)
		}
		seen[s] = true
	}
}
