package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

const unheard = -1 * time.Second // the life of what is no token

var lives = map[string]struct {
	answer map[string]any
	life   time.Duration
}{
	"300 s":                    {map[string]any{"token": "t", "expires_in": 300}, 5 * time.Minute},
	"5 s":                      {map[string]any{"token": "t", "expires_in": 5}, 5 * time.Second},
	"nothing said":             {map[string]any{"token": "t"}, time.Minute},
	"0":                        {map[string]any{"token": "t", "expires_in": 0}, time.Minute},
	"less than nothing":        {map[string]any{"token": "t", "expires_in": -5}, time.Minute},
	"a year":                   {map[string]any{"token": "t", "expires_in": 1e300}, 24 * time.Hour},
	"in quotes":                {map[string]any{"token": "t", "expires_in": "300"}, 5 * time.Minute},
	"access_token alone":       {map[string]any{"access_token": "t", "expires_in": 300}, 5 * time.Minute},
	"an empty access_token":    {map[string]any{"token": "t", "access_token": "", "expires_in": 300}, 5 * time.Minute},
	"issued 200 s ago":         {map[string]any{"token": "t", "expires_in": 300, "issued_at": -200}, 100 * time.Second},
	"issued at no time":        {map[string]any{"token": "t", "expires_in": 300, "issued_at": "0001-01-01T00:00:00Z"}, 5 * time.Minute},
	"issued in 1970":           {map[string]any{"token": "t", "expires_in": 300, "issued_at": "1970-01-01T00:00:00Z"}, 5 * time.Minute},
	"issued in the future":     {map[string]any{"token": "t", "expires_in": 300, "issued_at": 200}, 5 * time.Minute},
	"issued 300 s ago":         {map[string]any{"token": "t", "expires_in": 300, "issued_at": -300}, 5 * time.Minute},
	"issued when nobody knows": {map[string]any{"token": "t", "expires_in": 300, "issued_at": "yesterday"}, 5 * time.Minute},
	"no token":                 {map[string]any{"token": ""}, unheard},
	"a token of two lines":     {map[string]any{"token": "t\nx"}, unheard},
}

// A token is good for as long as its service says, by its own clock: it is made anew before
// it ends, and nobody waits for that; and it is not used longer.
func TestATokenIsKeptForAsLongAsItIsGood(t *testing.T) {
	for name, c := range lives {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			renewal, answer := make(chan struct{}, 4), make(chan struct{}, 4)
			theirs := time.Now().Add(-24 * time.Hour) // its clock says another time
			g.token = func(w http.ResponseWriter, _ *http.Request) {
				renewal <- struct{}{}
				<-answer
				w.Header().Set("Date", theirs.UTC().Format(http.TimeFormat))
				says := maps.Clone(c.answer)
				if ago, ok := says["issued_at"].(int); ok {
					says["issued_at"] = theirs.Add(time.Duration(ago) * time.Second).Format(time.RFC3339)
				}
				json.NewEncoder(w).Encode(says)
			}
			t.Cleanup(func() { close(answer) })
			var passed atomic.Int64
			begun := time.Now()
			s := newSource(t, SourceConfig{URL: g.URL, Now: func() time.Time { return begun.Add(time.Duration(passed.Load())) }})
			get := func(after time.Duration) error {
				passed.Store(int64(after))
				got, err := status(t, s, "p/a")
				if err == nil && got != http.StatusOK {
					err = fmt.Errorf("status %d", got)
				}
				return err
			}
			answer <- struct{}{}
			err := get(0)
			<-renewal
			if c.life == unheard {
				if !errors.Is(err, &Error{Code: CodeUnavailable}) {
					t.Error(err)
				}
				answer <- struct{}{}
				return
			}
			ahead := c.life - 300*time.Second/5
			if c.answer["issued_at"] == nil || c.life >= 5*time.Minute {
				ahead = c.life * 4 / 5
			}
			if err := errors.Join(err, get(ahead-time.Second)); err != nil || len(renewal) > 0 {
				t.Fatalf("%v; made anew too early: %d", err, len(renewal))
			}
			if err := get(ahead); err != nil { // the token service says nothing yet
				t.Fatal(err)
			}
			<-renewal
			answer <- struct{}{}
			trial.Until(t, func() error {
				if p, ok := s.client.Load().login.passes.Get(place{strings.TrimPrefix(g.URL, "http://"), "p/a", nil}.key()); !ok || p.ends.Sub(begun) <= c.life {
					return errors.New("its successor is not kept")
				}
				return nil
			})
			answer <- struct{}{}
			if err := get(3 * c.life); err != nil || len(renewal) != 1 {
				t.Errorf("%v: after its end, %d more", err, len(renewal))
			}
		})
	}
}

