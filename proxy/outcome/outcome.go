// Package outcome holds what the edge can know after it asked for content: yes
// (no error), no, a refusal by policy, too many requests, or don't-know.
// Don't-know is not no: it never becomes a 404, and never removes anything that is
// held. The outcomes are errors of package registry, ready for the client.
package outcome

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

// RetryAfter is when a client is told to come back after a don't-know.
const RetryAfter = 5 * time.Second

// ErrRefused is the cause of a no that an upstream did not say in so many words.
// Such a no is good enough where nothing is held, and no reason to forget what is.
var ErrRefused = errors.New("the upstream refuses to say")

var (
	// ErrNoProject is the cause of a no of Harbor's to all of a project: it says nothing of
	// what the project was a cache of.
	ErrNoProject = errors.New("no such project is in Harbor")
	// ErrOutlived is the cause of a no to what its upstream has deleted, and what was kept
	// for as long as it was to be. That it was deleted is not forgotten.
	ErrOutlived = errors.New("its upstream has deleted it, and it is kept no longer")
)

// DontKnow is the outcome when cause kept everybody from saying yes or no (503
// UNAVAILABLE with Retry-After).
func DontKnow(cause error) *registry.Error {
	e := registry.Errorf(registry.CodeUnavailable, "the source cannot say now; try again")
	e.RetryAfter, e.Cause = RetryAfter, cause
	return e
}

// TooMany is the outcome when a source wants no requests for a while (429
// TOOMANYREQUESTS with Retry-After).
func TooMany(after time.Duration) *registry.Error {
	e := registry.Errorf(registry.CodeTooManyRequests, "too many requests to the upstream; try again later")
	e.RetryAfter = after
	return e
}

// IsNo reports whether err says that the content is not there.
func IsNo(err error) bool { return has(err, http.StatusNotFound) }

// IsFirmNo reports whether err is a no that takes away what is held.
func IsFirmNo(err error) bool { return IsNo(err) && !errors.Is(err, ErrRefused) }

// IsDeleted reports whether err, of a cache, says that its upstream does not have the content.
func IsDeleted(err error) bool { return IsFirmNo(err) && !errors.Is(err, ErrNoProject) }

// IsPolicy reports whether err is Harbor's refusal of content that it has.
func IsPolicy(err error) bool { return has(err, http.StatusPreconditionFailed) }

// IsDontKnow reports whether err leaves open what the truth is. Everything does
// but a firm no, a refusal by policy and a wrong request.
func IsDontKnow(err error) bool {
	var e *registry.Error
	return !errors.As(err, &e) || errors.Is(err, ErrRefused) || e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusUnauthorized
}

func has(err error, status int) bool {
	var e *registry.Error
	return errors.As(err, &e) && e.Status == status
}

// MissingProject reads Harbor's 401 with an empty challenge. By its body the
// project does not exist (NAME_UNKNOWN), or Harbor's database is down, which like
// every other failure to answer is UNAVAILABLE.
func MissingProject(e *registry.Error) *registry.Error {
	if e.Status == http.StatusUnauthorized && strings.HasPrefix(e.Message, "project ") && strings.HasSuffix(e.Message, " not found") {
		no := registry.Errorf(registry.CodeNameUnknown, "there is no such project")
		no.Cause = ErrNoProject
		return no
	}
	unavailable := registry.Errorf(registry.CodeUnavailable, "Harbor cannot say now; try again")
	unavailable.RetryAfter = max(e.RetryAfter, RetryAfter)
	unavailable.Cause = e
	return unavailable
}
