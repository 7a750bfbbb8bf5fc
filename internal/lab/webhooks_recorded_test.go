package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// received is what a webhook's receiver got, as it and the recordings have it in common.
type received struct {
	mu     sync.Mutex
	bodies []string
}

var differing = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "sha256:x"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "host"},
	{regexp.MustCompile(`"(occur_at|date_created|execution_timestamp|execution_id|task_id|retention_policy_id)":\d+`), `"$1":0`},
}

// alike is a body without what differs from run to run.
func alike(t *testing.T, body string) string {
	t.Helper()
	for _, c := range differing {
		body = c.what.ReplaceAllString(body, c.by)
	}
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return text(v)
}

var recordedPost = regexp.MustCompile(`POST /(?:default|pc) HTTP/1\.1\n(?:[^\n]+\n)+\n(\{.*\})`)

// recorded lists what the recording's receiver got of these kinds: some recordings hold
// what was on its way from before, too.
func recorded(t *testing.T, name string, kinds []string) (all []string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "api", "webhook-recv-"+name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range recordedPost.FindAllStringSubmatch(strings.ReplaceAll(string(content), "\r", ""), -1) {
		if slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains(m[1], `"type":"`+kind+`"`) }) {
			all = append(all, alike(t, m[1]))
		}
	}
	slices.Sort(all)
	return all
}

// hooked is a Harbor with the project wh, of which a receiver hears everything, its robot
// "bot", another Harbor that it replicates with, and a cache.
type hooked struct {
	h, peer  *Harbor
	upstream *Upstream
	got      *received
}

