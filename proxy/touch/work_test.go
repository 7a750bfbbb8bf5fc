package touch_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// harbor answers in a bubble. It holds everything, and counts pulls.
type harbor struct {
	mu    sync.Mutex
	says  func(path string) int // a status; 0: 200
	asked []time.Time           // by the edge, of the API
	pulls map[string]time.Time  // the first of each, by path
}

// RoundTrip implements http.RoundTripper.
func (h *harbor) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	status, body, header := http.StatusOK, `{"errors":[{"code":"UNKNOWN","message":"internal"}]}`, http.Header{}
	if h.says != nil {
		status = max(status, h.says(r.URL.Path))
	}
	if strings.HasPrefix(r.URL.Path, "/api/") {
		h.asked = append(h.asked, time.Now())
		if status == http.StatusOK {
			body = `{"pull_time":"0001-01-01T00:00:00.000Z","tags":null}`
		}
	} else if strings.Contains(r.URL.Path, "/manifests/") && status == http.StatusOK && r.Method == http.MethodGet {
		if _, ok := h.pulls[r.URL.Path]; !ok {
			h.pulls[r.URL.Path] = time.Now()
		}
	}
	header.Set("Content-Type", "application/json")
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (h *harbor) say(says func(path string) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.says = says
}

// counted is how many artifacts were pulled, and how often the API was asked.
func (h *harbor) counted() (pulls, asked int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pulls), len(h.asked)
}

// working runs an edge that touches at a Harbor, in a bubble.
func working(t *testing.T, do func(t *testing.T, e *edge, h *harbor)) {
	synctest.Test(t, func(t *testing.T) {
		h := &harbor{pulls: map[string]time.Time{}}
		e := newEdgeAt(t, newMemory(), h, time.Now)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { e.Run(ctx) })
		do(t, e, h)
		stop()
		running.Wait()
	})
}

// Touches are a trickle, however much is owed: clients are not to notice them.
func TestTouchesAreATrickle(t *testing.T) {
	working(t, func(t *testing.T, e *edge, h *harbor) {
		begun := time.Now()
		e.pulls(0, 1000)
		time.Sleep(10 * time.Minute)
		each, n := map[int]int{}, 0
		h.mu.Lock()
		asked := h.asked
		h.mu.Unlock()
		for _, at := range asked {
			each[int(at.Sub(begun)/time.Second)]++
		}
		for second, of := range each {
			if second < 29 || of > 21 {
				t.Errorf("%d touches in second %d", of, second)
			}
			n += of
		}
		if pulls, _ := h.counted(); pulls != 1000 || n != 1000 {
			t.Errorf("%d pulls after %d questions, want 1000", pulls, n)
		}
	})
}

// One artifact that Harbor fails with holds up no other, and is tried at longer and longer times.
func TestOneThatFailsHoldsUpNoOther(t *testing.T) {
	working(t, func(t *testing.T, e *edge, h *harbor) {
		bad := e.pulls(0, 1)[0].Digest.String()
		h.say(func(path string) int {
			if strings.HasSuffix(path, bad) {
				return http.StatusInternalServerError
			}
			return 0
		})
		e.pulls(1, 100)
		time.Sleep(time.Minute)
		if pulls, _ := h.counted(); pulls != 99 {
			t.Errorf("%d of 99 others are touched", pulls)
		}
		time.Sleep(24 * time.Hour)
		if _, asked := h.counted(); asked > 99+160 {
			t.Errorf("it is asked for %d times in a day", asked-99)
		}
		h.say(nil)
		time.Sleep(11 * time.Minute)
		if pulls, _ := h.counted(); pulls != 100 {
			t.Error("it is not touched when Harbor is well")
		}
	})
}

// A Harbor whose database is dead for a week is hardly asked, and shown everything soon after.
func TestADeadDatabaseForAWeek(t *testing.T) {
	working(t, func(t *testing.T, e *edge, h *harbor) {
		h.say(func(string) int { return http.StatusInternalServerError })
		for day := range 7 {
			e.pulls(day*100, (day+1)*100)
			time.Sleep(24 * time.Hour)
		}
		if _, asked := h.counted(); asked > 7*24*3600/30+100 || asked < 7*24 {
			t.Errorf("it is asked %d times in a week", asked)
		}
		if n := e.metric(t, "pending"); n != 700 {
			t.Errorf("%v are owed", n)
		}
		h.say(nil)
		time.Sleep(12 * time.Minute)
		if pulls, _ := h.counted(); pulls != 700 {
			t.Errorf("%d of 700 are touched 12 minutes later", pulls)
		}
		if n := e.metric(t, "oldest_seconds"); n != 0 {
			t.Errorf("the oldest that is owed is %v s old", n)
		}
	})
}

// What everybody was shown is forgotten when the interval is over, on disk too.
func TestWhatIsSettledIsForgotten(t *testing.T) {
	working(t, func(t *testing.T, e *edge, h *harbor) {
		e.pulls(0, 10_000)
		time.Sleep(time.Hour)
		if n := len(e.state.values); n != 10_000 {
			t.Errorf("%d are kept within the interval", n)
		}
		time.Sleep(6 * time.Hour)
		if n := len(e.state.values); n != 0 {
			t.Errorf("%d are kept after it", n)
		}
		if pulls, _ := h.counted(); pulls != 10_000 {
			t.Error(fmt.Sprint(pulls, " were touched"))
		}
	})
}