// A token that is refused before its end is made once more, and the next answer is the word;
// Harbor asks for Basic then, whose token service gives the next one too.
func TestARefusedTokenIsMadeOnceMore(t *testing.T) {
	for name, c := range map[string]struct {
		status    int
		message   string
		challenge string
	}{
		"401, and a challenge":   {401, "", `Bearer realm="{self}/token"`},
		"401, as Harbor says it": {401, "", `Basic realm="harbor"`},
		"401, and no challenge":  {401, "", ""},
		"403, it has expired":    {403, "Your Authorization Token has expired.", ""},
		"400, it has expired":    {400, "authorization token has expired", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			var tokens, good atomic.Int64
			g.token = func(w http.ResponseWriter, r *http.Request) { give(fmt.Sprint(tokens.Add(1)), 300)(w, r) }
			g.repo = func(w http.ResponseWriter, r *http.Request) {
				switch shown := r.Header.Get("Authorization"); {
				case shown == "":
					g.wants("nothing", `Bearer realm="{self}/token"`)(w, r)
				case shown == fmt.Sprint("Bearer ", good.Load()):
					open(w, r)
				default:
					w.Header().Set("Www-Authenticate", strings.ReplaceAll(c.challenge, "{self}", g.URL))
					refuse(c.status, "DENIED", c.message)(w, r)
				}
			}
			s := newSource(t, SourceConfig{URL: g.URL})
			for good.Store(1); good.Load() < 4; good.Add(1) {
				if got, err := status(t, s, "p/a"); got != http.StatusOK || tokens.Load() != good.Load() {
					t.Fatalf("token %d: %d, %v; %d were made", good.Load(), got, err, tokens.Load())
				}
			}
			good.Store(100) // whatever is made is refused
			g.asked("")
			if got, err := status(t, s, "p/a"); got != c.status {
				t.Errorf("%d, %v", got, err)
			}
			if n := g.asked("/v2/"); n != 2 {
				t.Errorf("%d requests with tokens that are refused", n)
			}
		})
	}
}

// A registry may know a repo by another name than clients do, and says which.
func TestATokenIsForWhatTheRegistryNames(t *testing.T) {
	g := newGuarded(t)
	g.token = func(w http.ResponseWriter, r *http.Request) { give(r.FormValue("scope"), 0)(w, r) }
	g.repo = g.wants("Bearer repository:org/a:pull", `Bearer realm="{self}/token",scope="repository:org/a:pull"`)
	if got, err := status(t, newSource(t, SourceConfig{URL: g.URL}), "p/a"); got != http.StatusOK {
		t.Errorf("%d, %v", got, err)
	}
}

// elsewhere has a transport find hosts that do not exist at test servers. Their addresses are
// not looked at, they stand for ones outside; but those of hosts whose names begin with inside.
func elsewhere(hosts map[string]*httptest.Server) func(http.RoundTripper) http.RoundTripper {
	return func(rt http.RoundTripper) http.RoundTripper {
		pools := rt.(located).inner.(lanes)
		for _, pool := range []*http.Transport{pools.questions, pools.bulk} {
			dial := pool.DialContext
			pool.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				host, _, _ := net.SplitHostPort(address)
				if srv := hosts[host]; srv != nil && strings.HasPrefix(host, "inside") {
					return dial(ctx, network, srv.Listener.Addr().String())
				} else if srv != nil {
					return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
				}
				return dial(ctx, network, address)
			}
		}
		return pools
	}
}

