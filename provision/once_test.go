package provision

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	clientproject "github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"

	"example.org/breakwater/internal/lab"
)

// A write whose connection breaks is not sent again, for it may have been done; a read is.
func TestWritesAreSentOnce(t *testing.T) {
	var reads, writes atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/c/login":
			w.Header().Set("X-Harbor-Csrf-Token", "csrf")
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "x"})
			return
		case r.Method == http.MethodGet:
			reads.Add(1)
		default:
			writes.Add(1)
		}
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it is broken off next
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(srv.Close)
	h, err := newHarbor(srv.URL, "admin", "Harbor12345", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.readProjects(t.Context()); err == nil || reads.Load() != 2 {
		t.Errorf("%v: %d reads", err, reads.Load())
	}
	_, err = h.api.Project.CreateProject(t.Context(), clientproject.NewCreateProjectParams().WithProject(&models.ProjectReq{ProjectName: "x"}))
	if !errors.As(err, new(halfDone)) || writes.Load() != 1 {
		t.Errorf("%v: %d writes", err, writes.Load())
	}
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} {
		writes.Store(0)
		if _, err := h.call(t.Context(), method, "/robots/1", map[string]any{}, nil); err == nil || writes.Load() != 1 {
			t.Errorf("%v: %d times %s", err, writes.Load(), method)
		}
	}
}

// A robot to which Harbor gives no secret is taken away again: its name would be taken, and
// nobody could log in as it.
func TestARobotWithoutItsSecretIsUndone(t *testing.T) {
	f := newTestFleet(t)
	h := f.harbors["dc1"]
	if err := h.SetFaults(lab.Fault{Name: "400", Path: "PATCH /api/v2.0/robots/"}); err != nil {
		t.Fatal(err)
	}
	p := f.open(t, Options{})
	failed := 0
	for _, r := range p.Apply(t.Context(), f.plan(t, p), nil) {
		if r.Outcome == Failed && r.Kind == kindRobot && r.Datacenter == "dc1" {
			failed++
		} else if r.Outcome != Done && r.Outcome != Deferred {
			t.Errorf("%s: %s: %s", r.Key, r.Outcome, r.Why)
		}
	}
	h.SetFaults() //nolint:errcheck // none is none
	if failed != 7 {
		t.Errorf("%d robots failed", failed)
	}
	for _, list := range []string{"/robots", robotsOf(t, h, "multi-dc-repo1"), robotsOf(t, h, "multi-dc-repo2")} {
		if all := strings.TrimSpace(string(call(t, h, "GET", list, nil))); all != "[]" {
			t.Errorf("they are left: %s", all)
		}
	}
	f.apply(t, Options{})
	f.settled(t)
}

// What --prune takes is what breakwater made and nobody needs: no robot, registry,
// replication or webhook of others, however it is called, and no registry of a cache.
func TestPruneTakesOursAlone(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	may := []any{map[string]any{"kind": "project", "namespace": "multi-dc-repo1", "access": []any{map[string]any{"resource": "repository", "action": "pull"}}}}
	for name, description := range map[string]string{"theirs": "", "multi-dc-repo1-dc9": "mine", "was-ours": mark + " once"} {
		call(t, h, "POST", "/robots", map[string]any{"name": name, "level": "system", "duration": -1, "description": description, "permissions": may})
		call(t, h, "POST", "/robots", map[string]any{"name": name, "level": "project", "duration": -1, "description": description, "permissions": may})
		call(t, h, "POST", "/registries", map[string]any{"name": name, "type": "docker-registry", "url": "https://quay.io", "description": description})
		p := with(found(t, h, policies, pulls), "id", 0, "name", name, "description", description)
		call(t, h, "POST", policies, p)
	}
	before := everythingOf(t, h)
	// The caches are not in the file any more: their projects stay, so do their registries.
	without := []string{"    gcr.io: {", "    gcr2.io: {", "    ghcr.io: {", "    ghcr2.io: {"}
	p := f.open(t, Options{Prune: true, PruneMax: 1000, Datacenters: []string{"dc1"}}, without...)
	plan := f.plan(t, p)
	if plan.Count(Delete) != 0 {
		t.Errorf("%v", plan.Changes)
	}
	p.Apply(t.Context(), plan, nil)
	after := everythingOf(t, h)
	for k := range before {
		if !after[k] {
			t.Errorf("it is gone: %s", k)
		}
	}
}

// everythingOf are the names of what could be pruned.
func everythingOf(t *testing.T, h *lab.Harbor) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, list := range []string{"/registries?page_size=100", policies + "?page_size=100", "/robots?page_size=100", robotsOf(t, h, "multi-dc-repo1") + "&page_size=100", webhooks} {
		var got []map[string]any
		if err := json.Unmarshal(call(t, h, "GET", list, nil), &got); err != nil {
			t.Fatal(err)
		}
		for _, o := range got {
			all[list+" "+o["name"].(string)] = true
		}
	}
	return all
}

// A refusal in HTML, of a balancer before Harbor, keeps its status: whether a Harbor is away
// hangs on it, and whether it may have done what it was told.
func TestRefusalsThatAreNoJSON(t *testing.T) {
	for status, isAway := range map[int]bool{500: false, 502: true, 503: true, 504: true, 403: false, 404: false, 429: false} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/c/login" {
				w.Header().Set("X-Harbor-Csrf-Token", "csrf")
				http.SetCookie(w, &http.Cookie{Name: "sid", Value: "x"})
				return
			}
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			io.WriteString(w, "<html>not now</html>") //nolint:errcheck // the client is gone
		}))
		t.Cleanup(srv.Close)
		h, err := newHarbor(srv.URL, "admin", "Harbor12345", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.readProjects(t.Context())
		if statusOfAPI(err) != status || away(err) != isAway || !strings.Contains(err.Error(), "this Harbor answers "+strconv.Itoa(status)) {
			t.Errorf("%d: %v %v", status, away(err), err)
		}
		_, err = h.api.Project.CreateProject(t.Context(), clientproject.NewCreateProjectParams().WithProject(&models.ProjectReq{ProjectName: "x"}))
		if statusOfAPI(err) != status || refused(err) != (status < 500) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// A Harbor whose balancer hangs up before it has read a request is away, as one that hangs up after.
func TestWhoHangsUpAtOnceIsAway(t *testing.T) {
	balancer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { balancer.Close() }) //nolint:errcheck // the test is over
	go func() {
		for {
			conn, err := balancer.Accept()
			if err != nil {
				return
			}
			conn.Close() //nolint:errcheck // that is what it is for
		}
	}()
	h, err := newHarbor("http://"+balancer.Addr().String(), "admin", "Harbor12345", nil)
	if err != nil {
		t.Fatal(err)
	}
	h.inner.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // until it is closed
			if errors.Is(err, io.EOF) {
				err = nil
			}
		}
		return conn, err
	}
	for range 500 { // which of the two comes first is chance
		if _, err := h.readProjects(t.Context()); !away(err) {
			t.Fatalf("not away: %v", err)
		}
	}
}
