package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"time"
)

// sessions are who has logged in at /c/login, by their sid cookies.
type session struct {
	who  identity
	used time.Time
}

const (
	csrfCookie     = "_gorilla_csrf"
	csrfHeader     = "X-Harbor-Csrf-Token"
	defaultTimeout = 60 // minutes a session lasts after its last use
)

// csrfToken is what belongs to a cookie.
func (h *Harbor) csrfToken(cookie string) string {
	mac := hmac.New(sha256.New, h.csrfKey)
	mac.Write([]byte(cookie)) //nolint:errcheck // never fails
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// guard does what Harbor does around every API call and login: who comes with a sid
// gets a token, and may write only with one. It reports whether to go on.
func (h *Harbor) guard(w http.ResponseWriter, r *http.Request) bool {
	_, noSID := r.Cookie("sid")
	login := strings.HasPrefix(r.URL.Path, "/c/")
	if noSID != nil && !login {
		return true
	}
	cookie := ""
	if c, err := r.Cookie(csrfCookie); err == nil {
		cookie = c.Value
	} else {
		cookie = randomHex(32)
		http.SetCookie(w, &http.Cookie{Name: csrfCookie, Value: cookie, Path: "/", HttpOnly: true, MaxAge: 43200})
	}
	w.Header().Set("Vary", "Cookie")
	w.Header().Set(csrfHeader, h.csrfToken(cookie))
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	switch got := r.Header.Get(csrfHeader); {
	case got == "":
		coreError(w, http.StatusForbidden, "FORBIDDEN", "CSRF token not found in request")
	case got != h.csrfToken(cookie):
		coreError(w, http.StatusForbidden, "FORBIDDEN", "CSRF token invalid")
	default:
		return true
	}
	return false
}

// serveLogin is the portal's way to log in: POST /c/login with principal and password.
func (h *Harbor) serveLogin(w http.ResponseWriter, r *http.Request) {
	if !h.guard(w, r) {
		return
	}
	switch {
	case r.URL.Path == "/c/login" && r.Method == http.MethodPost:
		user, password := r.PostFormValue("principal"), r.PostFormValue("password")
		if user != "admin" || password != h.cfg.AdminPassword {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		sid := randomHex(16)
		h.db.mu.Lock()
		h.db.sessions[sid] = &session{identity{name: user, admin: true}, time.Now()}
		h.db.mu.Unlock()
		w.Header().Set("Set-Cookie", "sid="+sid+"; Path=/; HttpOnly")
	case r.URL.Path == "/c/log_out":
		if c, err := r.Cookie("sid"); err == nil {
			h.db.mu.Lock()
			delete(h.db.sessions, c.Value)
			h.db.mu.Unlock()
		}
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "<!DOCTYPE HTML>\n<html><body>Page Not Found</body></html>\n") //nolint:errcheck // the client is gone
	}
}

// caller is who calls the management API: by a session, else as anywhere.
func (h *Harbor) caller(r *http.Request) identity {
	if _, _, basic := r.BasicAuth(); !basic {
		if c, err := r.Cookie("sid"); err == nil {
			h.db.mu.Lock()
			defer h.db.mu.Unlock()
			timeout := time.Duration(h.db.number("session_timeout", defaultTimeout)) * time.Minute
			if s := h.db.sessions[c.Value]; s != nil && time.Since(s.used) < timeout {
				s.used = time.Now()
				return s.who
			}
			return identity{}
		}
	}
	who, _ := h.identify(r)
	return who
}
