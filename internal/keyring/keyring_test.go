package keyring_test

import (
	"bytes"
	"strings"
	"testing"

	"example.org/breakwater/internal/keyring"
)

var first, second = strings.Repeat("first-", 6), strings.Repeat("second-", 5)

func ring(t *testing.T, secret, previous string) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(secret, previous)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAShortSecretIsRefusedAndNotShown(t *testing.T) {
	for _, c := range [][2]string{{"x", ""}, {strings.Repeat("k", 31), ""}, {first, "short-secret"}, {"", first}} {
		_, err := keyring.New(c[0], c[1])
		if err == nil {
			t.Errorf("%d and %d bytes are taken", len(c[0]), len(c[1]))
			continue
		}
		if !strings.Contains(err.Error(), "openssl rand -base64 32") {
			t.Errorf("the refusal does not say how to make one: %v", err)
		}
		if strings.Contains(err.Error(), "short-secret") || strings.Contains(err.Error(), first) {
			t.Errorf("the refusal shows a secret: %v", err)
		}
	}
	if r, err := keyring.New("", ""); r != nil || err != nil || r.For(keyring.Peers) != nil {
		t.Errorf("no secret: %v, %v; want no ring, and no keys", r, err)
	}
}

// A key of one purpose must not be good for another, and neither key nor ID may tell of
// the secret or of each other.
func TestEachPurposeHasItsOwnKey(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range []keyring.Purpose{keyring.Peers, keyring.Tokens, keyring.Grants, keyring.Webhooks, keyring.Preheat, keyring.Cookies, keyring.Operators} {
		for _, k := range ring(t, first, second).For(p) {
			if len(k.Secret) != 32 || len(k.ID) != 8 || seen[k.ID] || seen[string(k.Secret)] || bytes.Contains(k.Secret, []byte(first)) {
				t.Errorf("%s: a key of %d bytes with the ID %q, or one that is another's too", p, len(k.Secret), k.ID)
			}
			seen[k.ID], seen[string(k.Secret)] = true, true
		}
	}
	if len(seen) != 28 {
		t.Errorf("%d keys and IDs; want 28", len(seen))
	}
}

// While a secret is replaced, whoever has both finds the key of whoever has one of them.
func TestTwoSecretsAtATime(t *testing.T) {
	old, both, next := ring(t, first, ""), ring(t, second, first), ring(t, second, "")
	for _, other := range []*keyring.Ring{old, next} {
		mine := other.For(keyring.Peers)[0]
		if k, ok := both.Find(keyring.Peers, mine.ID); !ok || !bytes.Equal(k.Secret, mine.Secret) {
			t.Errorf("who has both secrets does not find the key %s", mine.ID)
		}
	}
	if both.For(keyring.Peers)[0].ID != next.For(keyring.Peers)[0].ID {
		t.Error("the key to sign with is not the new secret's")
	}
	if _, ok := next.Find(keyring.Peers, old.For(keyring.Peers)[0].ID); ok {
		t.Error("the old secret is good when it is gone")
	}
	if n := len(ring(t, first, first).For(keyring.Peers)); n != 1 {
		t.Errorf("the same secret twice gives %d keys; want one", n)
	}
}

func TestASecretThatCannotBeUsedChangesNothing(t *testing.T) {
	r := ring(t, first, "")
	before := r.For(keyring.Tokens)[0].ID
	if err := r.Use("short", ""); err == nil || r.For(keyring.Tokens)[0].ID != before {
		t.Errorf("err %v, key %s; want a refusal, and %s", err, r.For(keyring.Tokens)[0].ID, before)
	}
	if err := r.Use(second, ""); err != nil || r.For(keyring.Tokens)[0].ID == before {
		t.Errorf("err %v: a good secret is not taken", err)
	}
}

// A ring that others hold takes what was looked up again.
func TestTakingAnothersKeys(t *testing.T) {
	r, other := ring(t, first, ""), ring(t, second, first)
	r.Take(other)
	if got, want := r.For(keyring.Operators), other.For(keyring.Operators); len(got) != 2 || got[0].ID != want[0].ID {
		t.Errorf("%v; want %v", got, want)
	}
	r.Take(nil)
	if got := r.For(keyring.Operators); got != nil {
		t.Errorf("%v are left", got)
	}
}
