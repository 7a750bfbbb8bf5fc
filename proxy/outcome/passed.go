package outcome

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

// maxPassed bounds what is read of an answer in order to judge it.
const maxPassed = 64 << 10

// OfHarbor is what an answer of Harbor, of the distribution API, says of Harbor itself, where
// it says nothing of the request: it cannot say now (UNAVAILABLE), or it has no such project
// (NAME_UNKNOWN). nil: it is an answer to the request. Harbor's own words may tell addresses
// and names inside, and a 401 or a page sends clients to ask for passwords. What was read of
// the body is put back.
func OfHarbor(resp *http.Response) *registry.Error {
	switch {
	case resp.StatusCode >= 500, isOfNoRegistry(resp):
		e := DontKnow(fmt.Errorf("the answer is %s", resp.Status))
		e.RetryAfter = max(e.RetryAfter, registry.RetryAfter(resp.Header, time.Now()))
		return e
	case resp.StatusCode != http.StatusUnauthorized || len(registry.ParseChallenges(resp.Header.Values("Www-Authenticate"))) > 0:
		return nil
	}
	head, whole, err := registry.Peek(resp.Body, maxPassed)
	if err != nil {
		return DontKnow(err)
	}
	copied := *resp
	copied.Body = io.NopCloser(bytes.NewReader(head))
	resp.Body = whole
	return MissingProject(registry.ReadError(&copied))
}

// isOfNoRegistry reports whether an answer comes from a front whose Harbor is gone: a page, or
// a 404 in plain text. Some registries' 404 to a HEAD has no type at all.
func isOfNoRegistry(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusForbidden:
		return registry.IsHTML(resp) && resp.Header.Get("Docker-Content-Digest") == ""
	case http.StatusNotFound:
		return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/")
	}
	return false
}
