package provision

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client"
)

// foreign is an answer that no Harbor gives: somebody else is at the address, or stands
// before it. No later run finds that mended.
type foreign struct{ sentence string }

func (f foreign) Error() string { return f.sentence }

// otherwise says that the address is written with the wrong scheme.
func (h *harbor) otherwise(speaks, scheme string) error {
	_, host, _ := strings.Cut(h.base, "://")
	return foreign{fmt.Sprintf("what is at %s %s: write %s://%s", h.base, speaks, scheme, host)}
}

// cutShort is an answer of which the end is missing.
type cutShort struct {
	call string
	why  error
}

func (c cutShort) Error() string {
	return fmt.Sprintf("the answer to %s ends too early (%v): what it had to say is not known", c.call, c.why)
}

func (c cutShort) Unwrap() error { return c.why }

// callOf names a request as errors do.
func callOf(req *http.Request) string {
	return req.Method + " " + strings.TrimPrefix(req.URL.Path, client.DefaultBasePath)
}

// foreignTo is the answer as one that no Harbor gives.
func (h *harbor) foreignTo(call string, resp *http.Response, answer []byte) error {
	if resp.StatusCode == http.StatusBadRequest && strings.Contains(string(answer), "HTTPS") && strings.HasPrefix(h.base, "http://") {
		return h.otherwise("speaks TLS", "https")
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case len(answer) == 0:
		kind = "nothing in it"
	case err != nil:
		kind = "text of no type"
	}
	return foreign{fmt.Sprintf("what is at %s is no Harbor, or something stands before it: it answers %s with %s (%s); write the address of a Harbor, without a path", h.base, call, resp.Status, kind)}
}

// otherScheme makes errors of a connection that is spoken to in the wrong way, or refused
// by the other side's TLS, what they are: nothing that a later run finds mended.
func (h *harbor) otherScheme(err error) error {
	var alert tls.AlertError
	switch {
	case errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return h.otherwise("speaks no TLS", "http")
	case errors.As(err, &alert):
		return foreign{fmt.Sprintf("what is at %s refuses to speak TLS with this program (%v): does it ask for a client's certificate, or speak versions that are too old?", h.base, alert)}
	case strings.Contains(err.Error(), "malformed HTTP") && strings.HasPrefix(h.base, "http://"):
		return h.otherwise("speaks no HTTP, so perhaps TLS", "https")
	}
	return err
}

// identify asks who is there, before a password is shown to a side that has not shown
// itself to be a Harbor, and returns how people log in to it.
func (h *harbor) identify(ctx context.Context) (authMode string, err error) {
	const path = "/systeminfo"
	resp, err := h.ask(ctx, http.MethodGet, client.DefaultBasePath+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return "", said{"this Harbor answers " + resp.Status, resp.StatusCode}
	}
	var info struct {
		AuthMode string `json:"auth_mode"`
	}
	if err := json.Unmarshal(answer, &info); err != nil || resp.StatusCode != http.StatusOK || info.AuthMode == "" {
		return "", h.foreignTo("GET "+path, resp, answer)
	}
	return info.AuthMode, nil
}

// readable is an error where a list or an object that was asked for came as something else:
// what is not read is not known, and no list that was is empty.
func (h *harbor) readable(req *http.Request, resp *http.Response, answer []byte) error {
	if req.Method != http.MethodGet || resp.StatusCode/100 != 2 {
		return nil
	}
	switch {
	case len(answer) == 0 && strings.HasSuffix(req.URL.Path, "/gc/schedule"): // Harbor's way to say that there is none
		return nil
	case len(answer) >= maxAnswer:
		return cutShort{callOf(req), fmt.Errorf("it is longer than %d MiB", maxAnswer>>20)}
	case json.Valid(answer):
		return whole(req, resp, answer)
	case strings.HasPrefix(strings.TrimSpace(string(answer)), "[") || strings.HasPrefix(strings.TrimSpace(string(answer)), "{"):
		return cutShort{callOf(req), errors.New("it is no whole JSON")}
	}
	return h.foreignTo(callOf(req), resp, answer)
}

// whole is an error where a page of a list has fewer entries than Harbor says that it has.
func whole(req *http.Request, resp *http.Response, answer []byte) error {
	total, err := strconv.Atoi(resp.Header.Get("X-Total-Count"))
	page, e := strconv.Atoi(req.URL.Query().Get("page"))
	size, e2 := strconv.Atoi(req.URL.Query().Get("page_size"))
	if err != nil || e != nil || e2 != nil {
		return nil
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(answer, &entries); err != nil {
		return err
	}
	if want := max(0, min(size, total-(page-1)*size)); len(entries) < want {
		return cutShort{callOf(req), fmt.Errorf("page %d has %d entries of %d", page, len(entries), want)}
	}
	return nil
}