func newHooked(t *testing.T) *hooked {
	t.Helper()
	w := &hooked{got: &received{}, upstream: startUpstream(t)}
	w.h, w.peer = twoHarbors(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.got.mu.Lock()
		defer w.got.mu.Unlock()
		w.got.bodies = append(w.got.bodies, string(body))
	}))
	t.Cleanup(receiver.Close)
	w.h.CreateProject("wh", false)
	w.peer.CreateProject("wh", false)
	if err := w.h.CreateCache("whpc", "docker-registry", w.upstream.URL(), false); err != nil {
		t.Fatal(err)
	}
	w.h.CreateRobot("wh", "bot", "Robot1Secret2", "pull", "push", "delete")
	for _, project := range []string{"wh", "whpc"} {
		w.h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/projects/"+project+"/webhook/policies", `{"name":"all","enabled":true,"event_types":
			["PUSH_ARTIFACT","PULL_ARTIFACT","DELETE_ARTIFACT","REPLICATION","TAG_RETENTION"],"targets":[{"type":"http","address":"`+receiver.URL+`"}]}`, nil)
	}
	return w
}

// heard is what the receiver has got since it was last asked.
func (w *hooked) heard(t *testing.T) (all []string) {
	t.Helper()
	settle(w.h, w.peer)
	w.got.mu.Lock()
	defer w.got.mu.Unlock()
	for _, body := range w.got.bodies {
		all = append(all, alike(t, body))
	}
	w.got.bodies = nil
	slices.Sort(all)
	return all
}

// as asks the registry as the project's robot.
func (w *hooked) as(t *testing.T, method, path, body string) {
	t.Helper()
	req, err := http.NewRequest(method, w.h.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("robot$wh+bot", "Robot1Secret2")
	req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

func (w *hooked) api(t *testing.T, status int, method, path, body string) {
	t.Helper()
	w.h.call(t, status, method, "/api/v2.0/projects/wh/repositories/"+path, body, nil)
}

// replicate runs a policy of one Harbor that has the other as its registry 1 at either side.
func replicate(t *testing.T, by, other *Harbor, user, password, policy string) {
	t.Helper()
	replicates(t, by, other, user, password, policy)
	by.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/replication/executions", `{"policy_id":1}`, nil)
}

// TestWebhooksAsRecorded: the bodies are those that Harbor sent, and no others.
func TestWebhooksAsRecorded(t *testing.T) {
	const push, pull, del = "PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"
	one := digest.FromString(manifestOf("{}", "one")).String()
	for _, c := range []struct {
		recording string
		kinds     []string
		before    func(w *hooked)
		do        func(w *hooked)
	}{
		{"push-by-admin-tag", []string{push}, nil, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") }},
		{"push-slash-repo-tag", []string{push}, nil, func(w *hooked) { w.h.push(t, "wh/team/a/b", "v1", "one") }},
		{"push-by-digest-only", []string{push}, nil, func(w *hooked) { w.h.push(t, "wh/dig", one, "one") }},
		{"push-overwrite-tag", []string{push}, func(w *hooked) { w.h.push(t, "wh/app", "v1", "old") }, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") }},
		{"push-repush-same-tag-same-digest", []string{push}, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") }, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") }},
		{"push-by-robot-tag", []string{push}, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") },
			func(w *hooked) { w.as(t, http.MethodPut, "/v2/wh/app/manifests/r1", manifestOf("{}", "one")) }},
		{"pull-by-tag-head", []string{pull}, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") },
			func(w *hooked) { w.h.call(t, http.StatusOK, http.MethodHead, "/v2/wh/app/manifests/v1", "", nil) }},
		{"pull-by-tag-robot", []string{pull}, func(w *hooked) { w.h.push(t, "wh/app", "r1", "one") },
			func(w *hooked) { w.as(t, http.MethodGet, "/v2/wh/app/manifests/r1", "") }},
		{"pull-by-digest-admin", []string{pull}, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") },
			func(w *hooked) { w.h.call(t, http.StatusOK, http.MethodGet, "/v2/wh/app/manifests/"+one, "", nil) }},
		{"api-add-tag", []string{push}, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") },
			func(w *hooked) {
				w.api(t, http.StatusCreated, http.MethodPost, "app/artifacts/v1/tags", `{"name":"t"}`)
			}},
		{"api-delete-tag", []string{del}, func(w *hooked) { w.h.push(t, "wh/app", "v1", "one") },
			func(w *hooked) { w.api(t, http.StatusOK, http.MethodDelete, "app/artifacts/v1/tags/v1", "") }},
		{"api-delete-artifact-by-tag", []string{del}, func(w *hooked) { w.h.push(t, "wh/app", "r1", "one"); w.h.push(t, "wh/app", "v2", "two") },
			func(w *hooked) { w.api(t, http.StatusOK, http.MethodDelete, "app/artifacts/r1", "") }},
		{"api-delete-artifact-by-digest-untagged", []string{del}, func(w *hooked) { w.h.push(t, "wh/dig", one, "one"); w.h.push(t, "wh/dig", "v2", "two") },
			func(w *hooked) { w.api(t, http.StatusOK, http.MethodDelete, "dig/artifacts/"+one, "") }},
		{"api-delete-artifact-with-two-tags", []string{del}, func(w *hooked) {
			w.h.push(t, "wh/app", "two-a", "one")
			w.h.push(t, "wh/app", "two-b", "one")
			w.h.push(t, "wh/app", "v2", "two")
		}, func(w *hooked) { w.api(t, http.StatusOK, http.MethodDelete, "app/artifacts/two-a", "") }},
		{"registry-delete-manifest-by-robot", []string{del}, func(w *hooked) { w.h.push(t, "wh/app", "reg2", "one"); w.h.push(t, "wh/app", "v2", "two") },
			func(w *hooked) { w.as(t, http.MethodDelete, "/v2/wh/app/manifests/"+one, "") }},
	} {
		t.Run(c.recording, func(t *testing.T) {
			w := newHooked(t)
			if c.before != nil {
				c.before(w)
				w.heard(t)
			}
			c.do(w)
			if got, want := w.heard(t), recorded(t, c.recording, c.kinds); !slices.Equal(got, want) {
				t.Errorf("the receiver got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestWebhooksOfHarborItself: of what its own jobs do, and those of others.
func TestWebhooksOfHarborItself(t *testing.T) {
	kept := `{"algorithm":"or","rules":[{"action":"retain","template":"latestPushedK","params":{"latestPushedK":1},"scope_selectors":{"repository":[{"kind":"doublestar",
		"decoration":"repoMatches","pattern":"**"}]},"tag_selectors":[{"kind":"doublestar","decoration":"matches","pattern":"**","extras":"{\"untagged\":true}"}]}],
		"trigger":{"kind":"Schedule","settings":{"cron":""}},"scope":{"level":"project","ref":2}}`
	for _, c := range []struct {
		recording string
		do        func(t *testing.T, w *hooked)
	}{
		{"incoming-replication-push-from-dc2-as-robot", func(t *testing.T, w *hooked) {
			w.peer.push(t, "wh/frm2", "t1", "one")
			replicate(t, w.peer, w.h, "robot$wh+bot", "Robot1Secret2", `{"name":"p","dest_registry":{"id":1},"trigger":{"type":"manual"},"enabled":true,"override":true}`)
		}},
		{"replication-pull-on-dc1-from-dc2", func(t *testing.T, w *hooked) {
			w.peer.push(t, "wh/frm3", "t1", "one")
			w.h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/registries", fmt.Sprintf(`{"name":"dc2-admin","type":"harbor","url":%q,
				"credential":{"type":"basic","access_key":"admin","access_secret":"Harbor12345"}}`, w.peer.URL()), nil)
			w.h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/replication/policies", `{"name":"pull","src_registry":{"id":2},"dest_namespace":"wh","dest_namespace_replace_count":1,
				"trigger":{"type":"manual"},"enabled":true,"override":true,"filters":[{"type":"name","value":"wh/frm3"}]}`, nil)
			w.h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/replication/executions", `{"policy_id":1}`, nil)
		}},
		{"retention-dry-run", func(t *testing.T, w *hooked) {
			w.h.push(t, "wh/app", "v1", "one")
			w.h.push(t, "wh/app", "v2", "two")
			w.h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/retentions", kept, nil)
			w.heard(t)
			w.h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/retentions/2/executions", `{"dry_run":true}`, nil)
		}},
		{"proxycache-pull-cold", func(t *testing.T, w *hooked) {
			pullThrough(t, w)
		}},
	} {
		t.Run(c.recording, func(t *testing.T) {
			w := newHooked(t)
			c.do(t, w)
			want := recorded(t, c.recording, []string{"PUSH_ARTIFACT", "DELETE_ARTIFACT", "REPLICATION", "TAG_RETENTION"})
			got := slices.DeleteFunc(w.heard(t), func(body string) bool { return strings.Contains(body, `"PULL_ARTIFACT"`) })
			if !slices.Equal(got, want) {
				t.Errorf("the receiver got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// pullThrough pulls an image of one layer through the cache.
func pullThrough(t *testing.T, w *hooked) {
	t.Helper()
	u := &Harbor{server: server{address: w.upstream.address}, cfg: HarborConfig{AdminPassword: "-"}} // the pushes are the same
	u.push(t, "edge/img", "v1", "one")
	w.h.call(t, http.StatusOK, http.MethodGet, "/v2/whpc/edge/img/manifests/v1", "", nil)
	for _, blob := range []string{"{}", "one"} {
		w.h.call(t, http.StatusOK, http.MethodGet, "/v2/whpc/edge/img/blobs/"+digest.FromString(blob).String(), "", nil)
	}
}

// TestRetentionNow: what does not stay is deleted by the job service, and a webhook says
// what came of it.
func TestRetentionNow(t *testing.T) {
	w := newHooked(t)
	if err := w.h.Retain("wh"); err == nil {
		t.Error("there is no policy, and it ran")
	}
	w.h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/retentions", `{"algorithm":"or","rules":[{"action":"retain","template":"latestPushedK","params":{"latestPushedK":1},
		"scope_selectors":{"repository":[{"kind":"doublestar","decoration":"repoMatches","pattern":"**"}]},"tag_selectors":[{"kind":"doublestar","decoration":"matches","pattern":"**",
		"extras":"{\"untagged\":true}"}]}],"trigger":{"kind":"Schedule","settings":{"cron":""}},"scope":{"level":"project","ref":2}}`, nil)
	w.h.push(t, "wh/app", "v1", "one")
	w.h.push(t, "wh/app", "v1b", "two")
	w.heard(t)
	if err := w.h.Retain("wh"); err != nil {
		t.Fatal(err)
	}
	got := w.heard(t)
	if len(got) != 2 || w.h.has(t, "wh/app", "v1") || !w.h.has(t, "wh/app", "v1b") {
		t.Fatalf("%q", got)
	}
	deleted, ran := got[0], got[1] // in the order of their letters
	if !strings.Contains(deleted, `"resource_url":"host/wh/app:v1"`) || !strings.Contains(deleted, `"operator":"harbor-jobservice","type":"DELETE_ARTIFACT"`) {
		t.Errorf("the deletion is told as %s", deleted)
	}
	want := recorded(t, "retention-run", []string{"TAG_RETENTION"})[0]
	if keysOf(t, ran) != keysOf(t, want) || !strings.Contains(ran, `"name_tag":"app:v1"`) {
		t.Errorf("the end of the run is told as\n%s\nHarbor did as\n%s", ran, want)
	}
}

// keysOf is the shape of a body: of a list, that of its first element.
func keysOf(t *testing.T, body string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	var shape func(v any) any
	shape = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				v[k] = shape(v[k])
			}
			return v
		case []any:
			return shape(v[0])
		}
		return nil
	}
	return text(shape(v))
}
