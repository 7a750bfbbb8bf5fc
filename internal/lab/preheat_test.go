package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// preheater is a provider that notes what it is told.
type preheater struct {
	*httptest.Server
	mu    sync.Mutex
	told  []string
	asked int
	sick  bool
}

func newPreheater(t *testing.T) *preheater {
	t.Helper()
	p := &preheater{}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *preheater) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, password, _ := r.BasicAuth()
	switch {
	case user != "harbor" || password != "secret":
		w.WriteHeader(http.StatusUnauthorized)
	case p.sick:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodGet && r.URL.Path == "/below/health":
		p.asked++
	case r.Method == http.MethodPost && r.URL.Path == "/below/registry/notifications":
		var body struct {
			Events []struct {
				Action string
				Target struct{ Repository, Tag, Digest string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			p.told = append(p.told, err.Error())
		}
		for _, e := range body.Events {
			p.told = append(p.told, fmt.Sprintf("%s %s:%s %s", e.Action, e.Target.Repository, e.Target.Tag, e.Target.Digest))
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (p *preheater) hears(t *testing.T, h *Harbor, want ...string) {
	t.Helper()
	h.Idle()
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.told)
	if !slices.Equal(p.told, want) {
		t.Errorf("it is told of %q, want %q", p.told, want)
	}
	p.told = nil
}

const (
	preheatInstances = "/api/v2.0/p2p/preheat/instances"
	preheatPolicies  = "/api/v2.0/projects/app/preheat/policies"
)

func instanceBody(id int, endpoint string, enabled bool) string {
	return fmt.Sprintf(`{"id":%d,"name":"edge","vendor":"kraken","endpoint":%q,"auth_mode":"BASIC","auth_info":{"harbor":"secret"},"enabled":%t}`, id, endpoint, enabled)
}

func policyBody(name, tag, trigger string) string {
	return text(map[string]any{"name": name, "provider_id": 1, "enabled": true, "filters": `[{"type":"repository","value":"team/**"},{"type":"tag","value":"` + tag + `"}]`,
		"trigger": `{"type":"` + trigger + `","trigger_setting":{"cron":""}}`})
}

// A provider hears of what is pushed and of what the button is pressed for, as far as the
// policies take it.
func TestPreheat(t *testing.T) {
	p, h := newPreheater(t), startHarbor(t, testKey())
	h.CreateProject("app", false)
	h.call(t, http.StatusCreated, http.MethodPost, preheatInstances, instanceBody(0, p.URL+"/below/", true), nil)
	h.call(t, http.StatusCreated, http.MethodPost, preheatPolicies, policyBody("pushes", "v*", "event_based"), nil)
	h.call(t, http.StatusCreated, http.MethodPost, preheatPolicies, policyBody("button", "{latest,v1}", "manual"), nil)
	one := h.push(t, "app/team/web", "v1", "one")
	p.hears(t, h, "push app/team/web:v1 "+one)
	two := h.push(t, "app/team/web", "latest", "two")
	h.push(t, "app/other", "v1", "three")
	p.hears(t, h)
	h.call(t, http.StatusCreated, http.MethodPost, preheatPolicies+"/button", "", nil)
	p.hears(t, h, "push app/team/web:latest "+two, "push app/team/web:v1 "+one)
	var runs []map[string]any
	h.call(t, http.StatusOK, http.MethodGet, preheatPolicies+"/button/executions", "", &runs)
	if len(runs) != 1 || runs[0]["status"] != "Success" || runs[0]["trigger"] != "manual" {
		t.Errorf("the executions are %v", runs)
	}
	h.call(t, http.StatusOK, http.MethodPost, preheatInstances+"/ping", `{"id":1}`, nil)
	p.mu.Lock()
	p.sick = true
	p.mu.Unlock()
	h.call(t, http.StatusInternalServerError, http.MethodPost, preheatInstances+"/ping", `{"id":1}`, nil)
	h.call(t, http.StatusInternalServerError, http.MethodPost, preheatPolicies+"/button", "", nil)
	h.push(t, "app/team/web", "v3", "four")
	p.hears(t, h)
	h.call(t, http.StatusOK, http.MethodGet, preheatPolicies+"/pushes/executions?page_size=1", "", &runs)
	if len(runs) != 1 || runs[0]["status"] != "Error" {
		t.Errorf("the last execution is %v, want one that failed", runs)
	}
}

func TestPreheatRefusals(t *testing.T) {
	h := startHarbor(t, testKey())
	h.CreateProject("app", false)
	h.call(t, http.StatusCreated, http.MethodPost, preheatInstances, instanceBody(0, "http://a", true), nil)
	h.call(t, http.StatusCreated, http.MethodPost, preheatPolicies, policyBody("p", "v*", "manual"), nil)
	for _, c := range []struct {
		status             int
		method, path, body string
	}{
		{409, "POST", preheatInstances, instanceBody(0, "http://b", true)},
		{500, "POST", preheatInstances, strings.Replace(instanceBody(0, "http://a", true), "edge", "other", 1)},
		{500, "POST", preheatInstances, strings.Replace(instanceBody(0, "http://b", true), "edge", "no name", 1)},
		{412, "PUT", preheatInstances + "/edge", instanceBody(1, "http://a", false)},
		{404, "PUT", preheatInstances + "/edge", instanceBody(7, "http://a", true)},
		{500, "PUT", preheatInstances + "/edge", strings.Replace(instanceBody(1, "http://a", true), "kraken", "dragonfly", 1)},
		{412, "DELETE", preheatInstances + "/edge", ""},
		{404, "GET", preheatInstances + "/none", ""},
		{404, "POST", preheatInstances + "/ping", `{"id":9}`},
		{400, "POST", preheatInstances + "/ping", `{}`},
		{409, "POST", preheatPolicies, policyBody("p", "v*", "manual")},
		{404, "POST", preheatPolicies, `{"name":"q","provider_id":9,"filters":"[]","trigger":"{}"}`},
		{500, "POST", preheatPolicies, `{"name":"q","provider_id":1}`},
		{400, "POST", preheatPolicies, `{"name":"q","provider_id":1,"filters":"[]","trigger":"{\"type\":\"scheduled\",\"trigger_setting\":{\"cron\":\"* * *\"}}"}`},
		{404, "GET", preheatPolicies + "/none", ""},
		{404, "GET", strings.Replace(preheatPolicies, "app", "none", 1), ""},
		{200, "DELETE", preheatPolicies + "/p", ""},
		{200, "PUT", preheatInstances + "/edge", instanceBody(1, "http://c", false)},
	} {
		h.call(t, c.status, c.method, c.path, c.body, nil)
	}
	var shown []map[string]any
	h.call(t, http.StatusOK, http.MethodGet, preheatInstances, "", &shown)
	if len(shown) != 1 || shown[0]["endpoint"] != "http://c" || strings.Contains(text(shown), "secret") {
		t.Errorf("the instances are %v", shown)
	}
	h.call(t, http.StatusOK, http.MethodDelete, preheatInstances+"/edge", "", nil)
}
