package peer_test

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/peer"
)

const fleetSecret, nextSecret = "a secret of the whole fleet, which all edges share", "the one that comes after it, which they share then"

var fleetKeys = trial.Keys(fleetSecret, "")

// clock is a time that a test sets.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// show is what an edge shows another.
func show(t *testing.T, k *peer.Key, to string) http.Header {
	t.Helper()
	h := http.Header{}
	if err := k.Shows(to)(h); err != nil {
		t.Fatal(err)
	}
	return h
}

// tokensOf returns what gives the tokens that are shown to par1.
func tokensOf(t *testing.T, k *peer.Key) func() string {
	t.Helper()
	shows := k.Shows("par1")
	return func() string {
		h := http.Header{}
		if err := shows(h); err != nil {
			t.Fatal(err)
		}
		return h.Get("Authorization")
	}
}

func authorization(text string) http.Header { return http.Header{"Authorization": {text}} }

func TestAnEdgeIsKnownByItsToken(t *testing.T) {
	at := &clock{time.Now()}
	par1, mad1 := peer.NewKey(fleetKeys, "par1", at.now), peer.NewKey(fleetKeys, "mad1", at.now)
	shown := show(t, mad1, "par1")
	if who, refusal := par1.Verify(shown); refusal != nil || who != "mad1" {
		t.Errorf("%q, %v", who, refusal)
	}
	trust := peer.Trust{Key: par1, Now: at.now}
	if who, ok := trust.Datacenter(&http.Request{Header: shown}); !ok || who != "mad1" {
		t.Errorf("%q, %v", who, ok)
	}
	token := shown.Get("Authorization")
	for name, h := range map[string]http.Header{
		"nothing": {}, "no token": authorization("Bearer "), "Basic": authorization("Basic " + token[len("Bearer "):]),
		"for another datacenter": show(t, mad1, "drp1"),
		"from itself":            show(t, par1, "par1"),
		"by another secret":      show(t, peer.NewKey(trial.Keys(nextSecret, ""), "mad1", at.now), "par1"),
		"from nobody":            show(t, peer.NewKey(fleetKeys, "", at.now), "par1"),
		"with a part missing":    authorization(token[:len(token)-10]),
		"in another header":      {"Proxy-Authorization": {token}},
	} {
		if who, refusal := par1.Verify(h); refusal == nil || who != "" {
			t.Errorf("%s: is %q", name, who)
		}
	}
	// A token ends, and clocks differ by ten minutes at most.
	for _, c := range []struct {
		passed time.Duration
		good   bool
	}{{10*time.Minute + 50*time.Second, true}, {11*time.Minute + 10*time.Second, false}} {
		start := at.Time
		at.Time = start.Add(c.passed)
		if _, refusal := par1.Verify(shown); (refusal == nil) != c.good {
			t.Errorf("after %v: %v", c.passed, refusal)
		}
		at.Time = start
	}
}

// The signature is always checked, by the one algorithm that edges use and by the key that the
// token names, and a token is one of edges.
func TestATokenIsSignedByTheFleetsKey(t *testing.T) {
	par1 := peer.NewKey(trial.Keys(nextSecret, fleetSecret), "par1", time.Now)
	key, next := fleetKeys.For(keyring.Peers)[0], trial.Keys(nextSecret, "").For(keyring.Peers)[0]
	tokens := fleetKeys.For(keyring.Tokens)[0]
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    any
		issuer string
		kid    any
		good   bool
	}{
		"as edges do":                         {jwt.SigningMethodHS256, key.Secret, "breakwater-edge", key.ID, true},
		"by the other key":                    {jwt.SigningMethodHS256, next.Secret, "breakwater-edge", next.ID, true},
		"another issuer":                      {jwt.SigningMethodHS256, key.Secret, "harbor-token-issuer", key.ID, false},
		"HS512":                               {jwt.SigningMethodHS512, key.Secret, "breakwater-edge", key.ID, false},
		"RS256":                               {jwt.SigningMethodRS256, private, "breakwater-edge", key.ID, false},
		"none":                                {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "breakwater-edge", key.ID, false},
		"the bare secret":                     {jwt.SigningMethodHS256, []byte(fleetSecret), "breakwater-edge", key.ID, false},
		"an empty key":                        {jwt.SigningMethodHS256, []byte{}, "breakwater-edge", key.ID, false},
		"the name of the other key":           {jwt.SigningMethodHS256, key.Secret, "breakwater-edge", next.ID, false},
		"no name of a key":                    {jwt.SigningMethodHS256, key.Secret, "breakwater-edge", nil, false},
		"an empty name":                       {jwt.SigningMethodHS256, key.Secret, "breakwater-edge", "", false},
		"a name that is no text":              {jwt.SigningMethodHS256, key.Secret, "breakwater-edge", []string{key.ID}, false},
		"the name of nobody's key":            {jwt.SigningMethodHS256, []byte{}, "breakwater-edge", "00000000", false},
		"a key of another purpose":            {jwt.SigningMethodHS256, tokens.Secret, "breakwater-edge", tokens.ID, false},
		"a key of another purpose, by ours":   {jwt.SigningMethodHS256, tokens.Secret, "breakwater-edge", key.ID, false},
		"the name of a key, as if it were it": {jwt.SigningMethodHS256, []byte(key.ID), "breakwater-edge", key.ID, false},
	} {
		claims := jwt.RegisteredClaims{Issuer: c.issuer, Subject: "mad1", Audience: jwt.ClaimStrings{"par1"}, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Minute))}
		token := jwt.NewWithClaims(c.method, claims)
		if c.kid != nil {
			token.Header["kid"] = c.kid
		}
		raw, err := token.SignedString(c.key)
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range []string{"Authorization", peer.PreviousHeader} {
			if who, refusal := par1.Verify(http.Header{header: {"Bearer " + raw}}); (refusal == nil) != c.good {
				t.Errorf("%s, in %s: %q, %v", name, header, who, refusal)
			}
		}
	}
}

