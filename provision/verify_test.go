package provision

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func failures(checks []Check) (all []string) {
	for _, c := range checks {
		if !c.OK {
			all = append(all, c.Datacenter+": "+c.What+": "+c.Detail)
		}
	}
	return all
}

// Logins that do not work are named, and nothing else.
func TestVerifySaysWhatDoesNotWork(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{})
	checks, err := p.Verify(t.Context(), VerifyOptions{NoCanary: true})
	if err != nil || len(failures(checks)) != 0 || len(checks) < 60 {
		t.Errorf("%v %d %v", err, len(checks), failures(checks))
	}
	h := f.harbors["dc2"]
	call(t, h, "PATCH", "/robots/"+id(found(t, h, robotsOf(t, h, "multi-dc-repo1"), "robot$multi-dc-repo1+sync")), map[string]any{"secret": "Changed1byhand"})
	if checks, err = f.open(t, Options{}).Verify(t.Context(), VerifyOptions{NoCanary: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dc2: robot multi-dc-repo1+sync logs in: its secret is not the fleet file's", "dc1: registry multi-dc-repo1-dc2 logs in: ", "drp: registry multi-dc-repo1-dc2 logs in: "} {
		if !strings.Contains(strings.Join(failures(checks), "\n"), want) {
			t.Errorf("want %q in %v", want, failures(checks))
		}
	}
	if n := len(failures(checks)); n != 3 {
		t.Errorf("%d failures: %v", n, failures(checks))
	}
}

// What is in projects that are not tried is nobody's to delete, whatever it is called.
func TestVerifyOfOneProjectLeavesTheOthersAlone(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	pushAndPull(t, h, "multi-dc-repo2/"+canaryRepo+":v1")
	checks, err := f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo1"}, Patience: time.Minute})
	if err != nil || len(failures(checks)) != 0 {
		t.Errorf("%v %v", err, failures(checks))
	}
	found(t, h, "/projects/multi-dc-repo2/repositories", "multi-dc-repo2/"+canaryRepo)
	if _, err := f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo9"}}); err == nil || !strings.Contains(err.Error(), `"repo9"`) {
		t.Error(err)
	}
}

// An artifact crosses every replication, by push and by pull, and nothing is left of it.
func TestVerifySeesReplication(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	checks, err := f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo1"}, Patience: time.Minute})
	if err != nil || len(failures(checks)) != 0 {
		t.Errorf("%v %v", err, failures(checks))
	}
	crossed := 0
	for _, c := range checks {
		if strings.Contains(c.What, "multi-dc-repo1 comes to ") && c.Seconds > 0 {
			crossed++
		}
	}
	if crossed != 6 {
		t.Errorf("%d replications were tried", crossed)
	}
	for name, h := range f.harbors {
		if all := call(t, h, "GET", "/projects/multi-dc-repo1/repositories", nil); strings.TrimSpace(string(all)) != "[]" {
			t.Errorf("%s: %s is left", name, all)
		}
	}
	// Where somebody has broken one, it is named, and only it.
	h := f.harbors["dc1"]
	to := found(t, h, policies, "multi-dc-repo1 to dc2")
	call(t, h, "PUT", policies+"/"+id(to), with(to, "enabled", false))
	// How long the others take is this machine's business: patience grows until they are through.
	for patience := 3 * time.Second; ; patience *= 3 {
		if checks, err = f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo1"}, Patience: patience}); err != nil {
			t.Fatal(err)
		}
		if len(failures(checks)) <= 1 || patience > time.Minute {
			break
		}
	}
	if all := failures(checks); len(all) != 1 || !strings.Contains(all[0], "dc1: multi-dc-repo1 comes to dc2: the push on events does not run") {
		t.Errorf("%v", all)
	}
}

// A pull that Harbor skipped because the one before still ran is no failure of it, and is
// begun again: the one that ran may not have seen what was pushed.
func TestVerifyKnowsSkippedPulls(t *testing.T) {
	const skippedText = "Execution skipped: active replication still in progress."
	var started atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/c/login":
			w.Header().Set("X-Harbor-Csrf-Token", "csrf")
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "x"})
		case r.Method == http.MethodPost:
			w.Header().Set("Location", fmt.Sprintf("/api/v2.0/replication/executions/%d", started.Add(1)))
			w.WriteHeader(http.StatusCreated)
		case strings.HasSuffix(r.URL.Path, "/executions"):
			fmt.Fprintf(w, `[{"id":9,"status":"Failed","status_text":%q},{"id":8,"status":"Succeed"},{"id":7,"status":"Failed","status_text":"broken"}]`, skippedText)
		case started.Load() < 3:
			fmt.Fprintf(w, `{"id":1,"status":"Failed","status_text":%q}`, skippedText)
		default:
			fmt.Fprint(w, `{"id":3,"status":"Succeed"}`)
		}
	}))
	t.Cleanup(srv.Close)
	h, err := newHarbor(srv.URL, "admin", "Harbor12345", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c := h.lastExecution(t.Context(), Key{"dc1", kindPolicy, "x"}, 1); !c.OK {
		t.Errorf("%+v", c)
	}
	if err := h.runPolicy(t.Context(), 1); err != nil || started.Load() != 3 {
		t.Errorf("%v after %d", err, started.Load())
	}
}
