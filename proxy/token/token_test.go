package token_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/token"
	"example.org/breakwater/registry"
)

// The local Harbor's answer is passed on as it is, with whom it is for.
func TestHarborsAnswerIsPassedOn(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		user, password, repo string
		status               int
		who                  string
		pulls                []string
	}{
		{"ci", secret, "a/x", 200, "ci", []string{"a/x"}},
		{"ci", secret, "a/y", 200, "ci", nil},
		{"ci", "wrong", "a/x", 401, "", nil},
		{"", "", "open/x", 200, "", []string{"open/x"}},
		{"", "", "a/x", 200, "", nil},
	} {
		a, pulls, err := f.ask(t, c.user, c.password, scope(c.repo))
		if err != nil || a.Status != c.status || a.Who != c.who || a.Source != "harbor" || !slices.Equal(pulls, c.pulls) {
			t.Errorf("%s for %s: %d from %s for %q, %v, %v", c.repo, c.user, a.Status, a.Source, a.Who, pulls, err)
		}
	}
	if n := f.other.times(); n != 0 {
		t.Errorf("the peer was asked %d times", n)
	}
}

// Nothing of a client goes on to Harbor's token service but what it asks for, and who it is.
func TestWhatHarborIsToldOfAClient(t *testing.T) {
	f := newFixture(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/service/token?service=harbor-registry&scope="+scope("a/x"), strings.NewReader("hello"))
	r.SetBasicAuth("ci", secret)
	for _, name := range []string{"Cookie", "Forwarded", "X-Forwarded-Host", "Connection", "Upgrade", peer.ClientHeader, peer.AskedHeader, "Expect", "Content-Type"} {
		r.Header.Set(name, "made-up")
	}
	r.Header.Set("Accept-Encoding", "gzip")
	if a, err := f.service.Answer(r); err != nil || a.Status != http.StatusOK {
		t.Fatal(a.Status, err)
	}
	got := f.local.asked[0]
	for _, name := range []string{"Cookie", "Forwarded", "Upgrade", peer.ClientHeader, peer.AskedHeader, "Expect", "Content-Type"} {
		if v := got.Header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
	if v := got.Header.Get("Accept-Encoding"); v != "identity" {
		t.Errorf("Accept-Encoding: %s: the edge reads the answer", v)
	}
	if got.ContentLength != 0 || got.Header.Get("X-Forwarded-Host") == "made-up" {
		t.Errorf("a body of %d bytes, for %s", got.ContentLength, got.Header.Get("X-Forwarded-Host"))
	}
	if user, password, _ := got.BasicAuth(); user != "ci" || password != secret {
		t.Errorf("as %s", user)
	}
}

// Only a GET asks for a token; containerd's POST comes first, also while Harbor is down.
func TestOnlyAGETAsksForAToken(t *testing.T) {
	f := newFixture(t)
	f.local.down.Store(true)
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut} {
		r := httptest.NewRequestWithContext(t.Context(), method, "/service/token", nil)
		for name, answer := range map[string]func(*http.Request) (token.Answer, error){"a client's": f.service.Answer, "a peer's": f.service.AnswerPeer} {
			_, err := answer(r)
			var e *registry.Error
			if !errors.As(err, &e) || e.Status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %v", name, method, err)
			}
		}
	}
}

// While the local Harbor is down a peer's gives tokens. One that cannot be verified here is
// exchanged for one of the edge's own, with the same pulls.
func TestAPeersAnswerIsExchanged(t *testing.T) {
	f := newFixture(t)
	f.local.down.Store(true)
	a, pulls, err := f.ask(t, "ci", secret, scope("a/x"), scope("b/y"))
	if err != nil || a.Status != http.StatusOK || a.Source != "peer-mad1" || !slices.Equal(pulls, []string{"a/x"}) {
		t.Fatalf("%d from %s, %v, %v", a.Status, a.Source, pulls, err)
	}
	var body struct{ Token string }
	json.Unmarshal(a.Body, &body) //nolint:errcheck // shown below
	if !f.check.Own("Bearer " + body.Token) {
		t.Error("a token that nobody here can verify is passed on")
	}
	if a, _, err := f.ask(t, "ci", "wrong", scope("a/x")); err != nil || a.Status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d, %v", a.Status, err)
	}
	for _, r := range f.other.asked {
		if r.Header.Get("Authorization") != "" {
			t.Error("the peer's Harbor is shown the client's credentials as the edge's")
		}
	}
}

// What somebody else asks for in the same breath takes no grant away: Harbor lets the last
// scope of a project count for all of it.
func TestAPushBesideAPullTakesNoGrantAway(t *testing.T) {
	f := newFixture(t)
	f.ask(t, "", "", scope("open/x"))                                //nolint:errcheck // shown below
	f.ask(t, "", "", scope("open/x"), "repository:open/y:push")      //nolint:errcheck // as above
	f.ask(t, "", "", "repository:open/z:push", "repository:open/:x") //nolint:errcheck // as above
	if got := f.check.Remembered("", []string{"open/other"}); len(got) != 1 {
		t.Error("a public project is forgotten by a request for a push")
	}
}

// Of one request so many repos are remembered and no more.
func TestAScopeIsOneOfMany(t *testing.T) {
	f := newFixture(t)
	var scopes []string
	for i := range 100 {
		f.local.grants = append(f.local.grants, fmt.Sprint("b/", i))
		scopes = append(scopes, scope(fmt.Sprint("b/", i)))
	}
	if _, pulls, err := f.ask(t, "ci", secret, scopes...); err != nil || len(pulls) != 100 {
		t.Fatalf("%d, %v", len(pulls), err)
	}
	user := httptest.NewRequest(http.MethodGet, "/", nil)
	user.SetBasicAuth("ci", secret)
	n := len(f.check.Remembered(user.Header.Get("Authorization"), f.local.grants))
	if n != 32 {
		t.Errorf("%d repos of one request are remembered", n)
	}
}
