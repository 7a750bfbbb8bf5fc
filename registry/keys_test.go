package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// cloud makes a password that is good for an hour, and counts.
type cloud struct {
	now    func() time.Time
	made   *atomic.Int64
	failed *atomic.Bool
}

func (c *cloud) Login(context.Context, http.RoundTripper) (username, password string, until time.Time, err error) {
	if c.failed.Load() {
		return "", "", time.Time{}, fmt.Errorf("%w: the key is not known", ErrCredentials)
	}
	return "AWS", fmt.Sprint("token-", c.made.Add(1)), c.now().Add(time.Hour), nil
}

// Credentials that end are made once for all repos, and anew before they end, for which nobody
// waits. While none can be made the ones that are good are shown; then nobody knows what the
// source has, and whoever makes them is left alone for some seconds.
func TestCredentialsThatEndAreMadeAnew(t *testing.T) {
	var passed atomic.Int64
	begun := time.Now()
	now := func() time.Time { return begun.Add(time.Duration(passed.Load())) }
	c := &cloud{now, &atomic.Int64{}, &atomic.Bool{}}
	g := newGuarded(t)
	g.root = g.wants("nothing", `Basic realm="x"`)
	var refused atomic.Int64 // those that were made until then
	g.repo = func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		n, _ := strconv.ParseInt(strings.TrimPrefix(password, "token-"), 10, 64) // 0: no token
		if n > refused.Load() {
			open(w, r)
			return
		}
		g.wants("nothing", `Basic realm="x"`)(w, r)
	}
	s := newSource(t, SourceConfig{URL: g.URL, Keys: c, Now: now})
	want := func(what string, repo string, status_ int, made int64) {
		t.Helper()
		if got, err := status(t, s, repo); got != status_ || c.made.Load() != made {
			t.Errorf("%s: %d, %v, %d were made, want %d", what, got, err, c.made.Load(), made)
		}
	}
	want("the first", "p/a", 200, 1)
	want("another repo", "p/b", 200, 1)
	passed.Store(int64(50 * time.Minute))
	if _, err := status(t, s, "p/a"); err != nil {
		t.Error("before they end:", err)
	}
	trial.Until(t, func() error {
		if n := c.made.Load(); n != 2 {
			return fmt.Errorf("%d were made", n)
		}
		return nil
	})
	want("the second", "p/a", 200, 2)
	c.failed.Store(true)
	passed.Store(int64(100 * time.Minute))
	want("none can be made, and the last are good", "p/b", 200, 2)
	passed.Store(int64(3 * time.Hour))
	if _, err := status(t, s, "p/a"); !errors.Is(err, ErrCredentials) {
		t.Error("none can be made:", err)
	}
	c.failed.Store(false)
	if _, err := status(t, s, "p/a"); !errors.Is(err, ErrCredentials) {
		t.Error("they are asked for again at once:", err)
	}
	passed.Add(int64(time.Minute))
	want("they can be made again", "p/a", 200, 3)
	refused.Store(3)
	if _, err := status(t, s, "p/a"); !errors.Is(err, ErrCredentials) {
		t.Error("a source that refuses what was made:", err)
	}
	passed.Add(int64(time.Minute))
	want("others, after a refusal", "p/a", 200, 4)
}
