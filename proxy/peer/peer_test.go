package peer_test

import (
	"crypto/sha256"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/proxy/peer"
)

const fleetSecret = "a secret of the whole fleet, which all edges share"

// clock is a time that a test sets.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func show(t *testing.T, k *peer.Key, to string) string {
	t.Helper()
	token, err := k.Tokens(to)()
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

func TestAnEdgeIsKnownByItsToken(t *testing.T) {
	at := &clock{time.Now()}
	par1, mad1 := peer.NewKey(fleetSecret, "par1", at.now), peer.NewKey(fleetSecret, "mad1", at.now)
	token := show(t, mad1, "par1")
	if who, ok := par1.Verify(token); !ok || who != "mad1" {
		t.Errorf("%q, %v", who, ok)
	}
	trust := peer.Trust{Key: par1, Now: at.now}
	if who, ok := trust.Datacenter(&http.Request{Header: http.Header{"Authorization": {token}}}); !ok || who != "mad1" {
		t.Errorf("%q, %v", who, ok)
	}
	for name, authorization := range map[string]string{
		"nothing": "", "no token": "Bearer ", "Basic": "Basic " + token[len("Bearer "):],
		"for another datacenter": show(t, mad1, "drp1"),
		"from itself":            show(t, par1, "par1"),
		"by another secret":      show(t, peer.NewKey(fleetSecret+"x", "mad1", at.now), "par1"),
		"from nobody":            show(t, peer.NewKey(fleetSecret, "", at.now), "par1"),
		"with a part missing":    token[:len(token)-10],
	} {
		if who, ok := par1.Verify(authorization); ok {
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
		if _, ok := par1.Verify(token); ok != c.good {
			t.Errorf("after %v: %v", c.passed, ok)
		}
		at.Time = start
	}
}

// The signature is always checked, by the one algorithm that edges use, and a token is
// one of edges.
func TestATokenIsSignedByTheFleetsKey(t *testing.T) {
	par1 := peer.NewKey(fleetSecret, "par1", time.Now)
	sum := sha256.Sum256([]byte("breakwater peers\x00" + fleetSecret))
	key := sum[:]
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    any
		issuer string
		good   bool
	}{
		"as edges do":     {jwt.SigningMethodHS256, key, "breakwater-edge", true},
		"another issuer":  {jwt.SigningMethodHS256, key, "harbor-token-issuer", false},
		"HS512":           {jwt.SigningMethodHS512, key, "breakwater-edge", false},
		"none":            {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "breakwater-edge", false},
		"the bare secret": {jwt.SigningMethodHS256, []byte(fleetSecret), "breakwater-edge", false},
		"an empty key":    {jwt.SigningMethodHS256, []byte{}, "breakwater-edge", false},
	} {
		claims := jwt.RegisteredClaims{Issuer: c.issuer, Subject: "mad1", Audience: jwt.ClaimStrings{"par1"}, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Minute))}
		raw, err := jwt.NewWithClaims(c.method, claims).SignedString(c.key)
		if err != nil {
			t.Fatal(err)
		}
		if who, ok := par1.Verify("Bearer " + raw); ok != c.good {
			t.Errorf("%s: %q, %v", name, who, ok)
		}
	}
}

func TestATokenIsMadeAnewBeforeItEnds(t *testing.T) {
	at := &clock{time.Now()}
	tokens := peer.NewKey(fleetSecret, "mad1", at.now).Tokens("par1")
	first, _ := tokens()
	for range 300 { // five minutes
		at.Time = at.Add(time.Second)
		token, err := tokens()
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.RegisteredClaims
		if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
			t.Fatal(err)
		}
		if left := claims.ExpiresAt.Sub(at.Time); left < 19*time.Second { // in whole seconds
			t.Fatalf("a token was shown that ends in %v", left)
		}
	}
	if again, _ := tokens(); again == first {
		t.Error("it is the first one still")
	}
}

func TestWithoutASecretNobodyIsKnown(t *testing.T) {
	none := peer.NewKey("", "par1", time.Now)
	if none != nil || none.Tokens("mad1") != nil {
		t.Error("there is a key without a secret")
	}
	empty := show(t, peer.NewKey("x", "mad1", time.Now), "par1")
	if who, ok := (peer.Trust{}).Datacenter(&http.Request{Header: http.Header{"Authorization": {empty}}}); ok {
		t.Errorf("is %q", who)
	}
}
