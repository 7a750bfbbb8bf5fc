package token_test

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/token"
	"example.org/breakwater/registry"
)

// nobodyCan reports whether the client is told to come back: a 503 with Retry-After.
func nobodyCan(err error) bool {
	var e *registry.Error
	return errors.As(err, &e) && e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0 && e.Message != ""
}

// In an outage of all Harbors the edge gives what was granted before: to that credential, of
// those repos, pulls alone.
func TestInAnOutageWhatWasGrantedIsGiven(t *testing.T) {
	f := newFixture(t)
	f.local.grants = []string{"a/x", "a/y"}
	f.grant(t)
	f.allDown(true)
	for _, c := range []struct {
		what, user, password string
		scopes, pulls        []string
	}{
		{"what was granted", "ci", secret, []string{scope("a/x")}, []string{"a/x"}},
		{"with a push beside", "ci", secret, []string{"repository:a/x:pull,push"}, []string{"a/x"}},
		{"everything", "ci", secret, []string{"repository:a/x:*"}, []string{"a/x"}},
		{"and what was not", "ci", secret, []string{scope("a/x"), scope("a/y")}, []string{"a/x"}},
		{"and what is no repo", "ci", secret, []string{scope("a/x") + " registry:catalog:* repository:pull repository::pull"}, []string{"a/x"}},
		{"a public project's other repo", "", "", []string{scope("open/y")}, []string{"open/y"}},
		{"a wrong password", "ci", "wrong", []string{scope("a/x")}, nil},
		{"another user", "cj", secret, []string{scope("a/x")}, nil},
		{"nobody", "", "", []string{scope("a/x")}, nil},
		{"what is no repo", "ci", secret, []string{"registry:catalog:*"}, nil},
		{"a push alone", "ci", secret, []string{"repository:a/x:push"}, nil},
		{"a push of another repo beside", "ci", secret, []string{scope("a/x"), "repository:a/y:push"}, nil},
	} {
		a, pulls, err := f.ask(t, c.user, c.password, c.scopes...)
		if !slices.Equal(pulls, c.pulls) || (err == nil) != (c.pulls != nil) || err == nil && (a.Source != token.Outage || a.Who != c.user) {
			t.Errorf("%s: %d from %s for %q, %v, %v", c.what, a.Status, a.Source, a.Who, pulls, err)
		}
		if err != nil && !nobodyCan(err) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if a, _, err := f.ask(t, "ci", secret); err != nil || a.Source != token.Outage || a.Who != "ci" {
		t.Errorf("a login: %s, %v", a.Source, err)
	}
	if got := f.tokens(t); got["outage"] != 7 || got["nobody"] != 6 {
		t.Errorf("counted as %v", got)
	}
}

// What the edge gives has the form of Harbor's answers, and no Harbor accepts it.
func TestAnOutageTokenLooksLikeHarbors(t *testing.T) {
	f := newFixture(t)
	f.grant(t)
	f.allDown(true)
	a, _, err := f.ask(t, "ci", secret, scope("a/x"))
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Token       string    `json:"token"`
		AccessToken *string   `json:"access_token"`
		ExpiresIn   int       `json:"expires_in"`
		IssuedAt    time.Time `json:"issued_at"`
	}
	if err := json.Unmarshal(a.Body, &body); err != nil || body.AccessToken == nil || body.ExpiresIn != 300 || !body.IssuedAt.Equal(f.now().Truncate(time.Second)) {
		t.Errorf("%s: %v", a.Body, err)
	}
	if !f.check.Own("Bearer "+body.Token) || a.Status != http.StatusOK {
		t.Errorf("%d: a Harbor would take it", a.Status)
	}
	for name, want := range map[string]string{"Content-Type": "application/json; charset=utf-8", "X-Content-Type-Options": "nosniff", "Content-Length": strconv.Itoa(len(a.Body))} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// The grace begins with the first request that nobody could answer, and lasts an hour. An
// outage that a Harbor has ended by naming somebody leaves the next one its whole grace; what
// it tells nobody in particular does not end it: without its database it says that too.
func TestTheGraceOfAnOutage(t *testing.T) {
	ends := map[string]func(t *testing.T, f *fixture){
		"a login at the local Harbor": func(t *testing.T, f *fixture) {
			f.allDown(false)
			trial.Until(t, func() error { _, _, err := f.ask(t, "ci", secret, scope("a/x")); return err })
		},
		"a login at a peer's": func(t *testing.T, f *fixture) {
			f.other.down.Store(false)
			trial.Until(t, func() error { _, _, err := f.ask(t, "ci", secret, scope("a/x")); return err })
		},
		"a peer's client at the local Harbor": func(t *testing.T, f *fixture) {
			f.local.down.Store(false)
			trial.Until(t, func() error { _, err := f.service.AnswerPeer(ofPeer(t, "ci", secret, scope("a/x"))); return err })
		},
		"nobody's token": func(t *testing.T, f *fixture) {
			f.other.down.Store(false)
			f.other.noDatabase.Store(true)
			trial.Until(t, func() error { _, _, err := f.ask(t, "", "", scope("open/x")); return err })
		},
		"": nil,
	}
	for name, end := range ends {
		f := newFixture(t)
		f.grant(t)
		f.advance(3 * time.Hour)
		f.allDown(true)
		given := func(after time.Duration) bool {
			f.advance(after)
			a, _, err := f.ask(t, "ci", secret, scope("a/x"))
			if err != nil && !nobodyCan(err) || err == nil && a.Source != token.Outage {
				t.Errorf("%s: %d from %s, %v", name, a.Status, a.Source, err)
			}
			return err == nil
		}
		if !given(0) || !given(59*time.Minute) {
			t.Errorf("%q: the grace is shorter than it is to be", name)
		}
		if end != nil {
			end(t, f)
			f.allDown(true)
			f.advance(time.Hour) // breakers and checks are of before
		}
		ended := end != nil && name != "nobody's token"
		if got := given(2 * time.Minute); got != ended {
			t.Errorf("%q: given after an hour and a minute: %v", name, got)
		}
	}
}

// An outage ends when the edge sees that Harbor is well again, though nobody comes for a token.
func TestAnOutageEndsThoughNobodyComes(t *testing.T) {
	f := newFixture(t)
	f.grant(t)
	f.allDown(true)
	if a, _, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != token.Outage {
		t.Fatal(a.Source, err)
	}
	before := f.local.checked.Load()
	f.local.down.Store(false)
	trial.Until(t, func() error {
		if f.local.checked.Load() == before {
			return errors.New("nobody looks whether Harbor is well")
		}
		return nil
	})
	f.advance(2 * time.Hour)
	trial.Until(t, func() error { // the look's answer is on its way
		f.allDown(true)
		_, _, err := f.ask(t, "ci", secret, scope("a/x"))
		return err
	})
}

// grants are what outlasts a restart: an access.Grants.
type grants struct{ sync.Map }

func (g *grants) Grant(key string, at time.Time) { g.Store(key, at) }
func (g *grants) Revoke(key string)              { g.Delete(key) }
func (g *grants) Granted(key string) (at time.Time, ok bool) {
	v, ok := g.Load(key)
	at, _ = v.(time.Time)
	return at, ok
}

// An outage that ended while the edge was restarted leaves the next one its whole grace, though
// nobody comes for a token in between.
func TestAnOutageThatEndedDuringARestart(t *testing.T) {
	disk := &grants{}
	lasting := func(cfg *token.Config) {
		var err error
		if cfg.Access, err = access.New(access.Config{Harbor: cfg.Harbor.Registry, OutageGrace: time.Hour, Grants: disk, Now: cfg.Now,
			Keys: trial.Keys("Fleet1Secret, and as long as it has to be", ""), Verifier: &registry.Verifier{Now: cfg.Now, Keys: []*rsa.PublicKey{&localKey().PublicKey}}}); err != nil {
			t.Fatal(err)
		}
	}
	f := newFixture(t, lasting)
	f.allDown(true)
	if _, _, err := f.ask(t, "ci", secret, scope("a/x")); !nobodyCan(err) {
		t.Fatal(err)
	}
	if _, began := disk.Granted("outage"); !began {
		t.Fatal("the outage is not remembered")
	}
	newFixture(t, lasting) // the same edge again, and its Harbor is well
	trial.Until(t, func() error {
		if since, on := disk.Granted("outage"); on {
			return fmt.Errorf("there is an outage since %v", since)
		}
		return nil
	})
}

// A request that failed while a Harbor is well makes no outage, whatever was granted before:
// as one that a limiter stops, or that the client itself has made fail.
func TestAFailedRequestIsNoOutage(t *testing.T) {
	broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	limited, page := says(http.StatusTooManyRequests, "text/plain", ""), says(http.StatusOK, "text/html", "log in")
	for name, c := range map[string]struct {
		local, other          http.HandlerFunc
		localDown, noDatabase bool
		otherDown             bool
	}{
		"limiters":                       {local: limited, other: limited},
		"a page":                         {local: page, otherDown: true},
		"a connection that ends":         {local: broken, otherDown: true},
		"a peer's Harbor is well":        {localDown: true, other: limited},
		"a peer's, and no database here": {noDatabase: true, other: limited},
		"a peer's connection ends":       {localDown: true, other: broken},
	} {
		f := newFixture(t)
		f.grant(t)
		f.local.failing(c.local)
		f.other.failing(c.other)
		f.local.down.Store(c.localDown)
		f.local.noDatabase.Store(c.noDatabase)
		f.other.down.Store(c.otherDown)
		f.advance(2 * time.Second)
		if a, pulls, err := f.ask(t, "ci", secret, scope("a/x")); !nobodyCan(err) {
			t.Errorf("%s: %d from %s, %v, %v", name, a.Status, a.Source, pulls, err)
		}
		if got, want := f.tokens(t), map[string]float64{"harbor": 3, "nobody": 1, "outage": 0}; !maps.Equal(got, want) {
			t.Errorf("%s: counted as %v", name, got)
		}
	}
}

// A Harbor without its database takes everybody for nobody, and says 200: it is not believed,
// by this edge's clients nor by a peer's, and takes no grant away.
func TestAHarborWithoutItsDatabaseIsNotBelieved(t *testing.T) {
	f := newFixture(t)
	f.grant(t)
	f.local.noDatabase.Store(true)
	for _, c := range []struct{ user, repo string }{{"ci", "a/x"}, {"ci", "a/other"}, {"", "open/x"}, {"", "open/other"}, {"ci", "open/other"}} {
		f.advance(2 * time.Second)
		if a, _, err := f.ask(t, c.user, secret, scope(c.repo)); err != nil || a.Source != "peer-mad1" || a.Who != c.user {
			t.Errorf("%q for %s: from %q for %q, %v", c.user, c.repo, a.Source, a.Who, err)
		}
	}
	if _, err := f.service.AnswerPeer(ofPeer(t, "ci", secret, scope("a/x"))); !nobodyCan(err) {
		t.Errorf("a peer is told: %v", err)
	}
	f.other.noDatabase.Store(true) // its edge would say 503
	f.other.failing(says(http.StatusServiceUnavailable, "application/json", ""))
	for _, c := range []struct{ user, repo string }{{"ci", "a/x"}, {"", "open/x"}} {
		f.advance(2 * time.Second)
		if a, pulls, err := f.ask(t, c.user, secret, scope(c.repo)); err != nil || a.Source != token.Outage || !slices.Equal(pulls, []string{c.repo}) {
			t.Errorf("%q for %s: from %q, %v, %v", c.user, c.repo, a.Source, pulls, err)
		}
	}
}

// A user's own question tells that the database is down before Harbor's lists do: those may
// be answered from what Harbor remembers. What fails for the repo alone tells nothing.
func TestAUsersOwnQuestionTellsOfTheDatabase(t *testing.T) {
	f := newFixture(t)
	f.grant(t)
	f.local.lists.Store(true)
	f.local.noDatabase.Store(true)
	if a, _, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != "peer-mad1" || a.Who != "ci" {
		t.Errorf("from %q for %q, %v", a.Source, a.Who, err)
	}
	f.local.noDatabase.Store(false)
	f.local.failing(func(w http.ResponseWriter, r *http.Request) { f.local.issue(w, r, "") })
	f.advance(2 * time.Second)
	if a, _, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != "harbor" || a.Who != "" {
		t.Errorf("of a repo that nobody has: from %q for %q, %v", a.Source, a.Who, err)
	}
}

// Many who come as somebody and are taken for nobody cost Harbor one look a second; where
// that would take a grant away it is looked at now.
func TestHarborsDatabaseIsLookedAtOnceASecond(t *testing.T) {
	f := newFixture(t)
	f.local.failing(func(w http.ResponseWriter, r *http.Request) { f.local.issue(w, r, "") })
	many := func() {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if a, _, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != "harbor" || a.Who != "" {
					t.Errorf("from %q for %q, %v", a.Source, a.Who, err)
				}
			})
		}
		all.Wait()
	}
	many()
	one := f.local.checked.Load()
	many()
	if n := f.local.checked.Load(); one == 0 || n != one {
		t.Errorf("looked at %d times, and %d in the same second", one, n)
	}
	f.advance(time.Second)
	many()
	if n := f.local.checked.Load(); n != 2*one {
		t.Errorf("looked at %d times in the next second", n-one)
	}
	f.local.failing(nil)
	f.grant(t)
	f.local.noDatabase.Store(true)
	f.other.down.Store(true)
	if a, pulls, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != token.Outage || len(pulls) != 1 {
		t.Errorf("a grant is lost: from %q, %v", a.Source, err)
	}
}

