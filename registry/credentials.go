package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// scoped is a transport with a token for one repo.
type scoped struct {
	http.RoundTripper
	made time.Time
}

const (
	maxScoped     = 4096
	maxShaking    = 256             // handshakes at once: they outlive the requests that began them
	renewAfter    = 4 * time.Minute // Docker Hub, Quay and GitHub give tokens for five
	tokenDeadline = 10 * time.Second
)

// transportFor returns the authenticated transport of one repo. One that grows
// old is used while its successor is made: nobody waits for a new token as long as
// the repo is asked for.
func (s *client) transportFor(ctx context.Context, repo string) (http.RoundTripper, error) {
	if s.auth == authn.Anonymous && repo == "" {
		return s.base, nil
	}
	old, ok := s.scoped.Get(repo)
	if ok && s.now().Sub(old.made) < renewAfter {
		return old, nil
	}
	result := s.dialing.DoChan(repo, func() (any, error) {
		select {
		case s.shaking <- struct{}{}:
			defer func() { <-s.shaking }()
		default:
			return nil, errors.New("too many repos are asked for at once")
		}
		rt, err := s.handshake(context.WithoutCancel(ctx), repo)
		switch {
		case err == nil:
			s.scoped.Add(repo, scoped{rt, s.now()})
		case ok: // it may do for longer, and renews its token itself when it is refused
			s.scoped.Add(repo, scoped{old.RoundTripper, s.now()})
		}
		return rt, err
	})
	if ok {
		return old, nil
	}
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(http.RoundTripper), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// handshake asks the registry how it wants to be asked, and gets a token for one
// repo. It belongs to nobody's request: all who wait share it.
func (s *client) handshake(ctx context.Context, repo string) (http.RoundTripper, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenDeadline)
	defer cancel()
	reg, err := name.NewRegistry(s.url.Host, name.Insecure)
	if err != nil {
		return nil, err
	}
	var scopes []string
	if repo != "" {
		scopes = []string{"repository:" + repo + ":pull"}
	}
	return transport.NewWithContext(ctx, reg, s.auth, s.base, scopes)
}

// ownDomain keeps credentials at home. go-containerregistry asks whatever
// realm a challenge names, over the scheme that it guesses; this transport
// refuses realms outside the source's own domain, and knows the scheme.
type ownDomain struct {
	source *url.URL
	inner  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (o *ownDomain) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == o.source.Host {
		if req.URL.Scheme != o.source.Scheme {
			req = req.Clone(req.Context())
			req.URL.Scheme = o.source.Scheme
		}
		return o.inner.RoundTrip(req)
	}
	if !SameDomain(req.URL.Hostname(), o.source.Hostname()) || req.URL.Scheme != "https" && o.source.Scheme == "https" {
		return nil, fmt.Errorf("refused to send credentials to %s: it is not of %s's domain", req.URL.Host, o.source.Host)
	}
	return o.inner.RoundTrip(req)
}
