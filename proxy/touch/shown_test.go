package touch_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/touch"
)

// Of each artifact it can be seen whether Harbor was shown its last pull.
func TestWhetherHarborWasShownAPullCanBeSeen(t *testing.T) {
	const cache = "cache-hub/library/app"
	d := digest.FromString("one")
	for name, c := range map[string]struct {
		repo   string
		status int
		want   touch.Showing
		says   string
	}{
		"Harbor counts it":      {repo, 0, touch.Counted, "was shown it at"},
		"Harbor lacks it":       {repo, http.StatusNotFound, touch.Absent, "does not hold it"},
		"Harbor cannot say":     {repo, http.StatusInternalServerError, touch.Pending, "could not say"},
		"Harbor lets no robot":  {cache, http.StatusForbidden, touch.Refused, "breakwater provision apply"},
		"a cache that is shown": {cache, 0, touch.Counted, "was shown it at"},
	} {
		t.Run(name, func(t *testing.T) {
			working(t, func(t *testing.T, e *edge, h *harbor) {
				see := func(want touch.Showing, says string) {
					t.Helper()
					if s := e.Shown(c.repo, "v1", d); s == nil || s.State != want || !strings.Contains(s.Says, says) {
						t.Errorf("%+v; want %s: %q", s, want, says)
					}
				}
				see(touch.None, "No pull is known of the last 6h0m0s")
				h.say(func(string) int { return c.status })
				e.pull(c.repo, "v1", d)
				see(touch.Pending, "is yet to be shown")
				time.Sleep(2 * time.Minute)
				see(c.want, c.says)
				if c.status == 0 {
					return
				}
				time.Sleep(e.every)
				h.say(nil)
				e.pull(c.repo, "v1", d)
				for range 24 { // it is tried at longer and longer times
					if time.Sleep(time.Hour); e.Shown(c.repo, "v1", d).State == touch.Counted {
						break
					}
				}
				see(touch.Counted, "was shown it at")
			})
		})
	}
	working(t, func(t *testing.T, e *edge, _ *harbor) {
		if s := e.Shown("library/app", "v1", d); s != nil {
			t.Errorf("of a plain project, which its Harbor serves: %+v", s)
		}
		if e.every = 0; e.Shown(repo, "v1", d).State != touch.Off {
			t.Errorf("nothing is touched: %+v", e.Shown(repo, "v1", d))
		}
	})
}
