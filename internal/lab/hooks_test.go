package lab

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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

func TestHangingLate(t *testing.T) {
	h := startHarbor(t, testKey())
	if err := h.SetFaults(Fault{Name: "hang", Path: "DELETE /api/v2.0/projects/library", Late: true}); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 200 * time.Millisecond}
	req, err := http.NewRequest(http.MethodDelete, h.URL()+"/api/v2.0/projects/library", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(h.Admin())
	var timeout interface{ Timeout() bool }
	if _, err := client.Do(req); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
	if h.db.project("library") != nil {
		t.Error("it did not take effect")
	}
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

// TestHangingUpstream: Harbor says nothing while its upstream hangs.
func TestHangingUpstream(t *testing.T) {
	u, h := startUpstream(t), startHarbor(t, testKey())
	if err := errors.Join(h.CreateCache("cache", "docker-registry", u.URL(), false), u.SetFaults(Fault{Name: "hang", Path: "/manifests/"})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL()+"/v2/cache/team/img/manifests/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(h.Admin())
	if resp, err := http.DefaultClient.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", resp, err)
	}
	for range 100 {
		if u.Requests()["HEAD /v2/team/img/manifests/v1"] > 0 {
			return
		}
	}
	t.Error("the upstream was not asked")
}
