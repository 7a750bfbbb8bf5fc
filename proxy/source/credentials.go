package source

import (
	"errors"
	"net/http"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// withheld is what the edge knows where it was not let ask for a repo; nil where the source
// just did not answer. Of an upstream, a token service that gives no token for one repo says
// no for that repo: it is not there, or needs other credentials. Where it refuses the
// credentials themselves nobody knows.
func (s *Source) withheld(repo string, err error) error {
	var said *registry.Error
	switch {
	case errors.Is(err, registry.ErrNotGranted) && s.Kind == Upstream:
		return refused(repo, err)
	case errors.As(err, &said) && said.Status == http.StatusTooManyRequests:
		limited := outcome.TooMany(said.RetryAfter)
		limited.Cause = err
		return limited
	case errors.Is(err, registry.ErrNotGranted), errors.Is(err, registry.ErrCredentials), errors.Is(err, registry.ErrElsewhere), errors.Is(err, registry.ErrBusy):
		return err
	}
	return nil
}

// refused is the no of an upstream that does not say whether it has the repo.
func refused(repo string, cause error) *registry.Error {
	no := registry.Errorf(registry.CodeNameUnknown, "%s is not there, or needs credentials", repo)
	no.Cause = errors.Join(outcome.ErrRefused, cause)
	return no
}
