package login_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/cmd/internal/login"
)

func TestALoginAtTheProvider(t *testing.T) {
	i := newIssuer(t)
	d := newDoor(t, login.Config{OIDC: i.oidc()})
	b := d.browser(true)
	page := d.send(t, b, http.MethodGet, "/changes?last=1", "")
	if want := `href="/login/start?to=%2fchanges%3flast%3d1"`; page.Request.URL.Path != "/login" || !strings.Contains(page.text, want) || strings.Contains(page.text, "<form") {
		t.Fatalf("the login is %s\n%s", page.Request.URL, page.text)
	}
	if a := d.send(t, b, http.MethodGet, "/login/start?to=/changes%3flast%3d1", ""); a.text != "ada reads /changes?last=1" {
		t.Errorf("%s: %s", a.Request.URL, a.text)
	}
	cfg := d.cfg
	if err := d.guard.Use(cfg); err != nil { // the same again
		t.Fatal(err)
	}
	if a := d.send(t, b, http.MethodGet, "/", ""); a.text != "ada reads /" {
		t.Errorf("after a reload that changes nothing: %s", a.text)
	}
	other := *cfg.OIDC
	other.Groups = []string{"sre"}
	cfg.OIDC = &other
	if err := d.guard.Use(cfg); err != nil {
		t.Fatal(err)
	}
	if a := d.send(t, b, http.MethodGet, "/", ""); a.Request.URL.Path != "/login" {
		t.Errorf("with other groups than it was begun with, a session is good: %s", a.text)
	}
	if a := d.send(t, b, http.MethodGet, "/login/start", ""); a.StatusCode != http.StatusForbidden || !strings.Contains(a.text, "Ada is in none of the groups that may look at this: sre.") {
		t.Errorf("%s %s", a.Status, a.text)
	}
}

// Groups that the ID token does not have may be in UserInfo, of the same user.
func TestGroupsOfUserInfo(t *testing.T) {
	i := newIssuer(t)
	i.claims = func(c jwt.MapClaims) { delete(c, "groups") }
	i.info = map[string]any{"sub": "4711", "groups": []string{"ops"}}
	d := newDoor(t, login.Config{OIDC: i.oidc()})
	if a := d.send(t, d.browser(true), http.MethodGet, "/login/start", ""); a.text != "ada reads /" {
		t.Errorf("%s %s", a.Status, a.text)
	}
	i.info = map[string]any{"sub": "4712", "groups": []string{"ops"}}
	if a := d.send(t, d.browser(true), http.MethodGet, "/login/start", ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("of somebody else: %s", a.Status)
	}
}

type contradiction struct {
	status int
	wrong  func(*issuer)
}

// contradictions are what a provider, or who stands between, may say wrongly.
func contradictions() map[string]contradiction {
	set := func(name string, value any) func(*issuer) {
		return func(i *issuer) { i.claims = func(c jwt.MapClaims) { c[name] = value } }
	}
	drop := func(name string) func(*issuer) {
		return func(i *issuer) { i.claims = func(c jwt.MapClaims) { delete(c, name) } }
	}
	sign := func(with func(i *issuer, of *jwt.Token) string) func(*issuer) {
		return func(i *issuer) { i.sign = func(of *jwt.Token) string { return with(i, of) } }
	}
	lead := func(name, value string) func(*issuer) {
		return func(i *issuer) { i.leads = func(back url.Values) { back.Set(name, value) } }
	}
	return map[string]contradiction{
		"another nonce":      {http.StatusForbidden, set("nonce", "x")},
		"no nonce":           {http.StatusForbidden, drop("nonce")},
		"another audience":   {http.StatusForbidden, set("aud", "other")},
		"no audience":        {http.StatusForbidden, drop("aud")},
		"another party":      {http.StatusForbidden, set("azp", "other")},
		"another issuer":     {http.StatusForbidden, set("iss", "https://evil.example")},
		"expired":            {http.StatusForbidden, set("exp", time.Now().Add(-time.Minute).Unix())},
		"no end":             {http.StatusForbidden, drop("exp")},
		"of tomorrow":        {http.StatusForbidden, set("nbf", time.Now().Add(time.Hour).Unix())},
		"no groups":          {http.StatusForbidden, drop("groups")},
		"other groups":       {http.StatusForbidden, set("groups", []string{"staff", "op", "ops "})},
		"groups as one text": {http.StatusForbidden, set("groups", "staff,ops")},
		"groups of no names": {http.StatusForbidden, set("groups", []any{map[string]string{"name": "ops"}})},
		"groups null":        {http.StatusForbidden, set("groups", nil)},
		"another key":        {http.StatusForbidden, sign(func(i *issuer, of *jwt.Token) string { return signed(i.t, of, newKey(i.t)) })},
		"no signature": {http.StatusForbidden, sign(func(i *issuer, of *jwt.Token) string {
			return signed(i.t, as(jwt.SigningMethodNone, of), jwt.UnsafeAllowNoneSignatureType)
		})},
		"the client's secret": {http.StatusForbidden, sign(func(i *issuer, of *jwt.Token) string {
			return signed(i.t, as(jwt.SigningMethodHS256, of), []byte(secret))
		})},
		"a signature cut off": {http.StatusForbidden, sign(func(i *issuer, of *jwt.Token) string {
			s := signed(i.t, of, i.key)
			return s[:strings.LastIndex(s, ".")+1]
		})},
		"no token":             {http.StatusForbidden, sign(func(*issuer, *jwt.Token) string { return "" })},
		"no JWT":               {http.StatusForbidden, sign(func(*issuer, *jwt.Token) string { return "a.b.c" })},
		"another state":        {http.StatusBadRequest, lead("state", "x")},
		"no state":             {http.StatusBadRequest, lead("state", "")},
		"another code":         {http.StatusBadGateway, lead("code", "x")},
		"an error":             {http.StatusForbidden, lead("error", "access_denied")},
		"an error with markup": {http.StatusForbidden, lead("error", "<script>alert(1)</script>")},
		"a broken token request": {http.StatusBadGateway, func(i *issuer) {
			i.answers = func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusInternalServerError); return true }
		}},
		"a redirect of the token request": {http.StatusBadGateway, func(i *issuer) {
			i.answers = func(w http.ResponseWriter) bool {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return true
			}
		}},
		"an endless answer": {http.StatusBadGateway, func(i *issuer) {
			i.answers = func(w http.ResponseWriter) bool { w.Write(make([]byte, 4<<20)); return true } //nolint:errcheck // it is cut off
		}},
	}
}

