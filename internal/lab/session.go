package lab

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"time"
)

const (
	sessionCookie = "sid"
	csrfCookie    = "_gorilla_csrf"
	csrfHeader    = "X-Harbor-Csrf-Token"
	maxSessions   = 10000
)

// session is what a sid stands for; who is nobody before the log-in.
type session struct {
	who  identity
	used time.Time
}

// session returns the session of the request, and makes its time-out begin anew;
// without one the answer brings a new cookie.
func (h *Harbor) session(w http.ResponseWriter, r *http.Request) *session {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	now := h.db.now()
	if c, err := r.Cookie(sessionCookie); err == nil {
		timeout := time.Duration(h.db.number("session_timeout")) * time.Minute
		if s := h.db.sessions[c.Value]; s != nil && now.Sub(s.used) < timeout {
			s.used = now
			return s
		}
		delete(h.db.sessions, c.Value)
	}
	s := &session{used: now}
	h.db.setSession(w, s)
	return s
}

func (d *database) setSession(w http.ResponseWriter, s *session) {
	if len(d.sessions) > maxSessions { // nobody's: every request without a cookie gets one
		maps.DeleteFunc(d.sessions, func(_ string, o *session) bool { return o.who.name == "" })
	}
	id := randomHex(16)
	d.sessions[id] = s
	w.Header().Add("Set-Cookie", sessionCookie+"="+id+"; Path=/; HttpOnly")
}

// checkCSRF is gorilla's middleware as Harbor uses it: whoever brings a session's
// cookie must bring the token too when something is to change, even with Basic.
func checkCSRF(w http.ResponseWriter, r *http.Request) bool {
	_, err := r.Cookie(sessionCookie)
	api := strings.HasPrefix(r.URL.Path, "/v2/") || strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/service/")
	if api && err != nil {
		return true
	}
	var secret []byte
	if c, err := r.Cookie(csrfCookie); err == nil {
		secret, _ = base64.RawURLEncoding.DecodeString(c.Value)
	}
	if len(secret) != 32 {
		secret = make([]byte, 32)
		rand.Read(secret) //nolint:errcheck // never fails
		w.Header().Add("Set-Cookie", csrfCookie+"="+base64.RawURLEncoding.EncodeToString(secret)+"; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict")
	}
	w.Header().Set(csrfHeader, maskToken(secret))
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions {
		switch token := r.Header.Get(csrfHeader); {
		case token == "":
			coreError(w, http.StatusForbidden, "FORBIDDEN", "CSRF token not found in request")
			return false
		case subtle.ConstantTimeCompare(unmaskToken(token), secret) != 1:
			coreError(w, http.StatusForbidden, "FORBIDDEN", "CSRF token invalid")
			return false
		}
	}
	w.Header().Add("Vary", "Cookie")
	return true
}

// maskToken is the secret as an answer carries it: different each time.
func maskToken(secret []byte) string {
	masked := make([]byte, 64)
	rand.Read(masked[:32]) //nolint:errcheck // never fails
	subtle.XORBytes(masked[32:], masked[:32], secret)
	return base64.StdEncoding.EncodeToString(masked)
}

func unmaskToken(token string) []byte {
	masked, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(masked) != 64 {
		return nil
	}
	secret := make([]byte, 32)
	subtle.XORBytes(secret, masked[:32], masked[32:])
	return secret
}

// serveLogin is POST /c/login: name and password for a session.
func (h *Harbor) serveLogin(w http.ResponseWriter, r *http.Request) {
	who := h.db.login(r.FormValue("principal"), r.FormValue("password"))
	if who.name == "" || who.robot != nil {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if c, err := r.Cookie(sessionCookie); err == nil {
		delete(h.db.sessions, c.Value)
	}
	h.db.setSession(w, &session{who: who, used: h.db.now()})
	w.Header().Set("Content-Length", "0")
}

// serveLogout is GET /c/log_out.
func (h *Harbor) serveLogout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		h.db.mu.Lock()
		delete(h.db.sessions, c.Value)
		h.db.mu.Unlock()
	}
	w.Header().Set("Set-Cookie", sessionCookie+"=; Path=/; Max-Age=0; HttpOnly")
	w.Header().Set("Content-Length", "0")
}
