package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/token"
	"example.org/breakwater/registry"
)

// ofPeer is another edge's request for a client.
func ofPeer(t *testing.T, user, password string, scopes ...string) *http.Request {
	t.Helper()
	r := request(t, user, password, scopes...)
	r.URL.Path = peer.TokenPath
	r.Header.Set(peer.ClientHeader, r.Header.Get("Authorization"))
	r.Header.Set("Authorization", "Bearer of-the-edge")
	return r
}

// endless is an answer that is valid and has no end.
func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"token":"`)) //nolint:errcheck // shown by the answer
	for range 3 << 9 {
		w.Write([]byte(strings.Repeat("a", 1<<10))) //nolint:errcheck // as above
	}
	w.Write([]byte(`"}`)) //nolint:errcheck // as above
}

// What is no token service's answer is none: a peer's Harbor is asked.
func TestWhatIsNoAnswer(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"500":             says(http.StatusInternalServerError, "application/json", `{"token":"a"}`),
		"503":             says(http.StatusServiceUnavailable, "application/json", `{"token":"a"}`),
		"a limiter":       says(http.StatusTooManyRequests, "application/json", `{"token":"a"}`),
		"a front's 404":   says(http.StatusNotFound, "text/html", ""),
		"a redirect":      says(http.StatusFound, "text/html", ""),
		"a page":          says(http.StatusOK, "text/html", "<html>log in</html>"),
		"more than 1 MiB": endless,
		"one that breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte(`{"token":"a"}`))
		},
		"a status without end": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusForbidden)
		},
	} {
		f := newFixture(t)
		f.local.failing(answer)
		if a, pulls, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != "peer-mad1" || !slices.Equal(pulls, []string{"a/x"}) {
			t.Errorf("%s: %d from %q, %v, %v", name, a.Status, a.Source, pulls, err)
		}
	}
}

// What a token service says to the client is the client's to read: so is a refusal, with the
// challenge's realm as the client reaches it, and a token of another kind.
func TestWhatIsAnAnswer(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		status int
		who    string
	}{
		"400":          {says(http.StatusBadRequest, "application/json", `{"errors":[]}`), 400, ""},
		"403":          {says(http.StatusForbidden, "text/html", "not from here"), 403, ""},
		"499":          {says(499, "text/html", "gone"), 499, ""},
		"another kind": {says(http.StatusOK, "application/json", `{"token":"opaque"}`), 200, ""},
		"an access token": {func(w http.ResponseWriter, r *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{"access_token": f.local.sign(r.URL.Query()["scope"], "ci")}) //nolint:errcheck // shown below
		}, 200, "ci"},
	} {
		var said *httptest.ResponseRecorder
		f.local.failing(func(w http.ResponseWriter, r *http.Request) {
			said = httptest.NewRecorder()
			said.Header().Set("X-Request-Id", "9")
			said.Header().Set("Www-Authenticate", `Bearer realm="`+f.local.URL+`/service/token",service="harbor-registry"`)
			said.Header().Set("Cache-Status", "nginx; hit")
			c.answer(said, r)
			for name, values := range said.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(said.Code)
			w.Write(said.Body.Bytes()) //nolint:errcheck // shown below
		})
		a, _, err := f.ask(t, "ci", secret, scope("a/x"))
		if err != nil || a.Status != c.status || a.Source != "harbor" || a.Who != c.who || string(a.Body) != said.Body.String() {
			t.Errorf("%s: %d from %q for %q, %s, %v", name, a.Status, a.Source, a.Who, a.Body, err)
		}
		for name, want := range map[string]string{"X-Request-Id": "9", "Content-Type": said.Header().Get("Content-Type"), "Www-Authenticate": `Bearer realm="http://example.com/service/token",service="harbor-registry"`,
			"Cache-Status": "", "Content-Length": "", "Connection": ""} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q", c.who, name, got)
			}
		}
	}
	if n := f.other.times(); n != 0 {
		t.Errorf("the peer was asked %d times", n)
	}
}

