package access_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

const (
	basicOwn  = `Basic realm="Registry"`
	elsewhere = `Bearer realm="https://auth.example.net/token",service="plain"`
	itsOwn    = `Bearer realm="OWN/auth",service="plain"`
	forX      = `,scope="repository:a/x:pull"`
)

// plainRegistry is one that lets everybody read what is below public/, and ann all.
type plainRegistry struct {
	root       int      // the status of its root
	challenges []string // there, and to who is refused
	open       bool     // nobody is refused
}

func (p plainRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	status, challenges := http.StatusNotFound, p.challenges
	switch {
	case r.URL.Path == "/v2/":
		status = p.root
	case !p.open && !strings.HasPrefix(r.URL.Path, "/v2/public/") && (user != "ann" || password != secret):
		status = http.StatusUnauthorized
		if challenges == nil {
			challenges = []string{basicOwn}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	for _, challenge := range challenges {
		if status != http.StatusNotFound {
			w.Header().Add("WWW-Authenticate", strings.ReplaceAll(challenge, "OWN", "http://"+r.Host))
		}
	}
	w.WriteHeader(status)
	io.WriteString(w, `{}`) //nolint:errcheck // a HEAD has none
}

// A registry that is no Harbor challenges clients itself, and is asked about everybody: also
// about those who show nothing.
func TestAPlainRegistrySaysWhoMayDoWhat(t *testing.T) {
	for name, c := range map[string]struct {
		plainRegistry
		refused []string // the challenges to somebody who is refused
	}{
		"htpasswd":                       {plainRegistry{root: 401, challenges: []string{basicOwn}}, []string{basicOwn}},
		"a token service elsewhere":      {plainRegistry{root: 401, challenges: []string{elsewhere}}, []string{elsewhere + forX}},
		"a token service of its own":     {plainRegistry{root: 401, challenges: []string{itsOwn}}, []string{`Bearer realm="https://registry.example.org/auth",service="plain"` + forX}},
		"both":                           {plainRegistry{root: 401, challenges: []string{basicOwn, elsewhere}}, []string{basicOwn, elsewhere + forX}},
		"both on a line":                 {plainRegistry{root: 401, challenges: []string{basicOwn + ", " + elsewhere}}, []string{basicOwn + ", " + elsewhere + forX}},
		"an open root, as zot has it":    {plainRegistry{root: 200, challenges: []string{"basic realm=zot"}}, []string{"basic realm=zot"}},
		"an open root, and closed repos": {plainRegistry{root: 200}, []string{basicOwn}},
		"open":                           {plainRegistry{root: 200, open: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			check := before(t, c.ServeHTTP, nil)
			allow := func(who, authorization, repo string, may bool) {
				_, err := check.Allow(t.Context(), access.Query{Authorization: authorization, Repos: []string{repo}, Action: "pull", Scope: "repository:" + repo + ":pull", BaseURL: "https://registry.example.org"})
				var e *registry.Error
				switch {
				case may && err == nil:
				case may || !errors.As(err, &e) || e.Status != http.StatusUnauthorized || e.Challenge != strings.Join(c.refused, "\n"):
					t.Errorf("%s: %+v", who, err)
				}
			}
			for range 2 {
				allow("nobody", "", "a/x", c.open)
			}
			allow("nobody, of what everybody may read", "", "public/x", true)
			allow("ann, with a wrong password", basic("ann", "wrong"), "a/x", c.open)
			allow("ann", basic("ann", secret), "a/x", true)
			if _, err := check.Allow(t.Context(), access.Query{Repos: []string{""}, Action: "pull"}); !check.Plain(t.Context()) || err != nil {
				t.Errorf("plain: %v, the root: %v", check.Plain(t.Context()), err)
			}
			if !check.KnownPlain() {
				t.Error("it is not known")
			}
			if at := check.TokenService(t.Context(), "/auth", "https://registry.example.org"); at != (name == "a token service of its own") {
				t.Errorf("its token service is at /auth: %v", at)
			}
		})
	}
}

// While a registry does not answer, an open one is open. One that has refused somebody is not,
// though its root is: nobody can say of whom it is.
func TestAnOpenRegistryThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away, private atomic.Bool
		check := bubble(t, func(r *http.Request) (*http.Response, error) {
			switch {
			case away.Load():
				return nil, errors.New("away")
			case r.URL.Path == "/v2/":
				return says(http.StatusOK, "{}"), nil
			case private.Load():
				resp := says(http.StatusUnauthorized, "")
				resp.Header.Set("WWW-Authenticate", `Basic realm="Registry"`)
				return resp, nil
			}
			return says(http.StatusNotFound, ""), nil
		}, nil)
		for i, step := range []struct {
			after         time.Duration
			away, private bool
			want          int
		}{
			{0, false, false, 200},
			{time.Hour, true, false, 200},                   //
			{time.Minute, true, false, 200},                 //
			{time.Minute, false, true, 401},                 //
			{time.Second, false, true, 401},                 //
			{time.Hour, true, true, 503},                    //
			{10 * time.Second, false, true, 401},            //
			{10 * time.Second, false, false, 200},           // everybody may read it again
			{time.Minute, true, false, 200},                 // which is remembered
			{rememberedFor + time.Second, true, false, 503}, //
		} {
			time.Sleep(step.after)
			synctest.Wait()
			away.Store(step.away)
			private.Store(step.private)
			if _, err := check.Allow(t.Context(), nobody); statusOf(err) != step.want {
				t.Errorf("step %d: %v, want %d", i, err, step.want)
			}
			synctest.Wait()
		}
	})
}

const rememberedFor = 5 * time.Minute
