package provision

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-openapi/runtime"
	rtclient "github.com/go-openapi/runtime/client"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

// Bounds of talking to one Harbor.
const (
	callTimeout = 60 * time.Second // Harbor logs in at a peer before it answers
	dialTimeout = 5 * time.Second
	maxAnswer   = 32 << 20
	atOnce      = 4 // calls to one Harbor
)

// harbor is a session with one Harbor.
type harbor struct {
	base     string // as https://harbor.par1.example.org
	user     string
	password string
	prefix   string // of robots' names, where Harbor does not say it
	inner    *http.Transport
	api      *client.HarborAPI
	slots    chan struct{}
	timeout  time.Duration // of one call
	calls    atomic.Int64  // to the management API
	proofs   atomic.Int64  // logins of robots and pings of registries

	mu      sync.Mutex
	cookies []*http.Cookie
	csrf    string
	basic   bool // there are no sessions for this account: each call brings the password
}

// tlsOf trusts the system's CAs and those in the file.
func tlsOf(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in it", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// newHarbor opens nothing yet. go-client's own NewClientSet is not used: it verifies
// no certificates.
func newHarbor(base, user, password string, trust *tls.Config) (*harbor, error) {
	u, err := url.Parse(base + client.DefaultBasePath)
	if err != nil {
		return nil, err
	}
	h := &harbor{base: base, user: user, password: password, prefix: "robot$", slots: make(chan struct{}, atOnce), timeout: callTimeout}
	h.inner = &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSClientConfig: trust,
		MaxIdleConnsPerHost: atOnce, TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: time.Minute}
	h.api = client.New(client.Config{URL: u, Transport: h})
	if r, ok := h.api.Transport.(*rtclient.Runtime); ok {
		r.Debug = false // DEBUG in the environment would print every body, with its secrets
	}
	return h, nil
}

func (h *harbor) close() { h.inner.CloseIdleConnections() }

// RoundTrip sends a call of the management API within the session.
func (h *harbor) RoundTrip(req *http.Request) (*http.Response, error) {
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close()
	}
	for attempt := 0; ; attempt++ {
		if err := h.login(req.Context()); err != nil {
			return nil, err
		}
		if !strings.HasSuffix(req.URL.Path, "/registries/ping") { // that is a proof
			h.calls.Add(1)
		}
		resp, err := h.send(req, body)
		again := attempt == 0 && req.Context().Err() == nil
		switch {
		case err != nil && again && req.Method == http.MethodGet: // a connection that the other side had closed
			continue
		case err != nil:
			return nil, fmt.Errorf("no answer: %w", err)
		case resp.StatusCode == http.StatusUnauthorized && h.byPassword():
			resp.Body.Close()
			return nil, errLogin
		case again && resp.StatusCode == http.StatusUnauthorized: // the session is over; nothing was done
			resp.Body.Close()
			h.forget()
			continue
		}
		return resp, nil
	}
}

// send sends a call once and takes its whole answer.
func (h *harbor) send(req *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), h.timeout)
	defer cancel()
	out := req.Clone(ctx)
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	h.authorize(out)
	resp, err := h.inner.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	return resp, nil
}

func (h *harbor) authorize(req *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.basic {
		req.SetBasicAuth(h.user, h.password)
		return
	}
	for _, c := range h.cookies {
		req.AddCookie(c)
	}
	req.Header.Set("X-Harbor-CSRF-Token", h.csrf)
	req.Header.Set("Referer", h.base+"/") // who checks for forgeries may want it over TLS
}

func (h *harbor) byPassword() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.basic
}

func (h *harbor) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cookies = nil
}

// errLogin is wrapped by what says that the fleet file's account is refused.
var errLogin = errors.New("this Harbor refuses harbor.username and harbor.password")

