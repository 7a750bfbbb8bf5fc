package access_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/access"
)

// knowing is a Harbor that knows one user, or no longer. It can be slow, or fail.
type knowing struct {
	asked   atomic.Int64
	refuses atomic.Bool
	fails   atomic.Bool
	takes   atomic.Int64 // nanoseconds
}

func (k *knowing) answer(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Path, "/v2/") {
		return says(http.StatusOK, `[{"name":"a","project_id":7}]`), nil
	}
	k.asked.Add(1)
	select {
	case <-time.After(time.Duration(k.takes.Load())):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	switch {
	case k.fails.Load():
		return nil, io.ErrUnexpectedEOF
	case k.refuses.Load():
		resp := says(http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"unauthorized"}]}`)
		resp.Header.Set("WWW-Authenticate", `Basic realm="harbor"`)
		return resp, nil
	}
	return says(http.StatusNotFound, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`), nil
}

// A password that Harbor has accepted is shown to it again every quarter of a minute while it
// is used, once for all who come with it. So a robot that was disabled, deleted or got another
// secret is refused then. A Harbor that is slow or silent takes nothing back for five minutes.
func TestAYesIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		harbor := &knowing{}
		check := bubble(t, harbor.answer, nil)
		query := access.Query{Authorization: basic("ci", secret), Repos: []string{"a/x"}, Action: "pull"}
		come := func(when string, n int, want int, asks int64, waits time.Duration) {
			t.Helper()
			before, began := harbor.asked.Load(), time.Now()
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					if _, err := check.Allow(t.Context(), query); statusOf(err) != want {
						t.Errorf("%s: %v, want %d", when, err, want)
					}
				})
			}
			all.Wait()
			if asked, waited := harbor.asked.Load()-before, time.Since(began); asked != asks || waited != waits {
				t.Errorf("%s: %d questions, after %v, want %d, %v", when, asked, waited, asks, waits)
			}
		}
		come("first", 1, 200, 1, 0)
		time.Sleep(15*time.Second - 1)
		come("within a quarter of a minute", 20, 200, 0, 0)
		time.Sleep(time.Nanosecond)
		harbor.takes.Store(int64(100 * time.Millisecond))
		come("after it, all at once", 20, 200, 1, 100*time.Millisecond)

		harbor.takes.Store(int64(3 * time.Second))
		time.Sleep(15 * time.Second)
		come("Harbor is slow", 20, 200, 1, 500*time.Millisecond)
		come("it is still slow", 20, 200, 0, 0)
		time.Sleep(3 * time.Second)
		harbor.takes.Store(0)

		harbor.fails.Store(true)
		time.Sleep(15 * time.Second)
		come("Harbor fails", 20, 200, 1, 0)
		come("it has failed", 20, 200, 0, 0)
		time.Sleep(5 * time.Second)
		come("it fails again", 20, 200, 1, 0)
		harbor.refuses.Store(true)
		harbor.fails.Store(false)
		time.Sleep(5 * time.Second)
		harbor.takes.Store(int64(100 * time.Millisecond))
		come("it is well, and refuses", 20, 401, 1, 100*time.Millisecond)
		harbor.takes.Store(0)
		come("a no is not remembered", 2, 401, 2, 0)
		harbor.refuses.Store(false)
		come("it knows the user again", 1, 200, 1, 0)

		harbor.fails.Store(true)
		time.Sleep(5*time.Minute - 1)
		come("nearly five minutes of silence", 1, 200, 1, 0)
		time.Sleep(time.Nanosecond)
		come("five minutes", 1, 503, 1, 0)
		time.Sleep(time.Minute)
	})
}
