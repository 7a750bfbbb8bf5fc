package lab

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// TestTheNthCallFails: before it took effect, and after.
func TestTheNthCallFails(t *testing.T) {
	const path = "^POST /api/v2.0/projects$"
	for name, f := range map[string]Fault{
		"status":       {Name: "500", Path: path, After: 1, Times: 1},
		"late status":  {Name: "500", Path: path, After: 1, Times: 1, Late: true},
		"broken":       {Name: "down", Path: path, After: 1, Times: 1},
		"late, broken": {Name: "down", Path: path, After: 1, Times: 1, Late: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHarbor(t, testKey())
			if err := h.SetFaults(f); err != nil {
				t.Fatal(err)
			}
			for i, project := range []string{"first", "second", "third"} {
				req, err := http.NewRequest(http.MethodPost, h.URL()+"/api/v2.0/projects", strings.NewReader(`{"project_name":"`+project+`"}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.SetBasicAuth(h.Admin())
				resp, err := http.DefaultClient.Do(req)
				if err == nil {
					resp.Body.Close()
				}
				if well := err == nil && resp.StatusCode == http.StatusCreated; well != (i != 1) {
					t.Errorf("%s: %v, %v", project, resp, err)
				}
			}
			if there := h.db.project("second") != nil; there != f.Late || h.db.project("third") == nil {
				t.Error("not as it was told")
			}
			if n := h.Requests()["POST /api/v2.0/projects"]; n != 3 {
				t.Errorf("%d requests counted", n)
			}
		})
	}
}

// hangs sends a request that nobody is to answer, and returns when what is to happen
// meanwhile has. A machine that is busy hides an answer that comes late; it makes up none.
func (h *Harbor) hangs(t *testing.T, method, path string, happens func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, h.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(h.Admin())
	ended := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	trial.Until(t, happens)
	select {
	case err := <-ended:
		t.Errorf("it does not hang: %v", err)
	case <-time.After(200 * time.Millisecond):
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it hangs no longer: %v", err)
		}
	}
}

func TestHangingLate(t *testing.T) {
	h := startHarbor(t, testKey())
	if err := h.SetFaults(Fault{Name: "hang", Path: "DELETE /api/v2.0/projects/library", Late: true}); err != nil {
		t.Fatal(err)
	}
	h.hangs(t, http.MethodDelete, "/api/v2.0/projects/library", func() error {
		if h.db.project("library") != nil {
			return errors.New("it did not take effect")
		}
		return nil
	})
}

// TestHangingUpstream: Harbor says nothing while its upstream hangs.
func TestHangingUpstream(t *testing.T) {
	u, h := startUpstream(t), startHarbor(t, testKey())
	if err := errors.Join(h.CreateCache("cache", "docker-registry", u.URL(), false), u.SetFaults(Fault{Name: "hang", Path: "/manifests/"})); err != nil {
		t.Fatal(err)
	}
	h.hangs(t, http.MethodGet, "/v2/cache/team/img/manifests/v1", func() error {
		if u.Requests()["HEAD /v2/team/img/manifests/v1"] == 0 {
			return errors.New("the upstream was not asked")
		}
		return nil
	})
}

func TestCost(t *testing.T) {
	basic, _ := http.NewRequest(http.MethodGet, "/", nil)
	session := basic.Clone(t.Context())
	basic.SetBasicAuth("admin", "x")
	robot := session.Clone(t.Context())
	robot.SetBasicAuth("robot$edge", "x")
	for r, want := range map[*http.Request]time.Duration{basic: 130 * time.Millisecond, session: 5 * time.Millisecond, robot: 5 * time.Millisecond} {
		if got := RecordedCost(r); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	var asked atomic.Int32
	h, err := StartHarbor(HarborConfig{Key: testKey(), Cost: func(*http.Request) time.Duration { asked.Add(1); return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.call(t, http.StatusOK, http.MethodGet, "/api/v2.0/projects", "", nil)
	h.call(t, http.StatusOK, http.MethodGet, "/v2/", "", nil)
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
