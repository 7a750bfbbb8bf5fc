package access_test

import (
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
)

// While the fleet's secret is replaced, what was granted and signed by the one of before
// counts, and not after that. A restart is in each step.
func TestASecretIsReplacedWithoutLoss(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	with := func(secret, previous string) *access.Checker {
		return lives(t, d, c, func(cfg *access.Config) { cfg.Keys = trial.Keys(secret, previous) })
	}
	remembers := func(check *access.Checker, repo string) bool {
		return len(check.Remembered(basic("ci", secret), []string{repo})) == 1
	}
	takes := func(check *access.Checker, raw string) bool {
		_, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + raw, Repos: []string{"a/x"}, Action: "pull"})
		return err == nil
	}
	token := func(check *access.Checker) string {
		raw, _, err := check.OwnToken("ci", []string{"a/x"})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	old := with(fleetSecret, "")
	old.Learn(basic("ci", secret), []string{"a/x", "a/y"}, []string{"a/x", "a/y"})
	olds := token(old)

	both := with(nextSecret, fleetSecret)
	if !remembers(both, "a/x") || !remembers(both, "a/y") || !takes(both, olds) {
		t.Error("what was granted and signed under the secret of before does not count beside the next one")
	}
	both.Learn(basic("ci", secret), []string{"a/x"}, []string{"a/x"}) // Harbor says so again, and no more of a/y
	both.Learn(basic("ci", secret), []string{"a/y"}, nil)
	if remembers(both, "a/y") || remembers(old, "a/y") && remembers(with(nextSecret, fleetSecret), "a/y") {
		t.Error("a grant of before is not taken back")
	}
	boths := token(both)

	next := with(nextSecret, "")
	if !remembers(next, "a/x") || !takes(next, boths) {
		t.Error("what was granted and signed under the next secret is lost with the one before it")
	}
	if takes(next, olds) || takes(old, boths) {
		t.Error("a token is good where its secret is not")
	}
}

// The keys of a running edge change: what the one that is gone has signed ends at once.
func TestKeysChangeInARunningEdge(t *testing.T) {
	c, keys := &clock{time.Now()}, trial.Keys(fleetSecret, "")
	check := lives(t, newDisk(), c, func(cfg *access.Config) { cfg.Keys = keys })
	raw, _, err := check.OwnToken("ci", []string{"a/x"})
	if err != nil {
		t.Fatal(err)
	}
	for step, s := range []struct {
		secret, previous string
		good             bool
	}{{fleetSecret, "", true}, {nextSecret, fleetSecret, true}, {nextSecret, "", false}} {
		if err := keys.Use(s.secret, s.previous); err != nil {
			t.Fatal(err)
		}
		if _, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + raw, Repos: []string{"a/x"}, Action: "pull"}); (err == nil) != s.good {
			t.Errorf("step %d: %v", step, err)
		}
	}
}
