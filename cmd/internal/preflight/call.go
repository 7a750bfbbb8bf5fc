package preflight

import (
	"cmp"
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
	"syscall"
	"time"

	"example.org/breakwater/internal/daemon"
)

const (
	callPatience = 5 * time.Second // how long one answer may take
	maxAnswer    = 1 << 20         // bytes that are read of one
	clocksApart  = 5 * time.Second // further than this, and tokens are refused for their times
)

// client asks one server of the fleet, or outside. Redirects are not followed: credentials
// stay where they are meant to be.
type client struct {
	http     *http.Client
	now      func() time.Time
	username string
	password string
	bearer   string
	show     func(http.Header) error // what else shows who asks; nil: nothing
	method   string                  // "": GET
}

// newClient trusts the system's authorities and those of the files; what is wrong with a
// file the check of files says.
func newClient(m *machine, show *tls.Certificate, files ...string) *client {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, name := range files {
		if text, err := os.ReadFile(name); name != "" && err == nil {
			roots.AppendCertsFromPEM(text)
		}
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if show != nil {
		config.Certificates = []tls.Certificate{*show}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig, transport.DisableKeepAlives = config, true
	return &client{now: m.Now, http: &http.Client{Timeout: callPatience, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// as is the client with credentials.
func (c client) as(username, password string) *client {
	c.username, c.password = username, password
	return &c
}

// answer is what was answered, and how far its clock is from this one.
type answer struct {
	status int
	header http.Header
	body   []byte
	ahead  time.Duration // by the Date header, which has whole seconds; 0: none, or near enough
}

func (c *client) get(ctx context.Context, address string, query url.Values) (*answer, error) {
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(c.method, http.MethodGet), address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "breakwater/"+daemon.Version())
	if c.username != "" {
		req.SetBasicAuth(c.username, c.password)
	} else if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	if c.show != nil {
		if err := c.show(req.Header); err != nil {
			return nil, err
		}
	}
	asked := c.now()
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	heard := c.now()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		switch { // somewhere between the question and the answer it was said, and cut to a second
		case date.After(heard.Add(time.Second)):
			a.ahead = date.Sub(heard)
		case date.Add(time.Second).Before(asked.Add(-time.Second)):
			a.ahead = date.Add(time.Second).Sub(asked)
		}
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return a, err
}

// tryClock compares the server's clock with this machine's.
func (a *answer) tryClock(r *results, subject, whose string) {
	if a.ahead.Abs() <= clocksApart {
		return
	}
	direction := "behind"
	if a.ahead > 0 {
		direction = "ahead of"
	}
	r.fault("clock", subject, fmt.Sprintf("%s clock is %v %s this machine's: tokens are refused for their times", whose, a.ahead.Abs().Round(time.Second), direction), "synchronize both by NTP (chronyc tracking)")
}

// noAnswer finds why a server gave none. subject is the field of the fleet file that has
// its address, ca the one that says who vouches for it.
func noAnswer(ctx context.Context, r *results, subject, address, ca string, err error) {
	u, parseErr := url.Parse(address)
	if parseErr != nil {
		return
	}
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var names x509.HostnameError
	var invalid x509.CertificateInvalidError
	var timeout net.Error
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		r.fault("scheme", subject, fmt.Sprintf("%s (%s) speaks no TLS", u.Host, subject), "write http:// in place of https://, or let it have a certificate")
	case errors.As(err, &dns):
		r.fault("unresolved", subject, fmt.Sprintf("%s (%s): the name does not resolve: %s", u.Hostname(), subject, dns.Err), "write the right name, or let this machine's resolver know it")
	case errors.As(err, &unknown), errors.As(err, &names), errors.As(err, &invalid):
		r.fault("certificate", subject, fmt.Sprintf("%s (%s): its certificate is not believed: %s", u.Host, subject, certificateFault(err)), "give it a certificate of that name, or name the file of its authority in "+ca)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		r.fault("refused", subject, fmt.Sprintf("%s (%s) refuses the connection", u.Host, subject), "start it, or write its right address and port")
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		r.fault("silent", subject, fmt.Sprintf("%s (%s) gives no answer within %v", u.Host, subject, callPatience), "see whether it is overloaded, and whether a firewall drops packets to it")
	default:
		r.fault("unreachable", subject, fmt.Sprintf("%s (%s) cannot be asked: %s", u.Host, subject, oneLine(err)), "see whether it runs, and write its right address")
	}
}

func certificateFault(err error) string {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return "it has ended, or has not yet begun"
	}
	text := oneLine(err)
	if _, after, ok := strings.Cut(text, "x509: "); ok {
		return after
	}
	return text
}