// login opens a session if there is none: the password costs Harbor 130 ms of a
// processor each time it is shown, the session 5.
func (h *harbor) login(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cookies != nil || h.basic {
		return nil
	}
	ask := func(method, form string, cookies []*http.Cookie, csrf string) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(ctx, h.timeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, h.base+"/c/login", strings.NewReader(form))
		if err != nil {
			return nil, err
		}
		for _, c := range cookies {
			req.AddCookie(c)
		}
		if form != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("X-Harbor-CSRF-Token", csrf)
			req.Header.Set("Referer", h.base+"/")
		}
		h.calls.Add(1)
		resp, err := h.inner.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	first, err := ask(http.MethodGet, "", nil, "")
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	cookies, csrf := first.Cookies(), first.Header.Get("X-Harbor-Csrf-Token")
	if csrf == "" {
		if first.StatusCode >= 500 {
			return fmt.Errorf("this Harbor answers %s", first.Status)
		}
		h.basic = true
		return nil
	}
	second, err := ask(http.MethodPost, url.Values{"principal": {h.user}, "password": {h.password}}.Encode(), cookies, csrf)
	switch {
	case err != nil:
		return fmt.Errorf("no answer: %w", err)
	case second.StatusCode == http.StatusUnauthorized: // robots, and people with a CLI secret, have no sessions
		h.basic = true
		return nil
	case second.StatusCode != http.StatusOK:
		return fmt.Errorf("log in: Harbor answers %s", second.Status)
	}
	merged := map[string]*http.Cookie{}
	for _, c := range append(cookies, second.Cookies()...) {
		merged[c.Name] = c
	}
	for _, name := range sortedKeys(merged) {
		h.cookies = append(h.cookies, merged[name])
	}
	if h.csrf = csrf; second.Header.Get("X-Harbor-Csrf-Token") != "" {
		h.csrf = second.Header.Get("X-Harbor-Csrf-Token")
	}
	return nil
}

// proves reports whether an account can log in with the secret: the token service
// without a scope says 401 to a wrong one.
func (h *harbor) proves(ctx context.Context, user, secret string) (bool, error) {
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	h.proofs.Add(1)
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+"/service/token?service=harbor-registry", nil)
	if err != nil {
		return false, err
	}
	req.SetBasicAuth(user, secret)
	resp, err := h.inner.RoundTrip(req)
	if err != nil {
		return false, fmt.Errorf("no answer: %w", err)
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized:
		return false, nil
	}
	return false, fmt.Errorf("the token service answers %s", resp.Status)
}

// coded is an error of go-client's that has Harbor's status.
type coded interface {
	error
	IsCode(int) bool
}

// statusOfAPI is the status of Harbor's answer; 0 where there was none.
func statusOfAPI(err error) int {
	var unexpected *runtime.APIError
	if errors.As(err, &unexpected) {
		return unexpected.Code
	}
	var c coded
	if errors.As(err, &c) {
		for status := 300; status < 600; status++ {
			if c.IsCode(status) {
				return status
			}
		}
	}
	return 0
}

func isCode(err error, code int) bool { return statusOfAPI(err) == code }

// explained is an error whose sentence is ours; what it means for the run is its cause's.
type explained struct {
	error
	cause error
}

func (e explained) Unwrap() error { return e.cause }

// plain is the error as a sentence: ours, or Harbor's own words without go-client's.
func plain(err error) error {
	var ours explained
	if errors.As(err, &ours) {
		return ours.error
	}
	var withPayload interface{ GetPayload() *models.Errors }
	if errors.As(err, &withPayload) {
		if p := withPayload.GetPayload(); p != nil && len(p.Errors) > 0 {
			return fmt.Errorf("this Harbor answers: %s", p.Errors[0].Message)
		}
	}
	var unexpected *runtime.APIError
	if errors.As(err, &unexpected) {
		return fmt.Errorf("this Harbor answers %d %s", unexpected.Code, http.StatusText(unexpected.Code))
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refused reports whether Harbor has said no, so that nothing was done. After
// another error it may have been.
func refused(err error) bool {
	status := statusOfAPI(err)
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout
}
