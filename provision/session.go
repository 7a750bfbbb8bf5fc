package provision

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// errLogin is wrapped by what says that the fleet file's account is refused.
var errLogin = errors.New("this Harbor refuses harbor.username and harbor.password")

// login opens a session if there is none: the password costs Harbor 130 ms of a
// processor each time it is shown, the session 5. A password that is refused is shown
// once in a run: behind it may be an LDAP that locks the account.
func (h *harbor) login(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused || h.cookies != nil || h.basic {
		if h.refused {
			return errLogin
		}
		return nil
	}
	first, err := h.ask(ctx, http.MethodGet, "/c/login", nil)
	if err != nil {
		return err
	}
	csrf := first.Header.Get("X-Harbor-Csrf-Token")
	if csrf == "" && first.StatusCode >= 500 {
		return said{"this Harbor answers " + first.Status, first.StatusCode}
	}
	sessions := csrf != "" && !strings.HasPrefix(h.user, h.prefix)
	if csrf == "" || sessions && h.user != administrator {
		authMode, err := h.identify(ctx)
		if err != nil {
			return err
		}
		// Where people log in by OIDC they have a CLI secret instead of a password, for which
		// there are no sessions.
		sessions = sessions && (h.user == administrator || authMode != "oidc_auth")
	}
	if !sessions {
		h.basic, err = h.accepts(ctx, h.user, h.password)
		h.refused = err == nil && !h.basic
	} else {
		err = h.openSession(ctx, first.Cookies(), csrf)
	}
	if h.refused {
		return errLogin
	}
	return err
}

const administrator = "admin" // of Harbor itself, whoever logs others in

// openSession shows the password, once.
func (h *harbor) openSession(ctx context.Context, cookies []*http.Cookie, csrf string) error {
	form := url.Values{"principal": {h.user}, "password": {h.password}}.Encode()
	resp, err := h.ask(ctx, http.MethodPost, "/c/login", func(req *http.Request) {
		for _, c := range cookies {
			req.AddCookie(c)
		}
		req.Body = io.NopCloser(strings.NewReader(form))
		req.ContentLength = int64(len(form))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Harbor-CSRF-Token", csrf)
		req.Header.Set("Referer", h.base+"/")
	})
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusUnauthorized:
		h.refused = true
		return nil
	case resp.StatusCode != http.StatusOK:
		return said{"log in: this Harbor answers " + resp.Status, resp.StatusCode}
	}
	merged := map[string]*http.Cookie{}
	for _, c := range append(cookies, resp.Cookies()...) {
		merged[c.Name] = c
	}
	for _, name := range sortedKeys(merged) {
		h.cookies = append(h.cookies, merged[name])
	}
	if h.csrf = csrf; resp.Header.Get("X-Harbor-Csrf-Token") != "" {
		h.csrf = resp.Header.Get("X-Harbor-Csrf-Token")
	}
	return nil
}

// refuse reports whether it is the password that is refused, which is shown no more.
func (h *harbor) refuse() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = h.basic
	return h.basic
}

func (h *harbor) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cookies = nil
}

// ask sends a call without a session, of which no more than a little is read.
func (h *harbor) ask(ctx context.Context, method, path string, with func(*http.Request)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.base+path, nil)
	if err != nil {
		return nil, err
	}
	if with != nil {
		with(req)
	}
	if !strings.HasPrefix(path, "/service/token") { // that is a proof
		h.calls.Add(1)
	}
	resp, _, err := h.exchange(req, h.timeout)
	return resp, err
}

// proves reports whether an account can log in with the secret.
func (h *harbor) proves(ctx context.Context, user, secret string) (bool, error) {
	if err := h.slot(ctx); err != nil {
		return false, err
	}
	defer h.free()
	h.proofs.Add(1)
	return h.accepts(ctx, user, secret)
}

// accepts asks the token service without a scope, which says 401 to a wrong secret.
func (h *harbor) accepts(ctx context.Context, user, secret string) (bool, error) {
	resp, err := h.ask(ctx, http.MethodGet, "/service/token?service=harbor-registry", func(req *http.Request) { req.SetBasicAuth(user, secret) })
	if err != nil {
		return false, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	var token struct {
		Token string `json:"token"`
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return false, nil
	case resp.StatusCode == http.StatusOK && (json.Unmarshal(answer, &token) != nil || token.Token == ""):
		return false, h.foreignTo("GET /service/token", resp, answer)
	case resp.StatusCode == http.StatusOK:
		return true, nil
	}
	return false, said{"the token service answers " + resp.Status, resp.StatusCode}
}
