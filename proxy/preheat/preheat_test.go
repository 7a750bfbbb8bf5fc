package preheat_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/proxy/preheat"
	"example.org/breakwater/registry"
)

var errFull, errNone = errors.New("it is full"), errors.New("it is of nobody")

// edge is a handler with what it has queued.
type edge struct {
	*preheat.Handler
	queued []string
	fails  error
}

func newEdge(secrets ...string) *edge {
	e := &edge{}
	e.Handler = &preheat.Handler{Secrets: func() []string { return secrets }, Full: func(err error) bool { return errors.Is(err, errFull) },
		Queue: func(repo, reference string) error {
			if e.fails == nil {
				e.queued = append(e.queued, repo+" "+reference)
			}
			return e.fails
		}}
	return e
}

func (e *edge) ask(method, path, user, password, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	rec := httptest.NewRecorder()
	if err := e.Serve(rec, r); err != nil {
		registry.WriteError(rec, err)
	}
	return rec
}

func events(all ...string) string {
	return `{"Events":[` + strings.Join(all, ",") + `]}`
}

// push is an event as Harbor's driver writes it.
func push(repo, tag, digest string) string {
	return fmt.Sprintf(`{"Id":"1","TimeStamp":"2026-01-02T03:04:05Z","Action":"push","Target":{"MediaType":"application/vnd.docker.distribution.manifest.v2+json","Digest":%q,"Repository":%q,`+
		`"Url":"http://169.254.169.254/secret","Tag":%q},"Request":null,"Actor":null}`, digest, repo, tag)
}

const (
	health = preheat.Path + "/health"
	notify = preheat.Path + "/registry/notifications"
)

func TestWhoMayAsk(t *testing.T) {
	for _, c := range []struct {
		secrets        []string
		user, password string
		status         int
	}{
		{[]string{"new", "old"}, preheat.User, "new", 200},
		{[]string{"new", "old"}, preheat.User, "old", 200},
		{[]string{"new", "old"}, preheat.User, "other", 401},
		{[]string{"new", "old"}, "admin", "new", 401},
		{[]string{"new"}, "", "", 401},
		{[]string{""}, preheat.User, "", 401},
		{nil, preheat.User, "", 401},
	} {
		e := newEdge(c.secrets...)
		a := e.ask(http.MethodGet, health, c.user, c.password, "")
		if a.Code != c.status || (c.status == 401) != strings.HasPrefix(a.Header().Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%q of %q with %q: %d %s", c.secrets, c.user, c.password, a.Code, a.Body)
		}
		if a := e.ask(http.MethodPost, notify, c.user, c.password, events(push("multi-dc-app/web", "v1", "sha256:a"))); (a.Code == 204) != (c.status == 200) || len(e.queued) > 0 != (c.status == 200) {
			t.Errorf("%q of %q with %q: %d %s, queued %q", c.secrets, c.user, c.password, a.Code, a.Body, e.queued)
		}
	}
}

func TestWhatIsQueued(t *testing.T) {
	e := newEdge("s")
	body := events(push("multi-dc-app/web", "v1", "sha256:a"), push("cache-hub/library/nginx", "", "sha256:b"), strings.Replace(push("repl-x/y", "v1", ""), "push", "pull", 1))
	if a := e.ask(http.MethodPost, notify, preheat.User, "s", body); a.Code != http.StatusNoContent || !slices.Equal(e.queued, []string{"multi-dc-app/web v1", "cache-hub/library/nginx sha256:b"}) {
		t.Errorf("%d %s, queued %q", a.Code, a.Body, e.queued)
	}
}

func TestRefusals(t *testing.T) {
	good := events(push("multi-dc-app/web", "v1", ""))
	for _, c := range []struct {
		method, path, body string
		fails              error
		status             int
	}{
		{http.MethodPost, notify, good, errFull, 503},
		{http.MethodPost, notify, good, errNone, 400},
		{http.MethodPost, notify, "", nil, 400},
		{http.MethodPost, notify, "[]", nil, 400},
		{http.MethodPost, notify, events(), nil, 400},
		{http.MethodPost, notify, events("null"), nil, 204}, // nothing of a push
		{http.MethodPost, notify, strings.Repeat(" ", 64<<10) + good, nil, 400},
		{http.MethodGet, notify, "", nil, 405},
		{http.MethodPost, health, "", nil, 405},
		{http.MethodGet, preheat.Path + "/other", "", nil, 404},
	} {
		e := newEdge("s")
		e.fails = c.fails
		a := e.ask(c.method, c.path, preheat.User, "s", c.body)
		if a.Code != c.status || c.status == 503 != (a.Header().Get("Retry-After") != "") || len(e.queued) > 0 {
			t.Errorf("%s %s %.100s: %d %s, queued %q", c.method, c.path, c.body, a.Code, a.Body, e.queued)
		}
		if c.fails != nil && !strings.Contains(a.Body.String(), c.fails.Error()) {
			t.Errorf("Harbor's log does not say why: %s", a.Body)
		}
	}
}

func FuzzNotification(f *testing.F) {
	f.Add(events(push("multi-dc-app/web", "v1", "sha256:a")))
	f.Fuzz(func(t *testing.T, body string) {
		e := newEdge("s")
		if a := e.ask(http.MethodPost, notify, preheat.User, "s", body); a.Code != http.StatusNoContent && !json.Valid(a.Body.Bytes()) {
			t.Errorf("%q: %d %s", body, a.Code, a.Body)
		}
	})
}
