package lab

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// excludedAPI lists the recordings that are not replayed, each with its reason.
var excludedAPI = map[string]string{
	"config-4[345]-*":       "garbage collection is not imitated",
	"artifact-39-*":         "the history of an image's build is not kept",
	"artifact-53-auditlog*": "there is no audit log", "artifact-54-auditlog*": "there is no audit log", "artifact-55-auditlog*": "there is no audit log",
	"artifact-55[bcd]-*": "there is no audit log", "artifact-5[012]-*": "there is no audit log",
	"artifact-59-*":   "the portal's search is not imitated",
	"webhook-recv-*":  "not an answer: what the receiver got; TestWebhooks",
	"webhook-retry-*": "deliveries are not listed", "webhook-5[1234]-*": "deliveries are not listed",
	"webhook-50-*":         "the times of the last deliveries are those of other recordings",
	"replication-37-*":     "it lists executions of other families",
	"replication-8[012]-*": "not an answer: what the other Harbor's front logged",
}

// sameSecond orders what was recorded within one second, or the next.
var sameSecond = map[string]string{"retention-31-trigger-real": "07:43:38b", "retention-32-executions-running-real": "07:43:38c"}

var families = []family{
	{name: "project", setup: projectSetup, before: map[string]func(*world){
		"project-02-get-by-id": func(w *world) {
			for i := range 4 {
				w.project("18081", 9+i, fmt.Sprintf("page%d", i), false, 0)
			}
			w.project("18081", 13, "12345", false, 0)
		},
		"project-92-delete-non-empty-412": func(w *world) { w.project("18081", 31, "qp", false, 1) },
		"project-72b-member-add-user-id":  func(w *world) { w.project("18081", 36, "mem", false, 0) },
		"project-70b-member-add-oidc-group-in-oidc-auth": func(w *world) {
			w.project("18083", 3, "oidcp", false, 0)
			w.harbors["18083"].db.config["auth_mode"] = "oidc_auth"
		},
	}},
	{name: "quota", setup: func(w *world) {
		w.user("18081", 3, "dev1", "Devel0per1")
		for id, used := range map[int]int64{2: 1304289, 3: 502482, 4: 67115302} {
			p := w.project("18081", id, map[int]string{2: "smoke1795416093", 3: "smoke1795416093-pc", 4: "bench"}[id], false, 0)
			p.blobs["x"] = used
		}
		w.fill("18081", 26)
		p := w.project("18081", 31, "qp", false, 1)
		p.quota.Hard, p.blobs["x"] = 100000, 20639
	}},
	{name: "retention", setup: func(w *world) {
		w.project("18081", 31, "qp", false, 0)
		for i, tag := range []string{"v1", "r0", "r1", "r2"} {
			w.image("18081", "qp/a", tag, map[string]string{"v1": "v1", "r0": "r0", "r1": "r1", "r2": "4097f9"}[tag], numbers{61 + i, 42 + i, 13})
		}
		w.registry("18081", 3, "plain-up", "docker-registry", "http://127.0.0.1:15000", credential{})
	}, before: map[string]func(*world){
		"retention-31-trigger-dry": func(w *world) {
			w.image("18081", "qp/b/c", "v1", "b1", numbers{})
			w.image("18081", "qp/b/c", "v2", "b2", numbers{})
			w.harbors["18081"].db.nextID["tasks"] = 15
		},
		"retention-34-tasks-real":           func(w *world) {},
		"retention-33-executions-done-real": func(w *world) { w.clock.Add(int64(5 * time.Second)) },
	}},
	{name: "robot", setup: robotSetup, before: map[string]func(*world){
		"robot-60-delete": func(w *world) {
			w.harbors["18081"].db.nextID["robots"] = 9
			w.harbors["18081"].CreateRobot("*", "delme", "035aaZXcg6qZedOnnx6XOKc8u4xG0hCG", "pull")
		},
	}},
	{name: "registry", setup: registrySetup, before: map[string]func(*world){
		"registry-46-peerdown-ping-by-id": func(w *world) { w.down("18083", true) },
		"registry-52-peerdown-executions": func(w *world) {
			w.sequence("18081", "executions", 82)
			w.image("18081", "r3src/app", "v1", "1", numbers{})
			w.harbors["18081"].Idle()
		},
		"registry-53-peerback-executions": func(w *world) { w.down("18083", false) },
		"registry-58-delete-ok":           func(w *world) { w.harbors["18081"].db.policies = nil },
	}},
	{name: "replication", setup: replicationSetup, before: replicationSteps},
	{name: "config", setup: func(w *world) {
		w.project("18083", 2, "r3", false, 0)
		w.project("18083", 3, "oidcp", false, 0)
	}, before: map[string]func(*world){
		"config-31-put-oidc-with-a-db-user":   func(w *world) { w.user("18083", 3, "dev", "Devel0per1") },
		"config-34-gc-schedule-put-when-none": func(w *world) { w.harbors["18083"].db.nextID["gc"] = 2 },
	}},
	{name: "session", setup: func(w *world) { w.project("18081", 5, "conf", false, 0) }, before: map[string]func(*world){
		"session-31-login-with-1-minute-timeout": func(w *world) {
			w.get("18083", "FILE/jar3")
			w.get("18083", "FILE/jar3")
		},
		"session-33-after-45s":              func(w *world) { w.clock.Add(int64(45 * time.Second)) },
		"session-34-after-75s-used-30s-ago": func(w *world) { w.clock.Add(int64(30 * time.Second)) },
		"session-35-after-66s-idle":         func(w *world) { w.clock.Add(int64(66 * time.Second)) },
	}},
	{name: "artifact", setup: artifactSetup, before: artifactSteps},
	{name: "webhook", setup: webhookSetup, before: webhookSteps},
}