// Whoever is well and grants nothing to a client who is somebody is believed: the grant is gone.
func TestAGrantThatHarborTakesBackIsGone(t *testing.T) {
	for name, takeBack := range map[string]func(f *fixture){
		"it grants nothing": func(f *fixture) { f.local.grants = nil },
		"it knows nobody": func(f *fixture) {
			f.local.failing(func(w http.ResponseWriter, r *http.Request) { f.local.issue(w, r, "") })
		},
		"it refuses":         func(f *fixture) { f.local.failing(says(http.StatusUnauthorized, "application/json", "{}")) },
		"a front forbids it": func(f *fixture) { f.local.failing(says(http.StatusForbidden, "text/html", "")) },
		"a peer's refuses it": func(f *fixture) {
			f.local.down.Store(true)
			f.other.failing(says(http.StatusUnauthorized, "application/json", "{}"))
		},
	} {
		f := newFixture(t)
		f.grant(t)
		takeBack(f)
		f.advance(2 * time.Second)
		if _, pulls, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || pulls != nil {
			t.Errorf("%s: %v, %v", name, pulls, err)
		}
		f.local.failing(nil)
		f.other.failing(nil)
		f.allDown(true)
		kept := name == "a front forbids it" || name == "a peer's refuses it" // the one is not Harbor; the other may not know this robot
		if _, _, err := f.ask(t, "ci", secret, scope("a/x")); (err == nil) != kept {
			t.Errorf("%s: given in an outage: %v", name, err == nil)
		}
	}
}