// While the secret is replaced, an edge that has both keys knows those that have one of them,
// and they know it; also where the keys of edges that run change, in any order.
func TestEdgesWithTwoKeysKnowAllOthers(t *testing.T) {
	steps := []func() *keyring.Ring{
		func() *keyring.Ring { return trial.Keys(fleetSecret, "") },
		func() *keyring.Ring { return trial.Keys(nextSecret, fleetSecret) },
		func() *keyring.Ring { return trial.Keys(nextSecret, "") },
		func() *keyring.Ring { return trial.Keys(fleetSecret, nextSecret) }, // and back
	}
	for i, asks := range steps {
		for j, answers := range steps {
			shown := show(t, peer.NewKey(asks(), "mad1", time.Now), "par1")
			_, refusal := peer.NewKey(answers(), "par1", time.Now).Verify(shown)
			if apart := i == 0 && j == 2 || i == 2 && j == 0; (refusal != nil) != apart {
				t.Errorf("the keys of step %d shown to those of step %d: %v", i, j, refusal)
			}
		}
	}
	keys := trial.Keys(fleetSecret, "")
	mad1 := peer.NewKey(keys, "mad1", time.Now)
	shows := mad1.Shows("par1")
	for i, step := range [][2]string{{fleetSecret, ""}, {nextSecret, fleetSecret}, {nextSecret, ""}} {
		if err := keys.Use(step[0], step[1]); err != nil {
			t.Fatal(err)
		}
		h := http.Header{peer.PreviousHeader: {"Bearer of before"}}
		if err := shows(h); err != nil {
			t.Fatal(err)
		}
		if _, refusal := peer.NewKey(trial.Keys(step[0], ""), "par1", time.Now).Verify(h); refusal != nil || (h.Get(peer.PreviousHeader) != "") != (step[1] != "") {
			t.Errorf("step %d: an edge that runs shows %v; %v", i, slices.Collect(maps.Keys(h)), refusal)
		}
	}
}

func TestATokenIsMadeAnewBeforeItEnds(t *testing.T) {
	at := &clock{time.Now()}
	tokens := tokensOf(t, peer.NewKey(fleetKeys, "mad1", at.now))
	first := tokens()
	for range 300 { // five minutes
		at.Time = at.Add(time.Second)
		token := tokens()
		var claims jwt.RegisteredClaims
		if _, _, err := jwt.NewParser().ParseUnverified(token[len("Bearer "):], &claims); err != nil {
			t.Fatal(err)
		}
		if left := claims.ExpiresAt.Sub(at.Time); left < 19*time.Second { // in whole seconds
			t.Fatalf("a token was shown that ends in %v", left)
		}
	}
	if again := tokens(); again == first {
		t.Error("it is the first one still")
	}
}

func TestWithoutASecretNobodyIsKnown(t *testing.T) {
	none := peer.NewKey(nil, "par1", time.Now)
	if none != nil || none.Shows("mad1") != nil || none.IDs() != nil {
		t.Error("there is a key without a secret")
	}
	shown := show(t, peer.NewKey(fleetKeys, "mad1", time.Now), "par1")
	if who, ok := (peer.Trust{}).Datacenter(&http.Request{Header: shown}); ok {
		t.Errorf("is %q", who)
	}
}
