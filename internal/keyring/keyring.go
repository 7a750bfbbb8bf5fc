// Package keyring has the keys that the daemons of a fleet share. A secret of the fleet
// file (edge.peers.key, gslb.key) is never used itself: each purpose has a key of its own,
// derived from it. While a secret is replaced there are two, and both are good.
package keyring

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync/atomic"
)

// Shortest is how long a secret must be, in bytes: as long as the keys that are derived
// from it (RFC 2104, section 3).
const Shortest = sha256.Size

// Purpose is what a key is for. What one purpose's key signs means nothing to another's.
type Purpose string

// The purposes.
const (
	Peers     Purpose = "peers"     // what edges show each other
	Tokens    Purpose = "tokens"    // the edges' own tokens in an outage
	Grants    Purpose = "grants"    // under which remembered permissions are kept
	Webhooks  Purpose = "webhooks"  // what a Harbor shows its edge
	Preheat   Purpose = "preheat"   // what a Harbor shows where its policies ask for images
	Cookies   Purpose = "cookies"   // of DNS
	Operators Purpose = "operators" // what is asked of edges and name servers by who steers the fleet
)

var purposes = []Purpose{Peers, Tokens, Grants, Webhooks, Preheat, Cookies, Operators}

// Key is derived from one secret for one purpose.
type Key struct {
	ID     string // eight hexadecimal digits; it tells keys apart, and nothing of them
	Secret []byte // 32 bytes
}

// Ring is the secret that is in use and the one before it. It may be replaced while others
// use it. A nil Ring has no keys.
type Ring struct {
	keys atomic.Pointer[map[Purpose][]Key]
}

// New returns the ring of a secret and of the one before it, "" for none. Without a secret
// there is no ring: nil. The error says which of the two is too short, and holds neither.
func New(secret, previous string) (*Ring, error) {
	if secret == "" && previous == "" {
		return nil, nil
	}
	r := &Ring{}
	return r, r.Use(secret, previous)
}

// Check returns why a secret cannot be used, as a sentence that goes on after its name.
func Check(secret string) error {
	if len(secret) < Shortest {
		return fmt.Errorf("it has fewer than %d bytes and could be guessed: write so many random ones, as `openssl rand -base64 %d` makes them", Shortest, Shortest)
	}
	return nil
}

// Use replaces the secrets. With an error those of before stay.
func (r *Ring) Use(secret, previous string) error {
	secrets := []string{secret}
	if err := Check(secret); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if previous != "" && previous != secret {
		if err := Check(previous); err != nil {
			return fmt.Errorf("previous_key: %w", err)
		}
		secrets = append(secrets, previous)
	}
	all := map[Purpose][]Key{}
	for _, p := range purposes {
		for _, s := range secrets {
			k, err := derive(s, p)
			if err != nil {
				return err
			}
			all[p] = append(all[p], k)
		}
	}
	r.keys.Store(&all)
	return nil
}

// Take replaces the keys by those of another ring; of nil, there are none any more.
func (r *Ring) Take(other *Ring) {
	all := &map[Purpose][]Key{}
	if other != nil {
		all = other.keys.Load()
	}
	r.keys.Store(all)
}

// derive makes the key of a purpose, and its ID from that key (RFC 5869).
func derive(secret string, p Purpose) (Key, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "breakwater "+string(p), sha256.Size)
	if err != nil {
		return Key{}, err
	}
	id, err := hkdf.Key(sha256.New, key, nil, "breakwater key id", 4)
	return Key{ID: hex.EncodeToString(id), Secret: key}, err
}

// For returns the keys of a purpose: the one to sign with, and after it, while the secret
// is being replaced, the one before it. Both verify.
func (r *Ring) For(p Purpose) []Key {
	if r == nil {
		return nil
	}
	return (*r.keys.Load())[p]
}

// Find returns the key of a purpose with that ID.
func (r *Ring) Find(p Purpose, id string) (Key, bool) {
	keys := r.For(p)
	at := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
	if at < 0 {
		return Key{}, false
	}
	return keys[at], true
}
