package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// meaning is what the edge knows by a place's refusal: a no (404), a refusal by
// Harbor's policy (412), too many requests (429), or don't-know (503). Don't-know
// never becomes a 404.
func (s step) meaning(e *registry.Error) *registry.Error {
	switch {
	case e.Status == http.StatusNotFound && s.knows(e):
		return unknownOf(e)
	case e.Status == http.StatusPreconditionFailed && e.Code != "" && s.place.kind != placeUpstream:
		return e // Harbor's policy: passed on, in its own words
	case e.Status == http.StatusTooManyRequests:
		limited := tooMany(e.RetryAfter)
		limited.Cause = e
		return limited
	case s.place.kind == placeUpstream && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden):
		// Its token service has given us a token before: Docker Hub answers so for
		// names that do not exist.
		no := registry.Errorf(registry.CodeNameUnknown, "%s is not there, or needs credentials", s.repo)
		no.Cause = errors.Join(errRefused, e)
		return no
	case s.place.kind != placeHarbor:
		return dontKnow(e)
	}
	return access.MissingProject(e)
}

// knows reports whether a 404 is the word of somebody who can know. In a proxy
// cache Harbor says 404 too when its upstream is down or refuses; then it looks
// only at what it has ("repository … not found", "artifact … not found"). That
// the upstream itself said no reads "resource not found: …" for manifests and
// "http status code: 404" for blobs. BLOB_UNKNOWN is the word of the registry
// behind Harbor, which asks nobody while it holds its upstream for unwell. A 404 that is not a registry's JSON is nobody's word.
func (s step) knows(e *registry.Error) bool {
	if e.Code == "" {
		return false
	}
	if s.place.kind == placePeer && s.ns.Kind == KindCache && e.Code == registry.CodeNameUnknown {
		return false // that datacenter has no such cache: nothing that the upstream said
	}
	const harborsOwn = "NOT_FOUND"
	if s.place.kind != placeHarbor || s.ns.Kind != KindCache || e.Code != harborsOwn && e.Code != registry.CodeBlobUnknown {
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

// said is why one place gave nothing.
type said struct {
	step step
	err  error
}

// verdict makes one answer of what all places of a route said, none of which had
// it: no only if all said no, too many requests only if all said that. What the
// Harbor's own cache of an upstream does not know counts for nothing where the
// upstream itself said no.
func verdict(all []said) error {
	deniedBy := map[string]bool{}
	for _, s := range all {
		if s.step.place.kind == placeUpstream && isNo(s.err) {
			deniedBy[s.step.ns.Project] = true
		}
	}
	var no, limited *registry.Error
	var causes []error
	var wait time.Duration
	unknown := 0
	for _, s := range all {
		var e *registry.Error
		if !errors.As(s.err, &e) {
			e = dontKnow(s.err)
		}
		causes = append(causes, fmt.Errorf("%s: %w", s.step.place.name, s.err))
		wait = max(wait, e.RetryAfter)
		switch {
		case e.Status == http.StatusPreconditionFailed:
			return e
		case e.Status == http.StatusNotFound:
			if no == nil {
				no = e
			}
		case s.step.place.kind == placeHarbor && s.step.ns.Kind == KindCache && deniedBy[s.step.ns.Project]:
		case e.Status == http.StatusTooManyRequests:
			limited = e
		default:
			unknown++
		}
	}
	cause := errors.Join(causes...)
	switch {
	case unknown == 0 && limited == nil && no != nil:
		return no
	case unknown == 0 && no == nil && limited != nil:
		e := tooMany(max(wait, unavailableFor))
		e.Cause = cause
		return e
	}
	e := dontKnow(cause)
	e.RetryAfter = max(wait, unavailableFor)
	return e
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

// errRefused is the cause of a no that an upstream did not say in so many words:
// good enough where nothing is held, and no reason to forget what is.
var errRefused = errors.New("the upstream refuses to say")

// isFirmNo reports whether err is a no that takes away what is held.
func isFirmNo(err error) bool { return isNo(err) && !errors.Is(err, errRefused) }

// isPolicy reports whether err is Harbor's refusal of content that it has.
func isPolicy(err error) bool {
	var e *registry.Error
	return errors.As(err, &e) && e.Status == http.StatusPreconditionFailed
}

// isDontKnow reports whether err leaves open what the truth is: everything but
// a no, a refusal by policy and a wrong request.
func isDontKnow(err error) bool {
	var e *registry.Error
	return !errors.As(err, &e) || errors.Is(err, errRefused) || e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusUnauthorized
}

func contextWith(x *exchange) context.Context {
	return context.WithValue(x.r.Context(), exchangeKey{}, x)
}
