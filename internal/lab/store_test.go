package lab

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestQuota(t *testing.T) {
	h := startHarbor(t, testKey())
	h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/projects", `{"project_name":"small","storage_limit":3000}`, nil)
	h.push(t, "small/app", "v1", strings.Repeat("a", 1000))
	var found []struct{ Used struct{ Storage int64 } }
	h.call(t, http.StatusOK, http.MethodGet, "/api/v2.0/quotas?reference=project&reference_id=2", "", &found)
	if want := int64(len(manifestOf("{}", strings.Repeat("a", 1000))) + 1002); len(found) != 1 || found[0].Used.Storage != want {
		t.Errorf("%v, want %d", found, want)
	}
	h.pushBlob(t, http.StatusForbidden, "small/app", strings.Repeat("b", 2000)) // POST was 202
	h.push(t, "small/other", "v1", strings.Repeat("a", 1000))                   // which is there
	h.call(t, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/small/repositories/app", "", nil)
	h.call(t, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/small/repositories/other", "", nil)
	h.call(t, http.StatusOK, http.MethodGet, "/api/v2.0/quotas?reference_id=2", "", &found)
	if found[0].Used.Storage != 0 {
		t.Errorf("%v after all was deleted", found)
	}
}

func TestImmutableTags(t *testing.T) {
	h := startHarbor(t, testKey())
	h.CreateProject("fixed", false)
	h.push(t, "fixed/app", "v1", "one")
	h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/projects/fixed/immutabletagrules", `{"scope_selectors":{"repository":[{"decoration":"repoMatches","pattern":"**"}]},
		"tag_selectors":[{"decoration":"matches","pattern":"v*"}]}`, nil)
	h.call(t, http.StatusPreconditionFailed, http.MethodPut, "/v2/fixed/app/manifests/v1", manifestOf("{}", "one"), nil)
	h.push(t, "fixed/app", "v2", "two")
	h.push(t, "fixed/app", "latest", "one")
	h.push(t, "fixed/app", "latest", "two")
}

// A project that is deleted goes from the permissions of every robot, with its own robots: one
// that is made again under its name shows itself to none of them, and lets none of them in,
// until it is granted. Robots of all projects, and users, see it.
func TestADeletedProjectGoesFromRobotsPermissions(t *testing.T) {
	h := startHarbor(t, testKey())
	for _, project := range []string{"gone", "stays"} {
		h.CreateProject(project, false)
	}
	of := h.CreateSystemRobot("of", robotSecret)
	for _, project := range []string{"gone", "stays"} {
		if err := h.Grant(of, project, "pull", "artifact:list"); err != nil {
			t.Fatal(err)
		}
	}
	own, all := h.CreateRobot("gone", "own", robotSecret, "pull"), h.CreateRobot("*", "all", robotSecret, "pull")
	sees := func(when, robot, project string, want bool) {
		t.Helper()
		h.push(t, project+"/app", "v1", "one")
		for path, status := range map[string]int{"/api/v2.0/projects?q=name%3D" + project: http.StatusOK, "/v2/" + project + "/app/manifests/v1": http.StatusUnauthorized} {
			req, _ := http.NewRequest(http.MethodGet, h.URL()+path, nil) //nolint:errcheck // the address is good
			req.SetBasicAuth(robot, robotSecret)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want {
				status = http.StatusOK
			}
			if resp.StatusCode != status || status == http.StatusOK && (strings.TrimSpace(string(body)) != "[]") != want {
				t.Errorf("%s, %s: %s is %d %s", when, robot, path, resp.StatusCode, body)
			}
		}
	}
	for _, robot := range []string{of, own, all} {
		sees("before", robot, "gone", true)
	}
	h.call(t, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/gone/repositories/app", "", nil)
	h.call(t, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/gone", "", nil)
	h.CreateProject("gone", false)
	sees("made again", of, "gone", false)
	sees("made again", own, "gone", false)
	sees("made again", all, "gone", true)
	sees("made again", of, "stays", true)
	if err := h.Grant(of, "gone", "pull"); err != nil {
		t.Fatal(err)
	}
	sees("granted again", of, "gone", true)
}

// TestWebhooks: who pushed what arrives, and after three attempts nothing more.
func TestWebhooks(t *testing.T) {
	var mu sync.Mutex
	var got []string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("Authorization")+" "+string(body))
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(receiver.Close)
	seen := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
	h, err := StartHarbor(HarborConfig{Key: testKey(), WebhookRetry: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.CreateProject("wh", false)
	hook := func(name, path string) {
		h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/projects/wh/webhook/policies", `{"name":"`+name+`","enabled":true,"event_types":["PUSH_ARTIFACT"],
			"targets":[{"type":"http","address":"`+receiver.URL+path+`","auth_header":"Bearer s3cret"}]}`, nil)
	}
	hook("well", "/well")
	d := h.push(t, "wh/app", "v1", "one")
	h.Idle()
	host := strings.TrimPrefix(h.URL(), "http://")
	var body struct {
		Type, Operator string
		Data           struct {
			Resources  []map[string]string
			Repository map[string]any
		} `json:"event_data"`
	}
	if len(seen()) != 1 || !strings.HasPrefix(seen()[0], "Bearer s3cret ") {
		t.Fatalf("%q", seen())
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(seen()[0], "Bearer s3cret ")), &body); err != nil {
		t.Fatal(err)
	}
	if r := body.Data.Resources; body.Type != "PUSH_ARTIFACT" || body.Operator != "admin" || len(r) != 1 || r[0]["digest"] != d || r[0]["tag"] != "v1" ||
		r[0]["resource_url"] != host+"/wh/app:v1" || body.Data.Repository["repo_full_name"] != "wh/app" || body.Data.Repository["repo_type"] != "private" {
		t.Errorf("%+v", body)
	}
	hook("broken", "/broken")
	h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/projects/wh/repositories/app/artifacts/v1/tags", `{"name":"silent"}`, nil)
	h.Idle()
	if len(seen()) != 1 {
		t.Errorf("a tag made by the API was told: %q", seen())
	}
	m := manifestOf("{}", "one")
	h.call(t, http.StatusCreated, http.MethodPut, "/v2/wh/app/manifests/"+digest.FromString(m).String(), m, nil)
	h.Idle()
	if len(seen()) != 1+1+webhookAttempts || !strings.Contains(seen()[1], `"tag":"sha256:`) {
		t.Errorf("%q", seen())
	}
}
