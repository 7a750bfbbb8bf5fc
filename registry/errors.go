package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Code is an error code of the OCI distribution specification (section "Error
// Codes"), or one of the few that registries in the field add.
type Code string

// The codes that breakwater writes. CodeUnavailable is distribution's own: a
// source could not be asked, so nobody knows.
const (
	CodeBlobUnknown       Code = "BLOB_UNKNOWN"
	CodeBlobUploadUnknown Code = "BLOB_UPLOAD_UNKNOWN"
	CodeDigestInvalid     Code = "DIGEST_INVALID"
	CodeManifestInvalid   Code = "MANIFEST_INVALID"
	CodeManifestUnknown   Code = "MANIFEST_UNKNOWN"
	CodeNameInvalid       Code = "NAME_INVALID"
	CodeNameUnknown       Code = "NAME_UNKNOWN"
	CodeUnauthorized      Code = "UNAUTHORIZED"
	CodeDenied            Code = "DENIED"
	CodeUnsupported       Code = "UNSUPPORTED"
	CodeTooManyRequests   Code = "TOOMANYREQUESTS"
	CodeUnavailable       Code = "UNAVAILABLE"
	CodePaginationInvalid Code = "PAGINATION_NUMBER_INVALID"
	CodeUnknown           Code = "UNKNOWN"
)

func (c Code) status() int {
	switch c {
	case CodeBlobUnknown, CodeBlobUploadUnknown, CodeManifestUnknown, CodeNameUnknown:
		return http.StatusNotFound
	case CodeDigestInvalid, CodeManifestInvalid, CodeNameInvalid, CodePaginationInvalid:
		return http.StatusBadRequest
	case CodeUnauthorized:
		return http.StatusUnauthorized
	case CodeDenied:
		return http.StatusForbidden
	case CodeUnsupported:
		return http.StatusMethodNotAllowed
	case CodeTooManyRequests:
		return http.StatusTooManyRequests
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Error is an answer that says no or don't-know, on its way to a client or
// back from a source. errors.Is compares codes, so that an error still matches
// after a trip over the wire.
type Error struct {
	Status     int           // HTTP status
	Code       Code          // the first code of the answer, "" where it had none
	Message    string        // one sentence, safe to be sent to a client
	Challenge  string        // WWW-Authenticate, a line for each of its values; "" for none
	RetryAfter time.Duration // Retry-After, 0 for none; a client is told a minute at most
	Page       bool          // of HTML, with neither a code nor a challenge: no registry's word
	Cause      error         // for the log only: never sent
}

// Errorf makes an error with the status that belongs to the code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Status: code.status(), Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error is the sentence for logs: the message and, behind it, the cause.
func (e *Error) Error() string {
	s := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an *Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// WriteError writes err as the specification's JSON. What is not an *Error is
// a fault of ours: 500 UNKNOWN, and its text stays with us.
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = Errorf(CodeUnknown, "internal error; the edge's log has the cause")
	}
	body, _ := json.Marshal(errorBody{[]errorEntry{{Code: e.Code, Message: e.Message}}})
	body = append(body, '\n')
	h := w.Header()
	for _, name := range []string{"Etag", "Docker-Content-Digest", "Content-Range", "Content-Encoding", "Last-Modified", "Cache-Control"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if e.Challenge != "" {
		h["Www-Authenticate"] = strings.Split(e.Challenge, "\n")
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((min(e.RetryAfter, retryTold)+time.Second-1)/time.Second)))
	}
	w.WriteHeader(e.Status)
	w.Write(body) //nolint:errcheck // the client is gone: there is nobody left to tell
}

// maxErrorBody bounds what is read of a source's error: enough for every
// registry's JSON, too little to be used against the reader's memory.
const maxErrorBody = 64 << 10

// maxCode and maxMessage bound what is kept of it, in bytes: a no is remembered, and logged.
const (
	maxCode    = 64
	maxMessage = 1 << 10
)

// ReadError reads the answer of a source that did not succeed, and closes its
// body. An answer without the specification's JSON keeps its status and has no
// code: an HTML page from a load balancer is no registry's word. A long message is cut.
func ReadError(resp *http.Response) *Error {
	defer resp.Body.Close()
	e := &Error{Status: resp.StatusCode, RetryAfter: Pause(resp, time.Now())}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		e.Cause = err
	}
	var body errorBody
	if json.Unmarshal(raw, &body) == nil && len(body.Errors) > 0 {
		e.Code, e.Message = body.Errors[0].Code[:min(len(body.Errors[0].Code), maxCode)], body.Errors[0].Message
		e.Message = strings.ToValidUTF8(e.Message[:min(len(e.Message), maxMessage)], "")
	}
	e.Page = e.Code == "" && IsHTML(resp) &&
		len(ParseChallenges(resp.Header.Values("Www-Authenticate"))) == 0
	return e
}

// Peek reads up to n bytes of a body in order to judge it, and returns them with the body as it
// was. The error is of a body that broke off.
func Peek(body io.ReadCloser, n int64) (head []byte, whole io.ReadCloser, err error) {
	head, err = io.ReadAll(io.LimitReader(body, n))
	return head, struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), body), body}, err
}

// IsHTML reports whether an answer says that its body is a page, as of a login or of what
// stands before a registry.
func IsHTML(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
}

// IsJSON reports whether an answer says that its body is JSON, as every registry's refusal
// is: a page of what stands before a registry is not.
func IsJSON(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
}

// StatusClass is the class of an HTTP status in metrics: "2xx" for 204, and "0xx"
// where there was no answer.
func StatusClass(status int) string {
	return [...]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"}[min(max(status, 0)/100, 5)]
}
