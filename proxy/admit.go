package proxy

import (
	"errors"
	"net"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

const (
	maxRequests    = 16 << 10 // as many as connections: HTTP/2 has many requests on one
	maxRequestsOne = 4 << 10  // of one address; what terminates TLS is one for many clients
	maxAnswers     = 512 << 20
	maxAnswersOne  = 128 << 20
	smallAnswer    = 32 << 10 // bytes of an answer that takes no share: the request itself takes as much
	comeAgain      = time.Second
)

// admit takes a share for a request, or says why there is none: 429. Health is not refused.
func (h *Handler) admit(w *response, r *request) error {
	if path := r.http.URL.Path; path == livenessPath || path == HealthPath {
		return nil
	}
	if !h.requests.Take(w.client, 1) {
		e := registry.Errorf(registry.CodeTooManyRequests, "too many requests at once; try again")
		e.RetryAfter = comeAgain
		return e
	}
	w.admitted = true
	return nil
}

// hold takes a share for an answer of n bytes that is in memory until the client has taken
// it. The error is the answer where there is none.
func (w *response) hold(n int) error {
	if n <= smallAnswer {
		return nil
	}
	if !w.answers.Take(w.client, int64(n)) {
		return outcome.DontKnow(errors.New("too many large answers are on their way"))
	}
	w.held += int64(n)
	return nil
}

// release gives back what a request has taken.
func (h *Handler) release(w *response) {
	if w.admitted {
		h.requests.Give(w.client, 1)
	}
	h.answers.Give(w.client, w.held)
}

// addressOf returns the address that a request comes from, without the port.
func addressOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}