// A token service of another domain is asked, and is shown credentials only where the fleet
// file names it.
func TestARealmElsewhereIsAskedAnonymously(t *testing.T) {
	realm := newGuarded(t)
	realm.token = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			give("login's", 0)(w, r)
			return
		}
		give("anybody's", 0)(w, r)
	}
	reg := newGuarded(t)
	reg.repo = func(w http.ResponseWriter, r *http.Request) {
		if shown := r.Header.Get("Authorization"); shown == "Bearer login's" || shown == "Bearer anybody's" && strings.Contains(r.URL.Path, "/public/") {
			open(w, r)
			return
		}
		reg.wants("nothing", `Bearer realm="http://ghcr.example.net/token"`)(w, r)
	}
	hosts := elsewhere(map[string]*httptest.Server{"lscr.example.com": reg.Server, "ghcr.example.net": realm.Server})
	for name, c := range map[string]struct {
		cfg             SourceConfig
		public, private int
		is              error
		shown           bool
	}{
		"anonymous":                      {SourceConfig{}, 200, 401, nil, false},
		"credentials":                    {SourceConfig{Username: "robot", Password: "secret"}, 200, 0, ErrElsewhere, false},
		"credentials that the host gets": {SourceConfig{Username: "robot", Password: "secret", Realms: []string{"other.example.net", "GHCR.example.net"}}, 200, 200, nil, true},
	} {
		realm.asked("")
		c.cfg.URL, c.cfg.Wrap = "http://lscr.example.com", hosts
		s := newSource(t, c.cfg)
		if got, err := status(t, s, "p/public/a"); got != c.public {
			t.Errorf("%s: public: %d, %v", name, got, err)
		}
		if got, err := status(t, s, "p/private/a"); got != c.private || !errors.Is(err, c.is) {
			t.Errorf("%s: private: %d, %v", name, got, err)
		}
		if shown := realm.asked("/token Basic") > 0; shown != c.shown {
			t.Errorf("%s: the realm is shown the credentials: %t", name, shown)
		}
	}
}

// What a token service redirects to is not shown the credentials unless it may be itself.
func TestARealmsRedirectTakesNoCredentialsAlong(t *testing.T) {
	other := newGuarded(t)
	reg := newGuarded(t)
	reg.token = http.RedirectHandler("http://other.example.net/token", http.StatusTemporaryRedirect).ServeHTTP
	hosts := elsewhere(map[string]*httptest.Server{"reg.example.com": reg.Server, "other.example.net": other.Server})
	reg.repo = reg.wants("Bearer t", `Bearer realm="http://reg.example.com/token"`)
	for _, realms := range [][]string{nil, {"other.example.net"}} {
		s := newSource(t, SourceConfig{URL: "http://reg.example.com", Username: "robot", Password: "secret", Realms: realms, Wrap: hosts})
		if got, err := status(t, s, "p/a"); got != http.StatusOK {
			t.Errorf("%v: %d, %v", realms, got, err)
		}
		if shown := other.asked("/token Basic") > 0; shown != (realms != nil) {
			t.Errorf("%v: it is shown the credentials: %t", realms, shown)
		}
	}
}

// A source that is reached by TLS has nobody asked without it.
func TestARealmDoesNotLeadOutOfTLS(t *testing.T) {
	realm := newGuarded(t)
	reg := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		realm.wants("nothing", `Bearer realm="http://realm.example.net/token"`)(w, r)
	}))
	defer reg.Close()
	trust := &tls.Config{RootCAs: x509.NewCertPool()}
	trust.RootCAs.AddCert(reg.Certificate())
	for _, cfg := range []SourceConfig{{}, {Username: "robot", Password: "secret"}, {Username: "robot", Password: "secret", Realms: []string{"realm.example.net"}}} {
		cfg.URL, cfg.TLS, cfg.Wrap = reg.URL, trust, elsewhere(map[string]*httptest.Server{"realm.example.net": realm.Server})
		if got, err := status(t, newSource(t, cfg), "p/a"); !errors.Is(err, &Error{Code: CodeUnavailable}) || realm.asked("/token") > 0 {
			t.Errorf("%d, %v", got, err)
		}
	}
}

// Who looks at the connection of a request does not see those of its handshake: where a
// redirect may lead is judged by it.
func TestAHandshakeIsNoPartOfTheRequest(t *testing.T) {
	g := newGuarded(t)
	s := newSource(t, SourceConfig{URL: g.URL})
	seen := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { seen++ }})
	resp, err := s.Do(ctx, blobRequest(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := g.asked("/"); n != 3 || seen != 1 {
		t.Errorf("%d requests, of which %d are seen", n, seen)
	}
}

// Nobody leads into the datacenter by a realm who is not in it, neither by an address nor by a
// name of the own domain; nor out of TLS; and what a realm redirects to is no better.
func TestARealmDoesNotLeadInside(t *testing.T) {
	var strayed atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		strayed.Add(1)
		give("t", 0)(w, r)
	}))
	defer inside.Close()
	redirects := httptest.NewServer(http.RedirectHandler(inside.URL+"/token", http.StatusTemporaryRedirect))
	defer redirects.Close()
	reg := newGuarded(t)
	hosts := map[string]*httptest.Server{"reg.example.com": reg.Server, "realm.example.net": redirects, "inside.example.com": inside}
	for _, realm := range []string{inside.URL + "/token", "http://localhost:1/token", "http://169.254.169.254/token", "http://10.0.0.1/token", "http://inside.example.com/token", "http://realm.example.net/token"} {
		for _, cfg := range []SourceConfig{{}, {Username: "robot", Password: "secret"}} {
			reg.repo = reg.wants("Bearer t", `Bearer realm="`+realm+`"`)
			cfg.URL, cfg.Wrap = "http://reg.example.com", elsewhere(hosts)
			if got, err := status(t, newSource(t, cfg), "p/a"); !errors.Is(err, &Error{Code: CodeUnavailable}) || strayed.Load() > 0 {
				t.Errorf("%s: %d, %v, asked %d times", realm, got, err, strayed.Load())
			}
		}
	}
}

