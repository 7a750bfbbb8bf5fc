package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync/atomic"
)

// Source is a client for one registry that content may be fetched from: a
// Harbor, a peer or an upstream. It answers the registry's challenges itself, sends
// its credentials to the registry, to a token realm of the registry's own domain and
// to those that are named only, asks for no encoding but identity, undoes one that comes all the same of what is JSON, and follows redirects
// to storage without them. It may be given another configuration while it is used. Safe
// for concurrent use.
type Source struct {
	client atomic.Pointer[client]
}

// NewSource checks the configuration; it sends nothing.
func NewSource(cfg SourceConfig) (*Source, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	s := &Source{}
	s.client.Store(c)
	return s, nil
}

// Use has the source reach what next reaches, and as next does: its address, credentials,
// authorities and proxy. Requests that are under way go on with what they began with.
// changed is false where next is configured as the source is: then it keeps its
// connections and tokens.
func (s *Source) Use(next *Source) (changed bool) {
	before, after := s.client.Load(), next.client.Load()
	if before.made.same(after.made) {
		return false
	}
	s.client.Store(after)
	before.closeIdle()
	return true
}

// same reports whether two configurations reach one registry in one way. What is put
// around connections, and clocks, do not tell.
func (c SourceConfig) same(other SourceConfig) bool {
	return c.URL == other.URL && c.Prefix == other.Prefix && c.Proxy == other.Proxy && c.Trusted == other.Trusted && (c.Redirects == nil) == (other.Redirects == nil) && slices.Equal(c.Redirects, other.Redirects) &&
		c.Username == other.Username && c.Password == other.Password && c.Keys == other.Keys && slices.Equal(c.Names, other.Names) && slices.Equal(c.Realms, other.Realms) && reflect.DeepEqual(c.Header, other.Header) && sameTLS(c.TLS, other.TLS)
}

// sameTLS compares whom two configurations believe, and whether they show a certificate.
func sameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	roots := func(a, b *x509.CertPool) bool { return a == b || a != nil && b != nil && a.Equal(b) }
	return roots(a.RootCAs, b.RootCAs) && (a.GetClientCertificate == nil) == (b.GetClientCertificate == nil)
}

// URL is the source's own: scheme and host.
func (s *Source) URL() *url.URL {
	u := s.client.Load().url
	return &url.URL{Scheme: u.Scheme, Host: u.Host}
}

// Transport is the connection pool to the source, without authentication: for
// passing a client's request on with the client's own credentials. It is that of the
// configuration at the time.
func (s *Source) Transport() http.RoundTripper { return s.client.Load().base }

// Single makes a connection for each request, and closes it: what comes of its handshake is
// how things are now. As Transport, it has no authentication.
func (s *Source) Single() http.RoundTripper { return s.client.Load().single }

// RoundTrip is Transport's, by the configuration at the time of each request.
func (s *Source) RoundTrip(req *http.Request) (*http.Response, error) {
	return s.Transport().RoundTrip(req)
}

// Do sends a read and returns the answer, whatever its status, its body still
// to be closed. header is sent along; when it carries Authorization that is
// what authenticates the request, else the source's own credentials do. An
// error means that there was no answer: code UNAVAILABLE. Where the source was not
// asked for want of a token, or refuses who asks, the error is ErrNotGranted,
// ErrCredentials, ErrElsewhere or ErrBusy too.
func (s *Source) Do(ctx context.Context, r Request, header http.Header) (*http.Response, error) {
	return s.client.Load().do(ctx, r, header)
}

// CloseIdleConnections closes the connections that no request uses. Those of a source
// that has not answered may be dead, and the next request would wait on one in vain.
func (s *Source) CloseIdleConnections() { s.client.Load().closeIdle() }
