package source

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// Meaning is what the edge knows by a source's error: a no (404), a refusal by
// Harbor's policy (412), too many requests (429), or don't-know (503), which is what every
// status means that is not named here.
func (s Step) Meaning(e *registry.Error) *registry.Error {
	switch {
	case errors.Is(e, outcome.ErrRefused):
		return e // a token service's no, whose meaning is known
	case (e.Status == http.StatusNotFound || e.Status == http.StatusGone) && s.knows(e):
		return unknownOf(e)
	case e.Status == http.StatusPreconditionFailed && e.Code != "" && s.Kind != Upstream:
		return e // Harbor's policy: passed on, in its own words
	case e.Status == http.StatusTooManyRequests:
		after := e.RetryAfter
		if s.Kind == Upstream { // it is left alone for so long (Note)
			after = cmp.Or(after, pauseDefault)
		}
		limited := outcome.TooMany(after)
		limited.Cause = e
		return limited
	case s.Kind == Upstream && (e.Status == http.StatusUnauthorized && !e.Page || e.Status == http.StatusForbidden && e.Code != ""):
		// It was asked anonymously, or with a token: Docker Hub answers so for names that do
		// not exist. A 401's page, and a 403 that is no registry's, come from what stands before one.
		return refused(s.Repo, e)
	case s.Kind != Harbor:
		return outcome.DontKnow(e)
	}
	return outcome.MissingProject(e)
}

// knows reports whether a 404 comes from somebody who can know. In a proxy cache
// Harbor says 404 too when its upstream is down or refuses; then it looks only at
// what it has ("repository … not found", "artifact … not found"). Where the
// upstream itself said no, Harbor's message begins with "resource not found" for a
// manifest and with "http status code: 404" for a blob. BLOB_UNKNOWN is the word of
// the registry behind Harbor, which does not ask an upstream that it holds for
// unwell. A 404 that is not a registry's JSON comes from no registry.
func (s Step) knows(e *registry.Error) bool {
	if e.Code == "" {
		return false
	}
	if s.Kind == Peer && s.Namespace.Kind == namespace.Cache && e.Code == registry.CodeNameUnknown {
		return false // that datacenter has no such cache: the upstream said nothing
	}
	const harborsOwn = "NOT_FOUND"
	if s.Kind != Harbor || s.Namespace.Kind != namespace.Cache || e.Code != harborsOwn && e.Code != registry.CodeBlobUnknown {
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

// FailsAll reports whether a status says that a source cannot answer now, by whatever method
// it is asked. All other refusals of a HEAD may be of the method (405, 501, and whatever
// those say who do not know it for manifests): a GET tells.
func FailsAll(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented || status == http.StatusTooManyRequests
}

// Refusal is why one source gave nothing.
type Refusal struct {
	Step Step
	Err  error
}

// Final reports whether an outcome is the last word, whatever others would say:
// Harbor's policy; in a cache, a no, which only somebody who can know says.
func Final(ns namespace.Namespace, err error) bool {
	return outcome.IsPolicy(err) || ns.Kind == namespace.Cache && outcome.IsNo(err)
}

// LastWord returns the first outcome among the refusals that is final, nil where
// none is.
func LastWord(ns namespace.Namespace, all []Refusal) error {
	for _, r := range all {
		if Final(ns, r.Err) {
			return r.Err
		}
	}
	return nil
}

// Verdict makes one outcome of what all sources of a route said, none of which had
// the content: a no only if all said no, too many requests only if all said that.
// What Harbor's own cache of an upstream does not know counts for nothing where the
// upstream itself said no.
func Verdict(all []Refusal) error {
	deniedBy := map[string]bool{} // projects of caches whose upstream said no
	for _, r := range all {
		if r.Step.Kind == Upstream && outcome.IsNo(r.Err) {
			deniedBy[r.Step.Namespace.Project] = true
		}
	}
	var no, limited *registry.Error
	var causes []error
	var wait time.Duration
	unknown := 0
	for _, r := range all {
		var e *registry.Error
		if !errors.As(r.Err, &e) {
			e = outcome.DontKnow(r.Err)
		}
		causes = append(causes, fmt.Errorf("%s: %w", r.Step.Name, r.Err))
		wait = max(wait, e.RetryAfter)
		switch {
		case e.Status == http.StatusPreconditionFailed || e.Status == http.StatusRequestEntityTooLarge:
			return e
		case e.Status == http.StatusNotFound:
			if no == nil || no.Code == registry.CodeNameUnknown { // who has the repo knows better
				no = e
			}
		case r.Step.Kind == Harbor && r.Step.Namespace.Kind == namespace.Cache && deniedBy[r.Step.Namespace.Project]:
		case e.Status == http.StatusTooManyRequests:
			limited = e
		default:
			unknown++
		}
	}
	wait = max(wait, outcome.RetryAfter)
	switch {
	case unknown == 0 && limited == nil && no != nil:
		return no
	case unknown == 0 && no == nil && limited != nil:
		e := outcome.TooMany(wait)
		e.Cause = errors.Join(causes...)
		return e
	}
	e := outcome.DontKnow(errors.Join(causes...))
	e.RetryAfter = wait
	return e
}
