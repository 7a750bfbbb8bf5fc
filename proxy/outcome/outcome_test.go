package outcome_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

func of(status int, message string) *registry.Error {
	return &registry.Error{Status: status, Message: message}
}

// Don't-know is not no: an error is at most one of no, refusal and don't-know.
func TestWhatAnErrorMeans(t *testing.T) {
	refused := registry.Errorf(registry.CodeNameUnknown, "not there, or needs credentials")
	refused.Cause = outcome.ErrRefused
	for name, c := range map[string]struct {
		err                        error
		no, firm, policy, dontKnow bool
	}{
		"404":                         {of(http.StatusNotFound, ""), true, true, false, false},
		"404, wrapped":                {fmt.Errorf("ask: %w", of(http.StatusNotFound, "")), true, true, false, false},
		"a no that was not said":      {refused, true, false, false, true},
		"412":                         {of(http.StatusPreconditionFailed, ""), false, false, true, false},
		"400":                         {of(http.StatusBadRequest, ""), false, false, false, false},
		"401":                         {of(http.StatusUnauthorized, ""), false, false, false, true},
		"429":                         {outcome.TooMany(time.Minute), false, false, false, true},
		"500":                         {of(http.StatusInternalServerError, ""), false, false, false, true},
		"503":                         {outcome.DontKnow(io.EOF), false, false, false, true},
		"don't-know because of a 404": {outcome.DontKnow(of(http.StatusNotFound, "")), false, false, false, true},
		"no answer":                   {io.ErrUnexpectedEOF, false, false, false, true},
		"time is up":                  {context.DeadlineExceeded, false, false, false, true},
	} {
		if got := outcome.IsNo(c.err); got != c.no {
			t.Errorf("%s: IsNo is %v", name, got)
		}
		if got := outcome.IsFirmNo(c.err); got != c.firm {
			t.Errorf("%s: IsFirmNo is %v", name, got)
		}
		if got := outcome.IsPolicy(c.err); got != c.policy {
			t.Errorf("%s: IsPolicy is %v", name, got)
		}
		if got := outcome.IsDontKnow(c.err); got != c.dontKnow {
			t.Errorf("%s: IsDontKnow is %v", name, got)
		}
	}
}

func TestADontKnowSaysWhenToComeBackAndKeepsItsCause(t *testing.T) {
	e := outcome.DontKnow(io.EOF)
	if e.Status != http.StatusServiceUnavailable || e.RetryAfter != 5*time.Second || !errors.Is(e, io.EOF) {
		t.Errorf("%+v", e)
	}
	if e := outcome.TooMany(time.Minute); e.Status != http.StatusTooManyRequests || e.RetryAfter != time.Minute {
		t.Errorf("%+v", e)
	}
}

// Harbor answers 401 with an empty challenge for a project that is not there, and for
// everything while its database is down (harbor/README.md).
func TestAnEmptyChallengeIsReadByItsBody(t *testing.T) {
	for message, code := range map[string]registry.Code{
		"project multi-dc-x not found": registry.CodeNameUnknown,
		"project x":                    registry.CodeUnavailable,
		"artifact x not found":         registry.CodeUnavailable,
		"":                             registry.CodeUnavailable,
	} {
		if e := outcome.MissingProject(of(http.StatusUnauthorized, message)); e.Code != code {
			t.Errorf("%q is %s, want %s", message, e.Code, code)
		}
	}
	if e := outcome.MissingProject(of(http.StatusInternalServerError, "project x not found")); e.Code != registry.CodeUnavailable {
		t.Errorf("a 500 is %s", e.Code)
	}
	slow := of(http.StatusServiceUnavailable, "")
	slow.RetryAfter = time.Hour
	if e := outcome.MissingProject(slow); e.RetryAfter != time.Hour {
		t.Errorf("Retry-After is %v", e.RetryAfter)
	}
}
