package provision

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/go-openapi/runtime"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

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
	status := statusOfAPI(err)
	var withPayload interface{ GetPayload() *models.Errors }
	if errors.As(err, &withPayload) {
		if p := withPayload.GetPayload(); p != nil && len(p.Errors) > 0 {
			return said{"this Harbor answers: " + p.Errors[0].Message, status}
		}
	}
	var unexpected *runtime.APIError
	if errors.As(err, &unexpected) {
		return said{fmt.Sprintf("this Harbor answers %d %s", unexpected.Code, http.StatusText(unexpected.Code)), status}
	}
	if status != 0 && !errors.As(err, new(said)) {
		return said{fmt.Sprintf("this Harbor answers %d %s", status, http.StatusText(status)), status}
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// said is an answer that is no success, as a sentence.
type said struct {
	sentence string
	status   int
}

func (s said) Error() string { return s.sentence }

// IsCode is as go-client's errors have it.
func (s said) IsCode(code int) bool { return s.status == code }

// unsent is why a call was not sent: it did nothing.
type unsent struct{ error }

func (u unsent) Unwrap() error { return u.error }

// unanswered is a call that has no answer.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

// halfDone is an error after which it is not known how much of a change Harbor has done.
type halfDone struct{ error }

func (h halfDone) Unwrap() error { return h.error }

// noAnswer is the error as that of the call.
func noAnswer(req *http.Request, err error) error {
	path := strings.TrimPrefix(req.URL.Path, client.DefaultBasePath)
	var dial *net.OpError
	switch {
	case errors.As(err, new(redirect)):
		return err
	case req.Method == http.MethodGet || path == "/c/login" || path == "/registries/ping" || errors.As(err, &dial) && dial.Op == "dial":
		return unanswered{fmt.Errorf("no answer: %w", err)}
	}
	return halfDone{unanswered{fmt.Errorf("%s %s has no answer, and it is not known whether it was done: %w", req.Method, path, err)}}
}

// unasked reports whether Harbor was not told what it was to do.
func unasked(err error) bool {
	return errors.Is(err, errLogin) || errors.As(err, new(unsent)) || errors.As(err, new(redirect)) || errors.As(err, new(unanswered)) && !errors.As(err, new(halfDone))
}

// away reports whether nobody answers there now, so that a later run may do what this one
// cannot. A no, as to the password, is an answer, and so is what no Harbor says: only what
// is known to be nobody's answer counts.
func away(err error) bool {
	if errors.As(err, new(cutShort)) { // it was answering
		return false
	}
	if status := statusOfAPI(err); status != 0 { // of who stands before Harbor, and finds nobody behind
		return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
	}
	if errors.As(err, new(silent)) || errors.As(err, new(unsent)) {
		return true
	}
	var network net.Error
	var dial *net.OpError
	timeout := errors.As(err, &network) && network.Timeout() // also of a TLS handshake
	return timeout || errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, new(*net.DNSError)) ||
		hungUp(err)
}

// hungUp reports whether the connection was taken and closed, as a balancer does that has
// nobody behind it. net/http has no value for a close that came before the request was
// written (its errServerClosedIdle), so its text tells.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "http: server closed idle connection")
}

// faultOf is why a Harbor was not read. What concerns all calls alike is said without
// the one that met it.
func (h *harbor) faultOf(err error) string {
	var s silent
	var u unanswered
	var f foreign
	var c cutShort
	switch {
	case errors.Is(err, errLogin):
		return errLogin.Error()
	case errors.As(err, &f):
		return f.Error()
	case errors.As(err, &c):
		return c.Error()
	case errors.As(err, &s):
		return s.Error()
	case errors.As(err, &u):
		return u.Error()
	}
	text := plain(err).Error()
	if isCode(err, http.StatusForbidden) {
		text += ": " + h.user + " (harbor.username) may not; it takes an administrator of the system, or a robot of the system with that permission"
	}
	return text
}

// refused reports whether Harbor has said no, so that nothing was done. After
// another error it may have been.
func refused(err error) bool {
	status := statusOfAPI(err)
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout
}
