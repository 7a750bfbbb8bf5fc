package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// ErrNoCredentials is of a source that is asked anonymously.
var ErrNoCredentials = errors.New("the source has no credentials")

// Anonymous reports whether the source has no credentials.
func (s *Source) Anonymous() bool {
	return s.client.Load().login.anonymous()
}

// CredentialsRefused reports whether the source refused its credentials when it was last
// asked about them, whatever for.
func (s *Source) CredentialsRefused() bool { return s.client.Load().login.standing.isRefused() }

// TryLogin finds out whether the credentials are good, by the way that requests show them. nil:
// they are; ErrCredentials: they are not; ErrElsewhere: they may not be shown; else nobody knows.
func (s *Source) TryLogin(ctx context.Context) error {
	l := s.client.Load().login
	if l.anonymous() {
		return ErrNoCredentials
	}
	asked, err := l.askRoot(ctx)
	if err != nil {
		return err
	}
	ways, refused := l.waysOf(place{host: l.source.Host}, nil, asked)
	switch {
	case len(ways) > 0 && ways[0].login:
		return l.check(ctx, ways[0])
	case len(ways) > 0:
		return ErrElsewhere
	case refused != nil:
		return fmt.Errorf("%w: %w", ErrElsewhere, refused)
	}
	return errors.New("its root asks for no login that is known")
}

// API asks a Harbor's own API (GET /api/v2.0…), with the source's credentials as
// Basic: the answer as it is, its body still to be closed.
func (s *Source) API(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	return s.Call(ctx, Call{Method: http.MethodGet, Path: path, Query: query})
}

// ArtifactsPath is where a Harbor's API has the artifacts of a repo; slashes in its name below
// the project are escaped twice.
func ArtifactsPath(repo string) string {
	project, name, _ := strings.Cut(repo, "/")
	return "/api/v2.0/projects/" + project + "/repositories/" + url.PathEscape(url.PathEscape(name)) + "/artifacts"
}

// Call is a request to a Harbor that is no read of content.
type Call struct {
	Method, Path string
	Query        url.Values
	ContentType  string    // "": there is no body
	Body         io.Reader // nil: none
	Size         int64     // of Body, in bytes
}

// Call sends a request to a Harbor, with the source's credentials as Basic: the answer as
// it is, its body still to be closed. ErrNoCredentials where the source has none; every
// other error means that there was no answer: code UNAVAILABLE.
func (s *Source) Call(ctx context.Context, c Call) (*http.Response, error) {
	return s.client.Load().call(ctx, c)
}

func (s *client) call(ctx context.Context, c Call) (*http.Response, error) {
	if s.made.Username == "" {
		return nil, ErrNoCredentials
	}
	u, err := s.url.Parse(c.Path)
	if err != nil {
		return nil, err
	}
	if len(c.Query) > 0 {
		u.RawQuery = c.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, u.String(), c.Body)
	if err != nil {
		return nil, err
	}
	for k, v := range s.header {
		req.Header[k] = v
	}
	if c.ContentType != "" {
		req.Header.Set("Content-Type", c.ContentType)
		req.ContentLength = c.Size
	}
	req.SetBasicAuth(s.made.Username, s.made.Password)
	resp, err := s.base.RoundTrip(req)
	if err != nil {
		return nil, s.unavailable(err)
	}
	return resp, nil
}
