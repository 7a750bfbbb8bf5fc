package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/preheat"
	"example.org/breakwater/proxy/warm"
	"example.org/breakwater/registry"
)

const preheatSecret = "what-the-harbor-shows"

func preheated(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
	p.PreheatSecrets = []string{preheatSecret}
}

// manage asks Harbor's API as its administrator.
func (s *site) manage(t *testing.T, method, path, body string, want int) {
	t.Helper()
	if a := s.request(t, method, s.harbor.URL()+"/api/v2.0"+path, s.asAdmin(), "application/json", body); a.status != want {
		t.Fatalf("%s %s: %d %s %v", method, path, a.status, a.body, a.err)
	}
}

// A project's administrator has what a policy takes brought to the edge when it is pushed, in
// the portal; a first pull is a hit. What is not of a managed project is refused, and said.
func TestAHarborsPolicyWarmsTheEdge(t *testing.T) {
	s := newSite(t, quick, preheated)
	s.manage(t, http.MethodPost, "/p2p/preheat/instances", `{"name":"breakwater","vendor":"kraken","enabled":true,"endpoint":"`+s.edge.URL+preheat.Path+
		`","auth_mode":"BASIC","auth_info":{"`+preheat.User+`":"`+preheatSecret+`"}}`, http.StatusCreated)
	s.manage(t, http.MethodPost, "/p2p/preheat/instances/ping", `{"id":1}`, http.StatusOK)
	for _, project := range []string{"multi-dc-demo", "plain"} {
		s.manage(t, http.MethodPost, "/projects/"+project+"/preheat/policies", `{"name":"pushes","provider_id":1,"enabled":true,
			"filters":"[{\"type\":\"repository\",\"value\":\"**\"},{\"type\":\"tag\",\"value\":\"v*\"}]","trigger":"{\"type\":\"event_based\"}"}`, http.StatusCreated)
	}
	img, other := image(t, 100_000, 1), image(t, 100_000, 2)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/web:v1", img, s.admin())
	mustPush(t, s.harbor.URL(), "multi-dc-demo/web:latest", other, s.admin())
	mustPush(t, s.harbor.URL(), "plain/web:v1", other, s.admin())
	s.harbor.Idle()
	all := s.warmed(t, "")
	if c := all[0].Kinds[warm.Preheat]; c.Warmed != 1 || c.Failed != 0 || c.Pending != 0 {
		t.Fatalf("%+v", all)
	}
	d, _ := layerOf(t, img)
	s.harbor.ResetRequests()
	for _, path := range []string{"manifests/v1", "blobs/" + d} {
		a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/web/"+path, s.as(t, reader, "multi-dc-demo/web"))
		if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Cache-Status"), "breakwater; hit") {
			t.Errorf("%s: %d, %s", path, a.status, a.header.Get("Cache-Status"))
		}
	}
	if n := s.harbor.Requests()["GET /v2/multi-dc-demo/web/blobs/"+d]; n != 0 {
		t.Errorf("Harbor is asked %d times for what is warm", n)
	}
	a := s.request(t, http.MethodGet, s.harbor.URL()+"/api/v2.0/projects/plain/preheat/policies/pushes/executions", s.asAdmin(), "", "")
	if !strings.Contains(string(a.body), `"status":"Error"`) {
		t.Errorf("a plain project's policy is said to have done something: %s", a.body)
	}
}

// Nobody but the Harbor of this datacenter may ask, and nothing comes of a URL.
func TestAPreheatIsOfTheLocalHarborsAlone(t *testing.T) {
	trap := newSite(t)
	s := newSite(t, quick, preheated)
	body := `{"Events":[{"Action":"push","Target":{"Repository":"../etc","Tag":"v1","Url":"` + trap.harbor.URL() + `/v2/x/manifests/v1"}}]}`
	for authorization, want := range map[string]int{"": 401, basicHeader(preheat.User, "other"): 401, "Bearer " + preheatSecret: 401, s.asAdmin(): 401, basicHeader(preheat.User, preheatSecret): 400} {
		if a := s.post(t, preheat.Path+"/registry/notifications", authorization, body); a.status != want {
			t.Errorf("%q: %d %s", authorization, a.status, a.body)
		}
	}
	closed := newSite(t, quick)
	if a := closed.post(t, preheat.Path+"/registry/notifications", basicHeader(preheat.User, ""), body); a.status != http.StatusUnauthorized {
		t.Errorf("an edge without a key: %d %s", a.status, a.body)
	}
	if asked := trap.harbor.Requests(); len(asked) != 0 {
		t.Errorf("the URL was asked: %v", asked)
	}
}