// project makes a project under a chosen number, with so many repos.
func (w *world) project(port string, id int, name string, public bool, repos int) *project {
	h := w.harbors[port]
	h.db.mu.Lock()
	for _, table := range []string{"projects", "quotas", "members"} {
		h.db.nextID[table] = id - 1
	}
	p := h.addProject(name, map[string]string{"public": strconv.FormatBool(public)}, nil, -1, identity{user: 1, name: "admin"})
	h.db.mu.Unlock()
	for i := range repos {
		h.db.record(p, fmt.Sprintf("%s/r%d", name, i), "v1", &artifact{Digest: privOther, MediaType: schema2})
	}
	return p
}

// fill makes projects until there are so many.
func (w *world) fill(port string, n int) {
	for i := len(w.harbors[port].db.projects); i < n; i++ {
		w.project(port, 1000+i, fmt.Sprintf("zz%d", i), false, 0)
	}
}

// user makes a user under a chosen number.
func (w *world) user(port string, id int, name, password string) {
	db := w.harbors[port].db
	db.mu.Lock()
	defer db.mu.Unlock()
	db.users = append(db.users, &user{ID: id, Name: name, password: password})
}

// registry makes a registry under a chosen number.
func (w *world) registry(port string, id int, name, kind, url string, c credential) {
	db := w.harbors[port].db
	db.mu.Lock()
	defer db.mu.Unlock()
	db.nextID["registries"] = id - 1
	db.addRegistry(&registryRecord{Name: name, Type: kind, URL: url, Credential: c, Insecure: id < 3})
}

// get makes a jar's session and its token.
func (w *world) get(port, jar string) {
	rec := recording{method: "GET", url: &url.URL{Scheme: "http", Host: "x:" + port, Path: "/api/v2.0/users/current"}, header: http.Header{}, jar: jar, jarOut: jar}
	w.send(w.t, w.harbors[port], rec)
}

// down stops a Harbor, or starts it again.
func (w *world) down(port string, down bool) {
	for _, h := range w.harbors {
		h.Idle()
	}
	w.where["http://127.0.0.1:"+port] = w.harbors[port].URL()
	if down {
		w.where["http://127.0.0.1:"+port] = "http://127.0.0.1:1"
	}
}

func projectSetup(w *world) {
	w.project("18081", 2, "smoke1795416093", false, 2)
	p := w.project("18081", 3, "smoke1795416093-pc", false, 1)
	p.Registry = 2
	p.set(map[string]string{"retention_id": "1"})
	w.project("18081", 4, "bench", true, 1)
	w.project("18081", 5, "conf", false, 2)
	w.user("18081", 3, "dev1", "Devel0per1")
}

func robotSetup(w *world) {
	w.registry("18081", 1, "to-dc2", "harbor", "http://127.0.0.1:18082", credential{"admin", "Harbor12345", "basic"})
	w.registry("18081", 2, "plain", "docker-registry", "http://127.0.0.1:15000", credential{})
	w.registry("18081", 3, "plain-up", "docker-registry", "http://127.0.0.1:15000", credential{})
	w.project("18081", 4, "bench", true, 1)
	w.project("18081", 13, "12345", false, 0)
	w.project("18081", 16, strings.Repeat("a", 255), false, 0)
	w.project("18081", 22, "pubtop", true, 0)
	w.project("18081", 33, "rp", false, 0)
	w.project("18081", 34, "rp2", false, 0)
	w.project("18081", 31, "qp", false, 0)
	w.image("18081", "qp/a", "r2", "4097f9", numbers{64, 45, 13})
	w.fill("18081", 29)
}

const peerSecret = "klwvaAYMKVcnqrfwpgDMa5c5je2zNdKX"

func registrySetup(w *world) {
	w.project("18083", 3, "r3", false, 0)
	w.harbors["18083"].CreateRobot("r3", "sync", peerSecret, "pull", "push")
	w.registry("18081", 1, "to-dc2", "harbor", "http://127.0.0.1:18082", credential{"admin", "Harbor12345", "basic"})
	w.registry("18081", 2, "plain", "docker-registry", "http://127.0.0.1:15000", credential{})
	w.registry("18081", 3, "plain-up", "docker-registry", "http://127.0.0.1:15000", credential{})
	w.project("18081", 37, "pcr2", false, 0).Registry = 3
	w.project("18081", 38, "r3src", false, 0)
}

// numbers are those of an artifact, a tag and a repo; 0: the next.
type numbers struct{ artifact, tag, repo int }

// image pushes an image with the configuration that the recorded ones have.
func (w *world) image(port, repo, tag, env string, n numbers) string {
	h := w.harbors[port]
	h.db.mu.Lock()
	for table, id := range map[string]int{"artifacts": n.artifact, "tags": n.tag, "repositories": n.repo} {
		if id > 0 {
			h.db.nextID[table] = id - 1
		}
	}
	h.db.mu.Unlock()
	config := fmt.Sprintf(`{"architecture":"amd64","config":{"Env":["A=%s"],"Labels":{"org.example":"x"}},"os":"linux"}`, env)
	return h.pushImage(w.t, repo, tag, config, env+" layer")
}

// sequence makes the next number of a table a certain one.
func (w *world) sequence(port, table string, next int) {
	db := w.harbors[port].db
	db.mu.Lock()
	defer db.mu.Unlock()
	db.nextID[table] = next - 1
}
