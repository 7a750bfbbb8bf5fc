package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

func (h *harbor) byPassword() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.basic
}

func (h *harbor) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cookies = nil
}

// errLogin is wrapped by what says that the fleet file's account is refused.
var errLogin = errors.New("this Harbor refuses harbor.username and harbor.password")

// login opens a session if there is none: the password costs Harbor 130 ms of a
// processor each time it is shown, the session 5.
func (h *harbor) login(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cookies != nil || h.basic {
		return nil
	}
	ask := func(method, form string, cookies []*http.Cookie, csrf string) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(ctx, h.timeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, h.base+"/c/login", strings.NewReader(form))
		if err != nil {
			return nil, err
		}
		for _, c := range cookies {
			req.AddCookie(c)
		}
		if form != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("X-Harbor-CSRF-Token", csrf)
			req.Header.Set("Referer", h.base+"/")
		}
		h.calls.Add(1)
		resp, err := h.host.RoundTrip(req)
		if err != nil {
			return nil, noAnswer(err)
		}
		resp.Body.Close()
		return resp, redirected(resp)
	}
	first, err := ask(http.MethodGet, "", nil, "")
	if err != nil {
		return err
	}
	cookies, csrf := first.Cookies(), first.Header.Get("X-Harbor-Csrf-Token")
	if csrf == "" {
		if first.StatusCode >= 500 {
			return fmt.Errorf("this Harbor answers %s", first.Status)
		}
		h.basic = true
		return nil
	}
	second, err := ask(http.MethodPost, url.Values{"principal": {h.user}, "password": {h.password}}.Encode(), cookies, csrf)
	switch {
	case err != nil:
		return err
	case second.StatusCode == http.StatusUnauthorized: // robots, and people with a CLI secret, have no sessions
		h.basic = true
		return nil
	case second.StatusCode != http.StatusOK:
		return fmt.Errorf("log in: Harbor answers %s", second.Status)
	}
	merged := map[string]*http.Cookie{}
	for _, c := range append(cookies, second.Cookies()...) {
		merged[c.Name] = c
	}
	for _, name := range sortedKeys(merged) {
		h.cookies = append(h.cookies, merged[name])
	}
	if h.csrf = csrf; second.Header.Get("X-Harbor-Csrf-Token") != "" {
		h.csrf = second.Header.Get("X-Harbor-Csrf-Token")
	}
	return nil
}

// proves reports whether an account can log in with the secret: the token service
// without a scope says 401 to a wrong one.
func (h *harbor) proves(ctx context.Context, user, secret string) (bool, error) {
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	h.proofs.Add(1)
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+"/service/token?service=harbor-registry", nil)
	if err != nil {
		return false, err
	}
	req.SetBasicAuth(user, secret)
	resp, err := h.host.RoundTrip(req)
	if err != nil {
		return false, noAnswer(err)
	}
	resp.Body.Close()
	if err := redirected(resp); err != nil {
		return false, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized:
		return false, nil
	}
	return false, fmt.Errorf("the token service answers %s", resp.Status)
}
