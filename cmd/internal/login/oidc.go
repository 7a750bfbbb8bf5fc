package login

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// OIDC is an OpenID provider, and whom of its users to let in (OpenID Connect Core 1.0, the
// authorization code flow, with PKCE: RFC 7636).
type OIDC struct {
	Name         string // as the login page calls it
	Issuer       string // as it writes it itself
	ClientID     string
	ClientSecret string
	Scopes       []string          // openid is always one
	UserClaim    string            // what users are called by; where a token lacks it: sub
	GroupsClaim  string            // of the ID token or, where that lacks it, of UserInfo
	Groups       []string          // one of which lets in
	Transport    http.RoundTripper // nil: http.DefaultTransport
}

const (
	providerPatience = 10 * time.Second
	maxAnswer        = 1 << 20         // bytes of an answer of the provider's
	maxName          = 256             // bytes of a user's name
	notAgain         = 5 * time.Second // a provider that did not answer is left alone
)

// provider is what was found out about an OIDC.
type provider struct {
	OIDC
	now    func() time.Time
	proof  [32]byte // changes with what is asked for
	client *http.Client

	mu    sync.Mutex
	found *oidc.Provider
	fault error
	tried time.Time
}

func newProvider(o OIDC, now func() time.Time) *provider {
	text, err := json.Marshal([]any{o.Issuer, o.ClientID, o.ClientSecret, o.Scopes, o.UserClaim, o.GroupsClaim, o.Groups})
	if err != nil {
		panic(err) // strings
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	client := &http.Client{Transport: bounded{o.Transport}, Timeout: providerPatience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // the secret is for nobody else
	return &provider{OIDC: o, now: now, proof: sha256.Sum256(text), client: client}
}

// bounded cuts answers off that are longer than any of a provider's.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// Discover asks the provider for its configuration (OpenID Connect Discovery 1.0).
func (o OIDC) Discover(ctx context.Context) error {
	_, err := newProvider(o, time.Now).discover(ctx)
	return err
}

func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil || p.fault != nil && p.now().Sub(p.tried) < notAgain {
		return p.found, p.fault
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), providerPatience) // others take the answer too
	defer cancel()
	p.found, p.fault = oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.Issuer)
	if p.fault == nil && strings.HasPrefix(p.Issuer, "https:") && !overTLS(p.found) {
		p.found, p.fault = nil, errors.New("its end points are without TLS")
	}
	p.tried = p.now()
	return p.found, p.fault
}

// overTLS reports whether all that the provider is asked at, now and later, is behind TLS.
func overTLS(found *oidc.Provider) bool {
	var more struct {
		Keys string `json:"jwks_uri"`
	}
	if found.Claims(&more) != nil {
		return false
	}
	e := found.Endpoint()
	for _, url := range []string{e.AuthURL, e.TokenURL, more.Keys, cmp.Or(found.UserInfoEndpoint(), "https:")} {
		if !strings.HasPrefix(url, "https:") {
			return false
		}
	}
	return true
}

func (p *provider) oauth2(found *oidc.Provider, redirect string) *oauth2.Config {
	scopes := p.Scopes
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: redirect, Scopes: scopes}
}

// refusal is what is wrong with a login, for who logs in; its cause is for the log.
type refusal struct {
	status int
	says   string
	cause  error
}

func (r *refusal) Error() string {
	if r.cause == nil {
		return r.says
	}
	return r.says + ": " + r.cause.Error()
}

// away is the refusal of a provider that does not answer.
func (p *provider) away(cause error) *refusal {
	return &refusal{http.StatusBadGateway, p.Name + " does not answer as it should: try again", cause}
}

// user redeems a code: who logs in, where one of the groups lets in.
func (p *provider) user(ctx context.Context, code string, b begun) (string, *refusal) {
	found, err := p.discover(ctx)
	if err != nil {
		return "", p.away(err)
	}
	ctx = oidc.ClientContext(ctx, p.client)
	token, err := p.oauth2(found, b.Redirect).Exchange(ctx, code, oauth2.VerifierOption(b.Verifier))
	if err != nil {
		if answered := new(oauth2.RetrieveError); errors.As(err, &answered) {
			err = fmt.Errorf("%s %q", answered.Response.Status, answered.ErrorCode) // the body may hold what was sent
		}
		return "", p.away(err)
	}
	untrusted := func(cause error) (string, *refusal) {
		return "", &refusal{http.StatusForbidden, "what " + p.Name + " says of you cannot be believed", cause}
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(ctx, raw)
	if err != nil {
		return untrusted(err)
	}
	if id.Nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(b.Nonce)) != 1 {
		return untrusted(errors.New("the ID token is of another login (nonce)"))
	}
	var claims map[string]json.RawMessage
	if err := id.Claims(&claims); err != nil {
		return untrusted(err)
	}
	if azp := text(claims["azp"]); azp != "" && azp != p.ClientID {
		return untrusted(errors.New("the ID token was issued to another client (azp)"))
	}
	if claims[p.GroupsClaim] == nil && found.UserInfoEndpoint() != "" {
		info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return "", p.away(err)
		}
		if info.Subject != id.Subject {
			return untrusted(errors.New("UserInfo is of somebody else"))
		}
		more := map[string]json.RawMessage{}
		if err := info.Claims(&more); err != nil {
			return untrusted(err)
		}
		claims[p.GroupsClaim] = more[p.GroupsClaim]
	}
	return p.admit(id.Subject, claims)
}

// admit looks for a group that lets in.
func (p *provider) admit(subject string, claims map[string]json.RawMessage) (string, *refusal) {
	name := text(claims[p.UserClaim])
	if name == "" {
		name = subject
	}
	name = cut(name, maxName)
	var groups []string
	if json.Unmarshal(claims[p.GroupsClaim], &groups) != nil {
		groups = []string{text(claims[p.GroupsClaim])}
	}
	if !slices.ContainsFunc(groups, func(g string) bool { return g != "" && slices.Contains(p.Groups, g) }) {
		cause := error(nil)
		if claims[p.GroupsClaim] == nil {
			cause = fmt.Errorf("there is no claim %s", p.GroupsClaim)
		}
		return "", &refusal{http.StatusForbidden, name + " is in none of the groups that may look at this: " + strings.Join(p.Groups, ", "), cause}
	}
	return name, nil
}

// text is a claim that is a string; "" for any other.
func text(claim json.RawMessage) (s string) {
	if json.Unmarshal(claim, &s) != nil {
		return ""
	}
	return s
}

func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}
