package access

import (
	"strings"
	"testing"
)

// BenchmarkTokenKey is by what a token of an ordinary length is found that was verified before.
func BenchmarkTokenKey(b *testing.B) {
	c, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	token := strings.Repeat("token", 200)
	b.Run("in memory", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.inMemory(token)
		}
	})
	b.Run("on disk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			keyedHash(c.secret, token)
		}
	})
}

// TestWhatStandsForACredentialInMemory: parts are not the same where they are divided otherwise,
// by another process, or where the last byte of a long one differs.
func TestWhatStandsForACredentialInMemory(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 10<<10)
	keys := map[grantKey]bool{
		c.inMemory("a", "bc"): true, c.inMemory("ab", "c"): true, c.inMemory("abc"): true, other.inMemory("abc"): true,
		c.inMemory(long + "1"): true, c.inMemory(long + "2"): true, c.inMemory(): true, c.inMemory(""): true,
	}
	if len(keys) != 8 || !keys[c.inMemory("a", "bc")] {
		t.Errorf("%d different keys, want 8, each the same again", len(keys))
	}
}
