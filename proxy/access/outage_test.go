package access_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// disk is what outlasts a Checker: an access.Grants.
type disk struct {
	mu     sync.Mutex
	grants map[string]time.Time
}

func (d *disk) Grant(key string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.grants[key] = at
}

func (d *disk) Granted(key string) (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.grants[key]
	return at, ok
}

func (d *disk) Revoke(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.grants, key)
}

// clock is a Checker's, and can be put forward.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

const fleetSecret, nextSecret = "the fleet's secret, as long as it has to be", "the one that comes after it, as long as that"

var fleetKeys = trial.Keys(fleetSecret, "")

// lives makes a Checker over a disk, as an edge is started again.
func lives(t *testing.T, d *disk, c *clock, change func(*access.Config)) *access.Checker {
	t.Helper()
	harbor, err := registry.NewSource(registry.SourceConfig{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := access.Config{Harbor: harbor, Grants: d, OutageGrace: time.Hour, Keys: fleetKeys, Now: c.now}
	if change != nil {
		change(&cfg)
	}
	check, err := access.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

func newDisk() *disk { return &disk{grants: map[string]time.Time{}} }

// What Harbor granted counts for a day, in this process and in the next, for exactly that
// credential and repo, until Harbor says otherwise.
func TestAGrantAges(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	check := lives(t, d, c, nil)
	ci := basic("ci", secret)
	check.Learn(ci, []string{"a/x", "a/y"}, []string{"a/x"})
	for _, life := range []string{"this process", "the next"} {
		for what, c := range map[string]struct {
			authorization, repo string
			want                int
		}{
			"what was granted": {ci, "a/x", 1}, "what was not": {ci, "a/y", 0}, "another repo": {ci, "a/z", 0}, "a wrong password": {basic("ci", "wrong"), "a/x", 0},
			"another user": {basic("cj", secret), "a/x", 0}, "nobody": {"", "a/x", 0}, "a login": {ci, access.Login, 0},
		} {
			if got := check.Remembered(c.authorization, []string{c.repo}); len(got) != c.want {
				t.Errorf("%s, %s: %v", life, what, got)
			}
		}
		check = lives(t, d, c, nil)
	}
	c.at = c.at.Add(24*time.Hour - time.Minute)
	if got := check.Remembered(ci, []string{"a/x"}); len(got) != 1 {
		t.Error("forgotten within a day")
	}
	c.at = c.at.Add(2 * time.Minute)
	if got := check.Remembered(ci, []string{"a/x"}); len(got) != 0 {
		t.Error("it counts for more than a day, from disk")
	}
	check.Learn(ci, []string{"a/x"}, []string{"a/x"})
	c.at = c.at.Add(24 * time.Hour)
	if got := check.Remembered(ci, []string{"a/x"}); len(got) != 0 {
		t.Error("it counts for more than a day, from memory")
	}
	check.Learn(ci, []string{"a/x"}, []string{"a/x"})
	check.Learn(ci, []string{"a/x"}, nil)
	if got := check.Remembered(ci, []string{"a/x"}); len(got) != 0 || len(d.grants) != 0 {
		t.Errorf("what Harbor refuses is remembered: %v, %v on disk", got, len(d.grants))
	}
}

// A grant that is used is renewed: a robot that pulls every hour does not lose it in the
// middle of an outage.
func TestAGrantThatIsUsedIsRenewed(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	check, ci := lives(t, d, c, nil), basic("ci", secret)
	for range 3 * 24 {
		check.Learn(ci, []string{"a/x"}, []string{"a/x"})
		c.at = c.at.Add(time.Hour)
	}
	if got := lives(t, d, c, nil).Remembered(ci, []string{"a/x"}); len(got) != 1 {
		t.Error("it is forgotten")
	}
}

// Nothing on disk tells a credential, a user or a repo; without a fleet's secret nothing is
// written, and without a grace nothing is remembered.
func TestWhatIsWrittenTellsNothing(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	lives(t, d, c, nil).Learn(basic("ci", secret), []string{"a/x"}, []string{"a/x"})
	for key := range d.grants {
		if len(key) != 2*sha256.Size || strings.Contains(key, "ci") && strings.Contains(key, "a/x") {
			t.Errorf("%q", key)
		}
	}
	if len(d.grants) != 1 {
		t.Errorf("%d grants on disk", len(d.grants))
	}
	if got := lives(t, d, c, func(cfg *access.Config) { cfg.OutageGrace = 0 }).Remembered(basic("ci", secret), []string{"a/x"}); len(got) != 0 {
		t.Error("it counts where there is no grace any more")
	}
	other := lives(t, d, c, func(cfg *access.Config) { cfg.Keys = trial.Keys(nextSecret, "") })
	if got := other.Remembered(basic("ci", secret), []string{"a/x"}); len(got) != 0 {
		t.Error("a fleet with another secret knows it")
	}
	for what, change := range map[string]func(*access.Config){"secret": func(cfg *access.Config) { cfg.Keys = nil }, "grace": func(cfg *access.Config) { cfg.OutageGrace = 0 }} {
		empty := newDisk()
		check := lives(t, empty, c, change)
		check.Learn(basic("ci", secret), []string{"a/x"}, []string{"a/x"})
		if len(empty.grants) != 0 {
			t.Errorf("without a %s it is written", what)
		}
		if got := check.Remembered(basic("ci", secret), []string{"a/x"}); (len(got) == 1) != (what == "secret") {
			t.Errorf("without a %s: %v", what, got)
		}
	}
}

// One credential has so many grants, however it is written; those of others stay. What
// anybody may read is remembered by project.
func TestGrantsOfOneCredentialAreBounded(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	check, other := lives(t, d, c, nil), basic("other", secret)
	check.Learn(other, []string{"a/x"}, []string{"a/x"})
	raw := strings.TrimPrefix(basic("greedy", secret), "Basic ")
	for i := range 3000 {
		written := []string{"Basic " + raw, "basic " + raw, "BASIC  " + raw}[i%3]
		repo := fmt.Sprint("a/", i)
		check.Learn(written, []string{repo}, []string{repo})
	}
	if n := len(d.grants); n != 1024+1 {
		t.Errorf("%d grants on disk", n)
	}
	if got := check.Remembered(basic("greedy", secret), []string{"a/0", "a/2999"}); len(got) != 1 || got[0] != "a/2999" {
		t.Errorf("of the greedy one: %v", got)
	}
	if got := check.Remembered(other, []string{"a/x"}); len(got) != 1 {
		t.Error("another's is forgotten")
	}
	before := maps.Clone(d.grants)
	for i := range 2000 {
		repo := fmt.Sprint("open/", i)
		check.Learn("", []string{repo}, []string{repo})
	}
	if n := len(d.grants) - len(before); n != 1 {
		t.Errorf("a public project takes %d grants", n)
	}
	if got := check.Remembered("", []string{"open/never", "other/x", "opener/x"}); len(got) != 1 || got[0] != "open/never" {
		t.Errorf("anybody may read %v", got)
	}
}

// An outage begins when nobody answers first, and lasts for its grace, across restarts; a
// Harbor that answers ends it.
func TestAnOutageHasItsGrace(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	check := lives(t, d, c, nil)
	if !check.InGrace() {
		t.Error("an outage begins without grace")
	}
	c.at = c.at.Add(59 * time.Minute)
	check = lives(t, d, c, nil)
	if !check.InGrace() {
		t.Error("it ends too soon")
	}
	c.at = c.at.Add(2 * time.Minute)
	if check.InGrace() || lives(t, d, c, nil).InGrace() {
		t.Error("it lasts for more than an hour, or a restart prolongs it")
	}
	check.HarborAnswers()
	if !check.InGrace() || !lives(t, d, c, nil).InGrace() {
		t.Error("the next outage has no grace")
	}
	if lives(t, newDisk(), c, func(cfg *access.Config) { cfg.OutageGrace = 0 }).InGrace() {
		t.Error("without a grace there is one")
	}
}

// ownKey is the key of the edges' own tokens, as somebody has it who has the fleet's secret.
func ownKey() keyring.Key { return fleetKeys.For(keyring.Tokens)[0] }

// An edge's own token lets its subject pull from its repos, on every edge of the fleet, for
// five minutes. One that grants more is refused whole, whoever has signed it.
func TestAnEdgesOwnTokenGrantsPullsAlone(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	check, another := lives(t, d, c, nil), lives(t, newDisk(), c, nil)
	allows := func(check *access.Checker, raw, repo, action string) bool {
		who, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + raw, Repos: []string{repo}, Action: action})
		return err == nil && who == "ci"
	}
	raw, lifetime, err := check.OwnToken("ci", []string{"a/x", access.Login})
	if err != nil || lifetime != 5*time.Minute {
		t.Fatal(lifetime, err)
	}
	if !check.Own("Bearer "+raw) || !allows(check, raw, "a/x", "pull") || !allows(another, raw, "a/x", "pull") {
		t.Error("it does not let pull")
	}
	for _, no := range [][2]string{{"a/x", "push"}, {"a/x", "delete"}, {"a/y", "pull"}, {"", "pull"}} {
		if allows(check, raw, no[0], no[1]) {
			t.Errorf("it lets %s in %q", no[1], no[0])
		}
	}
	stranger := lives(t, newDisk(), c, func(cfg *access.Config) { cfg.Keys = trial.Keys(nextSecret, "") })
	if allows(stranger, raw, "a/x", "pull") {
		t.Error("another fleet accepts it")
	}
	forge := func(change func(jwt.MapClaims), key keyring.Key) string {
		claims := jwt.MapClaims{"iss": "breakwater-edge", "aud": "harbor-registry", "sub": "ci", "iat": c.at.Unix(), "exp": c.at.Add(time.Minute).Unix(),
			"access": []registry.Access{{Type: "repository", Name: "a/x", Actions: []string{"pull"}}}}
		change(claims)
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
		if token.Header["kid"] = key.ID; key.ID == "" {
			delete(token.Header, "kid")
		}
		raw, err := token.SignedString(key.Secret)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if !allows(check, forge(func(jwt.MapClaims) {}, ownKey()), "a/x", "pull") {
		t.Fatal("the test forges what no edge accepts")
	}
	set := func(name string, value any) func(jwt.MapClaims) { return func(m jwt.MapClaims) { m[name] = value } }
	for what, raw := range map[string]string{
		"another key":            forge(func(jwt.MapClaims) {}, keyring.Key{ID: ownKey().ID, Secret: []byte("guess")}),
		"a key without a name":   forge(func(jwt.MapClaims) {}, keyring.Key{Secret: ownKey().Secret}),
		"a peer's key":           forge(func(jwt.MapClaims) {}, fleetKeys.For(keyring.Peers)[0]),
		"a peer's key, renamed":  forge(func(jwt.MapClaims) {}, keyring.Key{ID: ownKey().ID, Secret: fleetKeys.For(keyring.Peers)[0].Secret}),
		"a push":                 forge(set("access", []registry.Access{{Type: "repository", Name: "a/x", Actions: []string{"pull", "push"}}}), ownKey()),
		"everything":             forge(set("access", []registry.Access{{Type: "repository", Name: "a/x", Actions: []string{"*"}}}), ownKey()),
		"a push of another repo": forge(set("access", []registry.Access{{Type: "repository", Name: "a/x", Actions: []string{"pull"}}, {Type: "repository", Name: "a/y", Actions: []string{"push"}}}), ownKey()),
		"over":                   forge(set("exp", c.at.Add(-time.Minute).Unix()), ownKey()),
		"for ever":               forge(func(m jwt.MapClaims) { delete(m, "exp") }, ownKey()),
		"for another service":    forge(set("aud", "another"), ownKey()),
		"from the future":        forge(set("iat", c.at.Add(time.Hour).Unix()), ownKey()),
	} {
		if allows(check, raw, "a/x", "pull") {
			t.Errorf("accepted: %s", what)
		}
	}
	signed := c.at
	for after, want := range map[time.Duration]bool{-29 * time.Second: true, -32 * time.Second: false, 5*time.Minute + 29*time.Second: true, 5*time.Minute + 31*time.Second: false} {
		c.at = signed.Add(after) // by another edge's clock
		if allows(lives(t, newDisk(), c, nil), raw, "a/x", "pull") != want || after > 0 && allows(check, raw, "a/x", "pull") != want {
			t.Errorf("%v after it was signed it is accepted: %v", after, !want)
		}
	}
}

// The name that a credential shows is read without a look at the rest.
func TestClaimedVerifiesNothing(t *testing.T) {
	for authorization, want := range map[string]string{
		basic("ci", "any"): "ci", "": "", "Basic !": "", "Bearer x": "", "Digest x": "",
		"Basic " + base64.StdEncoding.EncodeToString([]byte("no colon")): "no colon",
	} {
		if got := access.Claimed(authorization); got != want {
			t.Errorf("%q: %q", authorization, got)
		}
	}
}