// Who is inside has its token service inside too, in its own domain; and wherever the fleet
// file says.
func TestARealmInsideIsOfThoseInside(t *testing.T) {
	realm := newGuarded(t)
	realm.token = forLogin(give("t", 0), refuse(http.StatusUnauthorized, "UNAUTHORIZED", "no"))
	reg := newGuarded(t)
	reg.repo = reg.wants("Bearer t", `Bearer realm="`+realm.URL+`/token"`)
	if got, err := status(t, newSource(t, SourceConfig{URL: reg.URL, Username: "robot", Password: "secret"}), "p/a"); got != http.StatusOK {
		t.Errorf("its own domain's: %d, %v", got, err)
	}
	reg.repo = reg.wants("Bearer t", `Bearer realm="`+strings.Replace(realm.URL, "127.0.0.1", "localhost", 1)+`/token"`)
	for _, realms := range [][]string{nil, {"localhost"}} {
		got, err := status(t, newSource(t, SourceConfig{URL: reg.URL, Username: "robot", Password: "secret", Realms: realms}), "p/a")
		if (got == http.StatusOK) != (realms != nil) {
			t.Errorf("%v: %d, %v", realms, got, err)
		}
	}
}

// What a source redirects to is shown what it asks for of anybody, and nobody's credentials.
func TestARegistryThatAnotherRedirectsToIsAsked(t *testing.T) {
	real := newGuarded(t)
	vanity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://real.example.net"+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer vanity.Close()
	real.repo = real.wants("Bearer t", `Bearer realm="http://real.example.net/token"`)
	for _, cfg := range []SourceConfig{{}, {Username: "robot", Password: "secret"}} {
		cfg.URL, cfg.Wrap = "http://vanity.example.com", elsewhere(map[string]*httptest.Server{"vanity.example.com": vanity, "real.example.net": real.Server})
		s := newSource(t, cfg)
		for range 2 {
			if got, err := status(t, s, "p/a"); got != http.StatusOK {
				t.Errorf("%d, %v", got, err)
			}
		}
	}
	real.mu.Lock()
	defer real.mu.Unlock()
	for _, seen := range real.seen {
		if strings.Contains(seen, "Basic") {
			t.Error(seen)
		}
	}
}

// Storage that asks for a login refuses: it is shown nothing, and nobody is asked for a token.
func TestStorageIsShownNothing(t *testing.T) {
	storage := newGuarded(t)
	storage.repo = storage.wants("Bearer t", `Bearer realm="http://storage.example.net/token"`)
	reg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://storage.example.net/bucket/"+someDigest+"?signature=x", http.StatusTemporaryRedirect)
	}))
	defer reg.Close()
	for _, cfg := range []SourceConfig{{}, {Username: "robot", Password: "secret"}} {
		cfg.URL, cfg.Wrap = "http://reg.example.com", elsewhere(map[string]*httptest.Server{"reg.example.com": reg, "storage.example.net": storage.Server})
		s := newSource(t, cfg)
		storage.asked("")
		for range 2 {
			if got, err := status(t, s, "p/a"); !errors.Is(err, ErrRedirected) {
				t.Errorf("%d, %v", got, err)
			}
		}
		storage.mu.Lock()
		if seen := strings.Join(storage.seen, ", "); seen != strings.TrimSuffix(strings.Repeat("/bucket/"+someDigest+", ", 4), ", ") {
			t.Errorf("the storage sees %s", seen)
		}
		storage.mu.Unlock()
	}
}
