package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// twoHarbors are a Harbor and another that it replicates to.
func twoHarbors(t *testing.T) (a, b *Harbor) {
	t.Helper()
	for _, h := range []**Harbor{&a, &b} {
		var err error
		if *h, err = StartHarbor(HarborConfig{Key: testKey(), ReplicationDelay: time.Nanosecond, StatusLag: time.Nanosecond}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*h).Close() })
	}
	return a, b
}

// call asks as the administrator, and fails the test on another status.
func (h *Harbor) call(t *testing.T, status int, method, path, body string, into any) http.Header {
	t.Helper()
	req, err := http.NewRequest(method, h.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(h.Admin())
	req.Header.Set("Content-Type", "application/json")
	if strings.Contains(path, "/manifests/") {
		var m struct{ MediaType string }
		json.Unmarshal([]byte(body), &m) //nolint:errcheck // the registry says so
		req.Header.Set("Content-Type", m.MediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var content bytes.Buffer
	if _, err := content.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, content.String())
	}
	if into != nil {
		if err := json.Unmarshal(content.Bytes(), into); err != nil {
			t.Fatal(err)
		}
	}
	return resp.Header
}

// push pushes an image of one layer and returns its digest.
func (h *Harbor) push(t *testing.T, repo, tag, layer string) string {
	t.Helper()
	return h.pushImage(t, repo, tag, "{}", layer)
}

func (h *Harbor) pushImage(t *testing.T, repo, tag, config, layer string) string {
	t.Helper()
	for _, blob := range []string{config, layer} {
		h.pushBlob(t, http.StatusCreated, repo, blob)
	}
	m := manifestOf(config, layer)
	h.call(t, http.StatusCreated, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, m, nil)
	return digest.FromString(m).String()
}

func (h *Harbor) pushBlob(t *testing.T, status int, repo, blob string) {
	t.Helper()
	header := h.call(t, http.StatusAccepted, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", "", nil)
	location := strings.TrimPrefix(header.Get("Location"), h.URL())
	h.call(t, status, http.MethodPut, location+"&digest="+digest.FromString(blob).String(), blob, nil)
}

func manifestOf(config, layer string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`, digest.FromString(config), len(config), digest.FromString(layer), len(layer))
}

// replicates makes a policy of a that pushes to b as the user.
func replicates(t *testing.T, a, b *Harbor, user, password, policy string) {
	t.Helper()
	a.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/registries",
		fmt.Sprintf(`{"name":"peer","type":"harbor","url":%q,"credential":{"type":"basic","access_key":%q,"access_secret":%q}}`, b.URL(), user, password), nil)
	a.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/replication/policies", policy, nil)
}

const eventPolicy = `{"name":"p","dest_registry":{"id":1},"dest_namespace":"multi-dc-x","dest_namespace_replace_count":1,"trigger":{"type":"event_based"},
	"filters":[{"type":"name","value":"multi-dc-x/**"},{"type":"tag","value":"v*"}],"enabled":true,"override":true,"deletion":true}`

func (h *Harbor) lastExecution(t *testing.T) map[string]any {
	t.Helper()
	var all []map[string]any
	h.call(t, http.StatusOK, http.MethodGet, "/api/v2.0/replication/executions", "", &all)
	if len(all) == 0 {
		t.Fatal("there is no execution")
	}
	return all[0]
}

func (h *Harbor) has(t *testing.T, repo, tag string) bool {
	t.Helper()
	a, _ := h.db.find(h.db.project(strings.Split(repo, "/")[0]), repo, tag)
	return a != nil
}

func TestReplicationFollowsPushesAndDeletions(t *testing.T) {
	a, b := twoHarbors(t)
	a.CreateProject("multi-dc-x", false)
	a.CreateProject("other", false)
	replicates(t, a, b, "admin", "Harbor12345", eventPolicy)
	a.push(t, "multi-dc-x/team/app", "v1", "layer one")
	a.push(t, "multi-dc-x/team/app", "latest", "layer one") // no tag for it
	a.push(t, "other/app", "v1", "layer two")
	a.Idle()
	if !b.has(t, "multi-dc-x/team/app", "v1") || b.has(t, "multi-dc-x/team/app", "latest") {
		t.Error("b does not hold v1 alone")
	}
	if e := a.lastExecution(t); e["status"] != "Succeed" || e["trigger"] != "event_based" {
		t.Errorf("%v", e)
	}
	a.call(t, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/multi-dc-x/repositories/team%252Fapp/artifacts/v1", "", nil)
	a.Idle()
	if b.has(t, "multi-dc-x/team/app", "v1") {
		t.Error("v1 was not deleted at b")
	}
}

func TestReplicationIsNotRetried(t *testing.T) {
	a, b := twoHarbors(t)
	a.CreateProject("multi-dc-x", false)
	replicates(t, a, b, "admin", "Harbor12345", eventPolicy)
	if err := b.SetFaults(Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	a.push(t, "multi-dc-x/app", "v1", "layer one")
	a.Idle()
	if e := a.lastExecution(t); e["status"] != "Failed" || e["total"] != 0. {
		t.Errorf("%v", e)
	}
	b.ClearFaults()
	a.Idle()
	if b.db.project("multi-dc-x") != nil {
		t.Error("it was tried again")
	}
}

func TestReplicationAsARobot(t *testing.T) {
	a, b := twoHarbors(t)
	a.CreateProject("multi-dc-x", false)
	b.CreateProject("elsewhere", false)
	robot := b.CreateRobot("elsewhere", "sync", "Replication1x", "pull", "push", "list")
	replicates(t, a, b, robot, "Replication1x", eventPolicy)
	a.push(t, "multi-dc-x/app", "v1", "layer one")
	a.Idle()
	if e := a.lastExecution(t); e["status"] != "Failed" || !strings.Contains(fmt.Sprint(e["status_text"]), "Only system level robot can create project") {
		t.Errorf("%v", e)
	}
}

func TestReplicationPulls(t *testing.T) {
	a, b := twoHarbors(t)
	b.CreateProject("multi-dc-x", false)
	b.push(t, "multi-dc-x/team/app", "v1", "layer one")
	b.push(t, "multi-dc-x/team/app", "v2", "layer two")
	robot := b.CreateRobot("multi-dc-x", "sync", "Replication1x", "pull", "push", "list")
	b.db.robots[0].Permissions[0].Access = append(b.db.robots[0].Permissions[0].Access, robotAccess{Action: "list", Resource: "artifact"})
	replicates(t, a, b, robot, "Replication1x", `{"name":"from b","src_registry":{"id":1},"dest_namespace":"repl","dest_namespace_replace_count":-1,
		"trigger":{"type":"scheduled","trigger_settings":{"cron":"0 0/15 * * * *"}},"filters":[{"type":"name","value":"multi-dc-x/**"},{"type":"tag","value":"{v1,w*}"}],"enabled":true,"override":true}`)
	if err := a.Replicate("from b"); err != nil {
		t.Fatal(err)
	}
	a.Idle()
	if e := a.lastExecution(t); e["status"] != "Succeed" || e["trigger"] != "scheduled" || !a.has(t, "repl/app", "v1") || a.has(t, "repl/app", "v2") {
		t.Errorf("%v, and here are %v", e, a.db.tags(a.db.project("repl"), "repl/app"))
	}
}

// One pull takes several projects whose names are spelled out in braces, and keeps their
// paths where the destination has no namespace. Of a project that the robot does not cover
// nothing is taken, and the execution says Succeed.
func TestReplicationPullsGroups(t *testing.T) {
	a, b := twoHarbors(t)
	for _, project := range []string{"multi-dc-x", "multi-dc-y", "multi-dc-z", "multi-dc-xy"} {
		b.CreateProject(project, false)
		b.push(t, project+"/team/app", "v1", "layer of "+project)
	}
	a.CreateProject("multi-dc-x", false)
	const access = `"access":[{"resource":"repository","action":"pull"},{"resource":"repository","action":"list"},{"resource":"artifact","action":"list"}]`
	var made struct{ Name, Secret string }
	b.call(t, 201, "POST", "/api/v2.0/robots", `{"name":"groups","level":"system","duration":-1,"permissions":[{"kind":"project","namespace":"multi-dc-x",`+access+`},
		{"kind":"project","namespace":"multi-dc-y",`+access+`},{"kind":"project","namespace":"multi-dc-xy",`+access+`}]}`, &made)
	replicates(t, a, b, made.Name, made.Secret, `{"name":"groups","src_registry":{"id":1},"dest_namespace":"","dest_namespace_replace_count":0,
		"trigger":{"type":"scheduled","trigger_settings":{"cron":"0 0/15 * * * *"}},"filters":[{"type":"name","value":"multi-dc-{x,y,z}/**"}],"enabled":true}`)
	if err := a.Replicate("groups"); err != nil {
		t.Fatal(err)
	}
	a.Idle()
	if e := a.lastExecution(t); e["status"] != "Succeed" || e["total"] != 2.0 {
		t.Errorf("%v", e)
	}
	for project, want := range map[string]bool{"multi-dc-x": true, "multi-dc-y": true, "multi-dc-z": false, "multi-dc-xy": false} {
		if got := a.db.project(project) != nil && a.has(t, project+"/team/app", "v1"); got != want {
			t.Errorf("%s is here: %v", project, got)
		}
	}
	long := `{"name":"long","src_registry":{"id":1},"trigger":{"type":"manual"},"filters":[{"type":"name","value":"multi-dc-{` + strings.Repeat("a,", 500) + `b}/**"}]}`
	a.call(t, 500, "POST", "/api/v2.0/replication/policies", long, nil)
}

// A robot of the system pushes to all projects that it covers, and has others made where
// everybody may make projects, whatever it was given.
func TestReplicationPushesAsARobotOfTheSystem(t *testing.T) {
	a, b := twoHarbors(t)
	const access = `"access":[{"resource":"repository","action":"pull"},{"resource":"repository","action":"push"}]`
	b.CreateProject("multi-dc-x", false)
	var made struct{ Name, Secret string }
	b.call(t, 201, "POST", "/api/v2.0/robots", `{"name":"groups","level":"system","duration":-1,"permissions":[{"kind":"project","namespace":"multi-dc-x",`+access+`}]}`, &made)
	replicates(t, a, b, made.Name, made.Secret, `{"name":"groups","dest_registry":{"id":1},"trigger":{"type":"event_based"},"filters":[{"type":"name","value":"multi-dc-{x,y}/**"}],"enabled":true}`)
	for project, want := range map[string]string{"multi-dc-x": "Succeed", "multi-dc-y": "Failed"} {
		a.CreateProject(project, false)
		a.push(t, project+"/team/app", "v1", "layer of "+project)
		a.Idle()
		if e := a.lastExecution(t); e["status"] != want || b.db.project(project) == nil || b.has(t, project+"/team/app", "v1") != (want == "Succeed") {
			t.Errorf("%s: %v", project, e)
		}
	}
}
