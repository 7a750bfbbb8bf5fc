package provision

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
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

	rtclient "github.com/go-openapi/runtime/client"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client"
)

// Bounds of talking to one Harbor.
const (
	callTimeout = 30 * time.Second
	peerTimeout = 60 * time.Second // Harbor logs in at a peer before it answers
	dialTimeout = 5 * time.Second
	maxAnswer   = 32 << 20
	atOnce      = 4  // changes at one Harbor
	readsAtOnce = 16 // calls to one Harbor
)

// harbor is a session with one Harbor.
type harbor struct {
	name     string // of its datacenter
	base     string // as https://harbor.par1.example.org
	user     string
	password string
	prefix   string            // of robots' names, where Harbor does not say it
	inner    *http.Transport   // under all that is asked
	host     http.RoundTripper // inner, for this host alone
	api      *client.HarborAPI
	slots    chan struct{}
	timeout  time.Duration // of one call
	patience time.Duration // of one that leads this Harbor to a peer
	calls    atomic.Int64  // to the management API
	proofs   atomic.Int64  // logins of robots and pings of registries

	mu      sync.Mutex
	cookies []*http.Cookie
	csrf    string
	basic   bool // there are no sessions for this account: each call brings the password
	refused bool // the account, which is not tried again

	awake context.Context // ends with the first call that has no answer: it is away for this run
	sleep context.CancelCauseFunc
	deaf  sync.Map // addresses of peers that gave this Harbor no answer, and why they are not asked

	waiting func(string) // is told who is waited for; nil: nobody is
	notice  time.Duration
	noticed atomic.Int64 // when that was said last
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
	h := &harbor{base: base, user: user, password: password, prefix: "robot$", slots: make(chan struct{}, readsAtOnce), timeout: callTimeout, patience: peerTimeout, notice: noticeAfter}
	h.awake, h.sleep = context.WithCancelCause(context.Background())
	h.inner = &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSClientConfig: trust,
		MaxIdleConnsPerHost: readsAtOnce, TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: time.Minute}
	h.host = confined{u, h.inner}
	h.api = client.New(client.Config{URL: u, Transport: h})
	if r, ok := h.api.Transport.(*rtclient.Runtime); ok {
		r.Debug = false // DEBUG in the environment would print every body, with its secrets
	}
	return h, nil
}

func (h *harbor) close() { h.inner.CloseIdleConnections() }

// slot waits until a call may be sent.
func (h *harbor) slot(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return unsent{context.Cause(ctx)}
	}
	if err := h.unable(ctx); err != nil {
		h.free()
		return unsent{err}
	}
	return nil
}

// lastWord is the key of contexts whose calls are made also after Harbor gave no answer:
// what this run holds there is given back.
type lastWord struct{}

// unable is why no call can be made.
func (h *harbor) unable(ctx context.Context) error {
	if ctx.Value(lastWord{}) != nil {
		return context.Cause(ctx)
	}
	return cmp.Or(context.Cause(h.awake), context.Cause(ctx))
}

func (h *harbor) free() { <-h.slots }

// RoundTrip sends a call of the management API within the session.
func (h *harbor) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := h.slot(req.Context()); err != nil {
		return nil, err
	}
	defer h.free()
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
		resp, answer, err := h.send(req, body)
		again := attempt == 0 && req.Context().Err() == nil && h.awake.Err() == nil
		switch {
		case err != nil && again && req.Method == http.MethodGet && !errors.As(err, new(redirect)): // a connection that the other side had closed
			continue
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusUnauthorized && h.refuse():
			return nil, errLogin
		case again && resp.StatusCode == http.StatusUnauthorized: // the session is over; nothing was done
			h.forget()
			continue
		}
		if err := h.readable(req, resp, answer); again && errors.As(err, new(cutShort)) {
			continue
		} else if err != nil {
			return nil, err
		}
		return inJSON(resp, answer), nil
	}
}

// inJSON is a refusal in JSON, also where it is a page of whoever stands before Harbor:
// go-client forgets its status otherwise.
func inJSON(resp *http.Response, answer []byte) *http.Response {
	if resp.StatusCode >= 400 && !json.Valid(answer) {
		resp.Header.Set("Content-Type", "application/json")
		resp.Body = io.NopCloser(strings.NewReader("{}"))
	}
	return resp
}

// send sends a call once and takes its whole answer.
func (h *harbor) send(req *http.Request, body []byte) (*http.Response, []byte, error) {
	out := req.Clone(req.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	h.authorize(out)
	timeout := h.timeout
	if leadsToPeer(req) {
		timeout = h.patience
	}
	return h.exchange(out, timeout)
}

// leadsToPeer reports whether Harbor asks another registry before it answers: that this
// takes long says nothing of Harbor itself.
func leadsToPeer(req *http.Request) bool {
	return req.Method != http.MethodGet && strings.Contains(req.URL.Path, "/registries")
}

// exchange sends one request and takes its whole answer. Whoever gives none in time is
// away for the rest of the run, and all that waits for it ends.
func (h *harbor) exchange(req *http.Request, timeout time.Duration) (resp *http.Response, answer []byte, err error) {
	if err := h.unable(req.Context()); err != nil {
		return nil, nil, unsent{err}
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	if ctx.Value(lastWord{}) == nil {
		defer context.AfterFunc(h.awake, func() { cancel(context.Cause(h.awake)) })()
	}
	defer h.watch(req, timeout)()
	silence := silent{h.base, callOf(req), timeout}
	timer := time.AfterFunc(timeout, func() {
		if !leadsToPeer(req) {
			h.sleep(silence)
		}
		cancel(silence)
	})
	defer timer.Stop()
	if resp, err = h.host.RoundTrip(req.WithContext(ctx)); err != nil {
		err = h.otherScheme(err)
	} else {
		defer resp.Body.Close()
		if err := redirected(resp); err != nil {
			return nil, nil, err
		}
		if answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
			err = cutShort{callOf(req), err}
		}
	}
	if err != nil {
		if why := context.Cause(ctx); why != nil {
			err = why
		}
		return nil, nil, noAnswer(req, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	return resp, answer, nil
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
