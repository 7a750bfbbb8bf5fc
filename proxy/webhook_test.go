package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

const (
	webhookPath   = "/breakwater/v1/webhook"
	webhookSecret = "Hooks1Only2Secret"
	indexType     = "application/vnd.oci.image.index.v1+json"
)

// counters are the metrics of a region's edges, by datacenter.
type counters map[string]*prometheus.Registry

// hooked makes edges take webhooks, count what they do, and be quick.
func hooked(c counters) option {
	return func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		c[p.Datacenter] = prometheus.NewRegistry()
		p.Metrics, p.Pace = c[p.Datacenter], 20*time.Millisecond
		p.WebhookSecrets = func(project string) []string {
			if project == "multi-dc-quiet" {
				return []string{""}
			}
			return []string{"the secret of before", webhookSecret + project}
		}
		p.Machine = func(account string) bool { return account == "robot$replication" }
	}
}

// value is a counter of an edge.
func (c counters) value(t *testing.T, datacenter, name, label string) (n int) {
	t.Helper()
	families, err := c[datacenter].Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == label {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

func (c counters) webhooks(t *testing.T, result string) int {
	t.Helper()
	return c.value(t, "par1", "breakwater_edge_webhooks_total", result)
}

// post sends a body to the edge.
func (s *site) post(t *testing.T, path, authorization, body string) answer {
	t.Helper()
	return s.request(t, http.MethodPost, s.edge.URL+path, authorization, "application/json", body)
}

func (s *site) request(t *testing.T, method, target, authorization, contentType, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, a.err = io.ReadAll(resp.Body)
	return a
}

func (s *site) asAdmin() string {
	username, password := s.harbor.Admin()
	return basicHeader(username, password)
}

// putPast pushes a note past the edge, and deletePast deletes one.
func (s *site) putPast(t *testing.T, tag, text string) {
	t.Helper()
	trial.Until(t, func() error { // like a replication: a registry on a disk fails where a tag is deleted at the same moment
		if a := s.request(t, http.MethodPut, s.harbor.URL()+app+tag, s.asAdmin(), indexType, note(text)); a.status != http.StatusCreated {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
}

func (s *site) deletePast(t *testing.T, text string) {
	t.Helper()
	if a := s.request(t, http.MethodDelete, s.harbor.URL()+app+noteDigest(text), s.asAdmin(), "", ""); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

// slowPush begins a push that Harbor takes, and answers when its faults are cleared.
func (s *site) slowPush(t *testing.T, tag, text string) (answered <-chan struct{}) {
	t.Helper()
	if err := s.harbor.SetFaults(lab.Fault{Name: "hang", Path: "PUT .*/manifests/" + tag, Times: 1, Late: true}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.pushNote(t, tag, text)
	}()
	trial.Until(t, func() error {
		if has := s.harborHas(t, tag); has != noteDigest(text) {
			return fmt.Errorf("Harbor has %q", has)
		}
		return nil
	})
	return done
}

func noteDigest(text string) string { return digest.FromString(note(text)).String() }

// hook is a webhook of Harbor, as it has been recorded.
func hook(kind, operator, tag, text string, at time.Time) string {
	return fmt.Sprintf(`{"type":%q,"occur_at":%d,"operator":%q,"event_data":{"resources":[{"digest":%q,"tag":%q,"resource_url":"x/multi-dc-demo/app:%s"}],"repository":{"date_created":1,"name":"app","namespace":"multi-dc-demo","repo_full_name":"multi-dc-demo/app","repo_type":"private"}}}`,
		kind, at.Unix(), operator, noteDigest(text), tag, tag)
}

func (s *site) hook(t *testing.T, body string) answer {
	t.Helper()
	return s.post(t, webhookPath, "Bearer "+webhookSecret+"multi-dc-demo", body)
}

// shows checks what an edge gives for a tag; text "": it is not there.
func (s *site) shows(t *testing.T, what, tag, text string) {
	t.Helper()
	a := s.pullNote(t, tag)
	if text == "" && a.status != http.StatusNotFound || text != "" && (a.status != http.StatusOK || string(a.body) != note(text)) {
		t.Errorf("%s: %s is %d %s (%s), want %q", what, tag, a.status, a.body, a.header.Get("Cache-Status"), text)
	}
}

// until waits for what an edge gives for a tag.
func (s *site) until(t *testing.T, tag, text string) {
	t.Helper()
	trial.Until(t, func() error {
		if a := s.pullNote(t, tag); a.status != http.StatusOK || string(a.body) != note(text) {
			return fmt.Errorf("%s is %d %s, want %s", tag, a.status, a.body, text)
		}
		return nil
	})
}

// A webhook is taken from who knows the secret of the project that it is about.
func TestAWebhookIsOfItsProject(t *testing.T) {
	c := counters{}
	s := newRegion(t, hooked(c)).sites[0]
	s.putPast(t, "v1", "one")
	push := hook("PUSH_ARTIFACT", "admin", "v1", "one", time.Now())
	right := "Bearer " + webhookSecret + "multi-dc-demo"
	for name, authorization := range map[string]string{"none": "", "wrong": "Bearer x", "no Bearer": webhookSecret + "multi-dc-demo", "longer": right + "x",
		"of another project": "Bearer " + webhookSecret + "multi-dc-other", "Basic": s.asAdmin(), "no secret": "Bearer ", "a client's": s.as(t, reader, "multi-dc-demo/app")["Authorization"]} {
		if a := s.post(t, webhookPath, authorization, push); a.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if n := c.webhooks(t, "refused"); n != 8 {
		t.Errorf("%d of 8 are counted", n)
	}
	for _, project := range []string{"plain", "cache-dockerhub", "repl-core", "multi-dc-quiet", "multi-dc-demo2"} {
		if a := s.post(t, webhookPath, right, strings.ReplaceAll(push, "multi-dc-demo/", project+"/")); a.status != http.StatusForbidden {
			t.Errorf("for %s: %d", project, a.status)
		}
	}
	quiet := httptest.NewRequest(http.MethodPost, webhookPath, strings.NewReader(strings.ReplaceAll(push, "multi-dc-demo", "multi-dc-quiet")))
	quiet.Header.Set("Authorization", "Bearer ") // a client would cut the space
	w := httptest.NewRecorder()
	if s.edge.Config.Handler.ServeHTTP(w, quiet); w.Code != http.StatusForbidden {
		t.Errorf("a project without a secret: %d", w.Code)
	}
	if a := s.do(t, http.MethodGet, webhookPath, map[string]string{"Authorization": right}); a.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", a.status)
	}
	for name, body := range map[string]string{"nothing": "", "garbage": "x", "a list": "[]", "half": push[:len(push)/2], "huge": `{"type":"` + strings.Repeat("x", 2<<20) + `"}`} {
		if a := s.hook(t, body); a.status/100 != 4 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	for name, body := range map[string]string{"another event": strings.Replace(push, "PUSH_ARTIFACT", "QUOTA_EXCEED", 1), "no digest": strings.Replace(push, "sha256:", "sha256:..", 1),
		"no tag": strings.Replace(push, `"tag":"v1"`, `"tag":"../v1"`, 1), "no resources": strings.Replace(push, `"resources"`, `"res"`, 1)} {
		if a := s.hook(t, body); a.status != http.StatusNoContent || c.webhooks(t, "taken") > 0 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	if a := s.hook(t, push); a.status != http.StatusNoContent || c.webhooks(t, "taken") != 1 {
		t.Errorf("the right one: %d %s", a.status, a.body)
	}
}

// An edge without secrets takes no webhooks.
func TestWithoutASecretNoWebhookIsTaken(t *testing.T) {
	s := newSite(t)
	for _, authorization := range []string{"", "Bearer ", "Bearer x"} {
		if a := s.post(t, webhookPath, authorization, hook("PUSH_ARTIFACT", "admin", "v1", "one", time.Now())); a.status != http.StatusForbidden {
			t.Errorf("%q: %d", authorization, a.status)
		}
	}
}

// What a person pushes past the edges counts everywhere as soon as Harbor says so, in
// either of Harbor's formats; what a machine pushes does not.
func TestAPushPastTheEdgesIsAdopted(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1, mad1 := r.sites[0], r.sites[1]
	par1.pushNote(t, "v1", "one")
	par1.putPast(t, "v1", "two")
	for _, operator := range []string{"harbor-jobservice", "robot$replication", "harbor#proxy-cache-service"} {
		if a := par1.hook(t, hook("PUSH_ARTIFACT", operator, "v1", "two", time.Now())); a.status != http.StatusNoContent {
			t.Errorf("%s: %d", operator, a.status)
		}
		par1.shows(t, operator, "v1", "one")
	}
	if n := c.webhooks(t, "machine"); n != 3 {
		t.Errorf("%d of 3 are counted", n)
	}
	par1.putPast(t, "v1", "three")
	cloud := fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/projects/2/webhook/policies/1","type":"harbor.artifact.pushed","datacontenttype":"application/json","time":%q,"operator":"admin","requestid":"r",
		"data":{"resources":[{"digest":%q,"tag":"v1","resource_url":"x"}],"repository":{"name":"app","namespace":"multi-dc-demo","repo_full_name":"multi-dc-demo/app","repo_type":"private"}}}`, time.Now().UTC().Format(time.RFC3339), noteDigest("three"))
	if a := par1.hook(t, cloud); a.status != http.StatusNoContent || c.webhooks(t, "taken") != 1 {
		t.Fatalf("CloudEvents: %d %s", a.status, a.body)
	}
	par1.shows(t, "adopted", "v1", "three")
	mad1.until(t, "v1", "three")
	par1.putPast(t, "v1", "four")
	if a := par1.hook(t, hook("PUSH_ARTIFACT", "somebody", "v1", "four", time.Now())); a.status != http.StatusNoContent || c.webhooks(t, "taken") != 2 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.agree(t, map[string]string{"v1": "four"})
}

// Harbor's own deliveries do.
func TestHarborTellsOfAPush(t *testing.T) {
	ahead := func() time.Time { return time.Now().Add(2 * time.Second) } // events have whole seconds, and this push and its delete are in one
	r := newRegionOf(t, func(int) lab.HarborConfig { return lab.HarborConfig{Now: ahead} }, hooked(counters{}))
	par1 := r.sites[0]
	for i, format := range []string{"Default", "CloudEvents"} {
		status, _ := par1.harborCall(t, "/api/v2.0/projects/multi-dc-demo/webhook/policies", fmt.Sprintf(`{"name":"edge%d","enabled":true,"event_types":["PUSH_ARTIFACT","DELETE_ARTIFACT"],
			"targets":[{"type":"http","address":%q,"auth_header":%q,"payload_format":%q}]}`, i, par1.edge.URL+webhookPath, "Bearer "+webhookSecret+"multi-dc-demo", format))
		if status != http.StatusCreated {
			t.Fatal(status)
		}
	}
	par1.pushNote(t, "v1", "one")
	par1.putPast(t, "v1", "two")
	r.sites[1].until(t, "v1", "two")
	trial.Until(t, func() error {
		if par1.harborHas(t, "v1") != "" { // the edge was just writing it, by its digest
			par1.deletePast(t, "two")
		}
		for i, s := range r.sites {
			if a := s.pullNote(t, "v1"); a.status != http.StatusNotFound {
				return fmt.Errorf("edge %d: %d", i, a.status)
			}
		}
		return nil
	})
}

// Deliveries are late and in any order: an event of a push that was overtaken is no news.
func TestALateWebhookIsNoNews(t *testing.T) {
	c := counters{}
	r := newRegion(t, hooked(c))
	par1, mad1 := r.sites[0], r.sites[1]
	begun := time.Now()
	par1.pushNote(t, "v1", "one")
	par1.pushNote(t, "v1", "two")
	for name, put := range map[string]string{"Harbor has the newest": "", "a replication has put it back": "one"} {
		if put != "" {
			par1.putPast(t, "v1", put)
		}
		if a := par1.hook(t, hook("PUSH_ARTIFACT", "admin", "v1", "one", begun)); a.status != http.StatusNoContent {
			t.Errorf("%s: %d", name, a.status)
		}
		par1.shows(t, name, "v1", "two")
		mad1.shows(t, name, "v1", "two")
	}
	par1.hook(t, hook("PUSH_ARTIFACT", "admin", "v1", "never", time.Now())) // Harbor has something else
	par1.shows(t, "what Harbor has not", "v1", "two")
	if n := c.webhooks(t, "old"); n != 3 || c.webhooks(t, "taken") > 0 {
		t.Errorf("%d of 3 are old, %d taken", n, c.webhooks(t, "taken"))
	}
	par1.hook(t, hook("PUSH_ARTIFACT", "admin", "v1", "two", begun))
	par1.hook(t, hook("PUSH_ARTIFACT", "admin", noteDigest("two"), "two", begun)) // a push by digest
	if n := c.webhooks(t, "known"); n != 2 {
		t.Errorf("%d of 2 are known", n)
	}
	if tags, _ := par1.tags(t, "multi-dc-demo/app", "", par1.as(t, reader, "multi-dc-demo/app")); fmt.Sprint(tags) != "[v1]" {
		t.Errorf("tags: %v", tags)
	}
}

// A Harbor that cannot say is asked again: its webhook is told to come back.
func TestAWebhookOfAHarborThatCannotSay(t *testing.T) {
	c := counters{}
	s := newRegion(t, hooked(c)).sites[0]
	s.pushNote(t, "v1", "one")
	s.putPast(t, "v1", "two")
	for kind, text := range map[string]string{"PUSH_ARTIFACT": "two", "DELETE_ARTIFACT": "one"} {
		if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/manifests/"}); err != nil {
			t.Fatal(err)
		}
		if a := s.hook(t, hook(kind, "admin", "v1", text, time.Now())); a.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", kind, a.status, a.body)
		}
		s.harbor.ClearFaults()
	}
	if n := c.webhooks(t, "unanswered"); n != 2 {
		t.Errorf("%d of 2 are counted", n)
	}
}

// Of two pushes at once the one that began later is newer, and Harbor's word of the other
// one is no news, neither while a client waits for it nor after that.
func TestAWebhookOfAPushThatIsOvertakenIsNoNews(t *testing.T) {
	c := counters{}
	par1 := newRegion(t, hooked(c)).sites[0]
	answered := par1.slowPush(t, "v1", "one")
	if a := par1.pushNote(t, "v1", "two"); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	for _, when := range []string{"while its client waits", "when that was answered"} {
		par1.putPast(t, "v1", "one")
		par1.hook(t, hook("PUSH_ARTIFACT", "admin", "v1", "one", time.Now()))
		par1.shows(t, when, "v1", "two")
		if err := par1.harbor.SetFaults(); err != nil {
			t.Fatal(err)
		}
		<-answered
	}
	if n := c.webhooks(t, "taken"); n > 0 {
		t.Errorf("%d webhooks are taken for news", n)
	}
}

// Harbor tells of a push, in whole seconds, when that was deleted in the same second, and a
// replication has brought it back.
func TestAWebhookOfAPushThatWasDeletedAtOnceIsNoNews(t *testing.T) {
	c := counters{}
	par1 := newRegion(t, hooked(c)).sites[0]
	for try := range 5 { // whatever part of a second has passed
		tag, text := fmt.Sprint("v", try), fmt.Sprint("one-", try)
		par1.pushNote(t, tag, text)
		begun := time.Now()
		par1.deleteNote(t, text)
		par1.putPast(t, tag, text)
		par1.hook(t, hook("PUSH_ARTIFACT", "admin", tag, text, begun))
		par1.gone(t, tag, noteDigest(text))
	}
	if n := c.webhooks(t, "taken"); n > 0 {
		t.Errorf("%d webhooks are taken for news", n)
	}
}
