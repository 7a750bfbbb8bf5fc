package token

import (
	"context"
	"net/http"
	"net/url"

	"example.org/breakwater/registry"
)

// Refuses reports whether Basic credentials are known not to permit an action on a repo:
// the local Harbor's token service says which it grants, and changes nothing. in is the
// request that carries them. false where nobody can say.
func (s *Service) Refuses(ctx context.Context, in *http.Request, repo, action string) bool {
	query := url.Values{"service": {registry.HarborService}, "scope": {"repository:" + repo + ":" + action}}
	asking := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: registry.TokenPath, RawQuery: query.Encode()}, Header: http.Header{},
		Proto: in.Proto, ProtoMajor: in.ProtoMajor, ProtoMinor: in.ProtoMinor, Host: in.Host, RemoteAddr: in.RemoteAddr, TLS: in.TLS}
	a, err := s.askHarbor(ctx, newQuestion(asking.WithContext(ctx), in.Header.Get("Authorization")))
	switch {
	case err != nil:
		return false
	case a.status == http.StatusOK:
		return a.grants != nil && !a.grants.Allows(repo, action)
	}
	return a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
}
