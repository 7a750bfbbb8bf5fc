package daemon

import "net/http"

// ForPages sets what browsers are told of pages that are a daemon's own: they load what the policy
// says alone (CSP Level 3), no other site has them in its own, and nobody keeps them.
func ForPages(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
