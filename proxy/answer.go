package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// answer turns what a Harbor said instead of content into what the edge knows
// by it: a no (404), a refusal by policy (412), too many requests (429), or
// don't-know (503). Don't-know never becomes a 404.
func answer(ns Namespace, e *registry.Error) error {
	switch {
	case e.Status == http.StatusNotFound && knows(ns, e):
		return unknownOf(e)
	case e.Status == http.StatusPreconditionFailed && e.Code != "":
		return e // Harbor's policy: passed on, in its own words
	case e.Status == http.StatusTooManyRequests:
		limited := registry.Errorf(registry.CodeTooManyRequests, "too many requests to the upstream; try again later")
		limited.RetryAfter, limited.Cause = e.RetryAfter, e
		return limited
	}
	return access.MissingProject(e)
}

// knows reports whether a 404 is the word of somebody who can know. In a proxy
// cache Harbor says 404 too when its upstream is down or refuses; then it looks
// only at what it has ("repository … not found", "artifact … not found"). That
// the upstream itself said no reads "resource not found: …" for manifests and
// "http status code: 404" for blobs. A 404 that is not a registry's JSON is
// nobody's word.
func knows(ns Namespace, e *registry.Error) bool {
	if e.Code == "" {
		return false
	}
	const harborsOwn = "NOT_FOUND"
	if ns.Kind != KindCache || e.Code != harborsOwn {
		return true
	}
	return strings.HasPrefix(e.Message, "resource not found") || strings.HasPrefix(e.Message, "http status code: 404")
}

func unknownOf(e *registry.Error) *registry.Error {
	no := registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest")
	switch {
	case e.Code == registry.CodeBlobUnknown || strings.HasPrefix(e.Message, "http status code: 404"):
		no = registry.Errorf(registry.CodeBlobUnknown, "there is no such blob in this repo")
	case e.Code == registry.CodeNameUnknown || strings.HasPrefix(e.Message, "repository "):
		no = registry.Errorf(registry.CodeNameUnknown, "there is no such repo")
	}
	no.Cause = e
	return no
}

func dontKnow(cause error) *registry.Error {
	e := registry.Errorf(registry.CodeUnavailable, "the source cannot say now; try again")
	e.RetryAfter, e.Cause = unavailableFor, cause
	return e
}

func isNo(err error) bool {
	var e *registry.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// isDontKnow reports whether err leaves open what the truth is: everything but
// a no, a refusal by policy and a wrong request.
func isDontKnow(err error) bool {
	var e *registry.Error
	return !errors.As(err, &e) || e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusUnauthorized
}

func contextWith(x *exchange) context.Context {
	return context.WithValue(x.r.Context(), exchangeKey{}, x)
}
