package source_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// answering is a Harbor whose health a test sets.
type answering struct {
	status int
	body   string
	after  time.Duration
	asked  atomic.Int32
}

// RoundTrip implements http.RoundTripper.
func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked.Add(1)
	status, body := a.status, a.body
	select {
	case <-time.After(a.after):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func newHealth(t *testing.T, ctx context.Context, a *answering) *source.Health {
	t.Helper()
	r, err := registry.NewSource(registry.SourceConfig{URL: "http://harbor", Username: "robot", Password: "x", Trusted: true,
		Wrap: func(http.RoundTripper) http.RoundTripper { return a }})
	if err != nil {
		t.Fatal(err)
	}
	return source.NewHealth(ctx, r, time.Now)
}

// Harbor says 200 whatever is wrong: its body says what is (harbor/README.md).
func TestHarborIsAsWellAsItsComponents(t *testing.T) {
	component := func(name, status string) string { return `{"name":"` + name + `","status":"` + status + `"}` }
	well := component("core", "healthy") + "," + component("database", "healthy")
	for name, c := range map[string]struct {
		status int
		body   string
		up     bool
	}{
		"all are well":                         {200, `{"status":"healthy","components":[` + well + `]}`, true},
		"the database is not":                  {200, `{"status":"unhealthy","components":[` + well + "," + component("database", "unhealthy") + `]}`, false},
		"redis is not":                         {200, `{"components":[` + well + "," + component("redis", "unhealthy") + `]}`, false},
		"the registry is not":                  {200, `{"components":[` + well + "," + component("registry", "unhealthy") + `]}`, false},
		"the job service, which no pull needs": {200, `{"components":[` + well + "," + component("jobservice", "unhealthy") + `]}`, true},
		"no components":                        {200, `{"status":"healthy"}`, false},
		"a page":                               {200, "<html>", false},
		"a registry that is no Harbor":         {404, "", true},
		"one that wants a login":               {401, "", true},
		"one that forbids it":                  {403, "", true},
		"500":                                  {500, well, false},
		"no answer":                            {0, "", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			if up := newHealth(t, t.Context(), &answering{status: c.status, body: c.body}).Up(); up != c.up {
				t.Errorf("%s: up is %v", name, up)
			}
			synctest.Wait()
		})
	}
}

// Nobody waits for a Harbor that hangs, and however many ask, it is asked once a second.
func TestAHarborThatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answering{status: 404}
		h := newHealth(t, t.Context(), a)
		if !h.Up() {
			t.Error("it is not up")
		}
		time.Sleep(time.Second)
		a.after = time.Hour
		begun := time.Now()
		for range 5 {
			if !h.Up() {
				t.Error("what it said before is forgotten while it is asked")
			}
		}
		if took := time.Since(begun); took != 5*50*time.Millisecond {
			t.Errorf("it was waited for: %v", took)
		}
		time.Sleep(time.Second)
		if h.Up() {
			t.Error("it is up, and does not answer")
		}
		asked := a.asked.Load()
		for range 100 {
			h.Up()
		}
		if n := a.asked.Load() - asked; n > 6 { // 100 times 50 ms are some seconds
			t.Errorf("it was asked %d times", n)
		}
		time.Sleep(time.Second)
	})
}