func TestWhatContradictsIsRefused(t *testing.T) {
	for name, c := range contradictions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			c.wrong(i)
			d := newDoor(t, login.Config{OIDC: i.oidc()})
			b := d.browser(true)
			a := d.send(t, b, http.MethodGet, "/login/start?to=/fleet", "")
			if a.StatusCode != c.status || !strings.Contains(a.text, `role="alert"`) || strings.Contains(a.text, "<script") {
				t.Errorf("%s\n%s", a.Status, a.text)
			}
			d.send(t, b, http.MethodGet, "/fleet", "")
			if d.behind.Load() != 0 {
				t.Error("it came through")
			}
			if strings.Contains(d.log.String(), secret) || !strings.Contains(d.log.String(), "was refused") {
				t.Errorf("the log says\n%s", d.log)
			}
		})
	}
}

func newKey(t *testing.T) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Error(err)
	}
	return key
}

// An answer of the provider's is good once, in the browser that began, for ten minutes.
func TestAnAnswerIsForWhoBegan(t *testing.T) {
	i := newIssuer(t)
	d := newDoor(t, login.Config{OIDC: i.oidc()})
	step := func(b *http.Client, at string) answer { return d.send(t, b, http.MethodGet, at, "") }
	begin := func(b *http.Client) (back string) {
		return step(b, step(b, "/login/start").Header.Get("Location")).Header.Get("Location")
	}
	victim, attacker := d.browser(false), d.browser(false)
	back := begin(attacker)
	if a := step(victim, back); a.StatusCode != http.StatusBadRequest || len(a.Cookies()) > 0 && a.Cookies()[0].Value != "" {
		t.Errorf("an answer that another browser began: %s", a.Status)
	}
	begin(victim)
	if a := step(victim, back); a.StatusCode != http.StatusBadRequest {
		t.Errorf("an answer to another login: %s", a.Status)
	}
	if a := step(attacker, back); a.StatusCode != http.StatusSeeOther {
		t.Errorf("who began: %s %s", a.Status, a.text)
	}
	if a := step(attacker, back); a.StatusCode != http.StatusBadRequest {
		t.Errorf("once more: %s", a.Status)
	}
	late := d.browser(false)
	back = begin(late)
	d.ahead.Store(int64(10 * time.Minute))
	if a := step(late, back); a.StatusCode != http.StatusBadRequest {
		t.Errorf("after ten minutes: %s", a.Status)
	}
	d.ahead.Store(0)
	elsewhere := newDoor(t, login.Config{OIDC: i.oidc()})
	b := d.browser(false)
	sealed := step(b, "/login/start").Cookies()[0]
	a := elsewhere.send(t, elsewhere.browser(false), http.MethodGet, "/login/back?state=x&code=y", "", "Cookie", sealed.Name+"="+sealed.Value)
	if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.text, "not begun here") {
		t.Errorf("a login that another edge began: %s", a.Status)
	}
}

// A provider that is away is said so, is not asked at each try, and is found when it is back.
func TestAProviderThatIsAway(t *testing.T) {
	i := newIssuer(t)
	o := i.oidc()
	o.Issuer += "/nowhere"
	d := newDoor(t, login.Config{OIDC: o})
	if a := d.send(t, d.browser(true), http.MethodGet, "/login/start", ""); a.StatusCode != http.StatusBadGateway || !strings.Contains(a.text, "Keycloak does not answer as it should") {
		t.Errorf("%s %s", a.Status, a.text)
	}
	if err := o.Discover(t.Context()); err == nil {
		t.Error("it was found")
	}
	if err := i.oidc().Discover(t.Context()); err != nil {
		t.Error(err)
	}
}