// A Harbor that hangs is left after the deadline; a client that is gone asks nobody else.
func TestAHarborThatHangs(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	f := newFixture(t, func(cfg *token.Config) { cfg.Deadline = 50 * time.Millisecond })
	f.local.failing(hang)
	if a, _, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != "peer-mad1" {
		t.Errorf("from %q, %v", a.Source, err)
	}
	f = newFixture(t)
	ctx, leave := context.WithCancel(t.Context())
	f.local.failing(func(w http.ResponseWriter, r *http.Request) { leave(); hang(w, r) })
	if _, err := f.service.Answer(request(t, "ci", secret, scope("a/x")).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("to a client that is gone: %v", err)
	}
	if n := f.other.times(); n != 0 || f.tokens(t)["nobody"] != 0 {
		t.Errorf("for a client that is gone the peer was asked %d times, counted as %v", n, f.tokens(t))
	}
}

// A Harbor that is seen to be down is not asked, be it the local one or a peer's.
func TestAHarborThatIsDownIsNotAsked(t *testing.T) {
	f := newFixture(t)
	f.grant(t)
	f.allDown(true)
	f.other.dead.Store(true)
	trial.Until(t, func() error {
		f.advance(2 * time.Second)
		before := f.local.times() + f.other.times()
		if a, _, err := f.ask(t, "ci", secret, scope("a/x")); err != nil || a.Source != token.Outage {
			t.Errorf("from %q, %v", a.Source, err)
		}
		if n := f.local.times() + f.other.times() - before; n > 0 {
			return fmt.Errorf("they are asked %d times", n)
		}
		return nil
	})
}

// A peer's token that verifies here is passed on as it is.
func TestAPeersTokenThatVerifiesIsPassedOn(t *testing.T) {
	f := newFixture(t)
	f.other.key = f.local.key
	f.local.down.Store(true)
	a, pulls, err := f.ask(t, "ci", secret, scope("a/x"))
	if err != nil || a.Source != "peer-mad1" || a.Who != "ci" || !slices.Equal(pulls, []string{"a/x"}) || f.check.Own("Bearer "+tokenOf(a)) {
		t.Errorf("from %q for %q, %v, %v", a.Source, a.Who, pulls, err)
	}
	asked := f.other.asked[0]
	if asked.URL.Query().Get("service") != registry.HarborService || asked.URL.Query().Get("scope") != scope("a/x") || asked.Header.Get(peer.ClientHeader) == "" {
		t.Errorf("the peer was asked %s", asked.URL)
	}
	if got := f.tokens(t); got["peer-mad1"] != 1 || len(got) != 3 {
		t.Errorf("counted as %v", got)
	}
}

// A peer is answered by this datacenter's Harbor alone, of the client that it names: with what
// Harbor says, or whether it is down (503) or well and did not answer (429).
func TestAPeerIsAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		password string
		breaks   func(h *harbor)
		status   int
	}{
		"Harbor knows the client":    {secret, func(*harbor) {}, 200},
		"Harbor refuses the client":  {"wrong", func(*harbor) {}, 401},
		"Harbor is down":             {secret, func(h *harbor) { h.down.Store(true) }, 503},
		"Harbor has no database":     {secret, func(h *harbor) { h.noDatabase.Store(true) }, 503},
		"a limiter before it":        {secret, func(h *harbor) { h.failing(says(http.StatusTooManyRequests, "text/plain", "")) }, 429},
		"Harbor fails and is well":   {secret, func(h *harbor) { h.failing(says(http.StatusInternalServerError, "text/plain", "")) }, 429},
		"Harbor's page in its place": {secret, func(h *harbor) { h.failing(says(http.StatusOK, "text/html", "log in")) }, 429},
	} {
		f := newFixture(t)
		c.breaks(f.local)
		a, err := f.service.AnswerPeer(ofPeer(t, "ci", c.password, scope("a/x")))
		var e *registry.Error
		if errors.As(err, &e) {
			if a.Status = e.Status; e.RetryAfter == 0 {
				t.Errorf("%s: when to come again is not said", name)
			}
		}
		if a.Status != c.status || f.other.times() > 0 {
			t.Errorf("%s: %d, %v", name, a.Status, err)
		}
		if c.status == http.StatusOK && (a.Source != "harbor" || tokenOf(a) == "" || a.Header.Get("Content-Type") != "application/json") || c.status == http.StatusUnauthorized && a.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: %v %s", name, a.Header, a.Body)
		}
		for name := range a.Header {
			if name != "Content-Type" && name != "Www-Authenticate" {
				t.Errorf("%s: it is nobody's", name)
			}
		}
	}
}
