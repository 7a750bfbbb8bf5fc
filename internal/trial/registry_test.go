package trial

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestARegistrySaysWhatItIsTold(t *testing.T) {
	r := NewRegistry(t)
	r.Say("/a", Answer{Body: "any"})
	r.Say("/a?x=1", Answer{Body: "of x"})
	r.Say("DELETE /a", Answer{Status: http.StatusAccepted})
	r.Say("HEAD /a?x=1", Answer{Header: http.Header{"Content-Length": {"7"}}})
	for request, want := range map[string]struct {
		status int
		body   string
		length int64
	}{
		"GET /a": {200, "any", 3}, "GET /a?x=1": {200, "of x", 4}, "GET /a?x=2": {200, "any", 3}, "DELETE /a": {202, "", 0},
		"HEAD /a?x=1": {200, "", 7}, "GET /v2/": {200, "", 0},
		"GET /b": {404, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`, 86},
	} {
		method, path, _ := strings.Cut(request, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want.status || string(body) != want.body || resp.ContentLength != want.length {
			t.Errorf("%s: %d %q, %d bytes", request, resp.StatusCode, body, resp.ContentLength)
		}
	}
	if n, a := len(r.Asked()), r.AskedFor("GET /a"); n != 6 || a != 3 {
		t.Errorf("asked %d times, %d for a", n, a)
	}
	r.Say("/a", Answer{Never: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("%s", resp.Status)
		resp.Body.Close()
	}
}
