package provision

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// rewriter stands before dc1's Harbor, changes what it shows, and keeps what is PUT there.
type rewriter struct {
	mu  sync.Mutex
	put map[string]string // the last body, by path without ids
}

func (f *testFleet) rewriting(t *testing.T, show func(path, body string) string) *rewriter {
	t.Helper()
	target, rw := parsed(t, f.harbors["dc1"].URL()), &rewriter{put: map[string]string{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	proxy.ModifyResponse = func(resp *http.Response) error {
		if resp.Request.Method != http.MethodGet || resp.StatusCode != http.StatusOK {
			return nil
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		text := show(strings.TrimPrefix(resp.Request.URL.Path, "/api/v2.0"), string(body))
		resp.Body = io.NopCloser(strings.NewReader(text))
		resp.ContentLength = int64(len(text))
		resp.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return nil
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method == http.MethodPut {
			rw.mu.Lock()
			rw.put[regexp.MustCompile(`\d+`).ReplaceAllString(strings.TrimPrefix(r.URL.Path, "/api/v2.0"), "N")] = string(body)
			rw.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	f.text = strings.Replace(f.text, target.String(), srv.URL, 1)
	return rw
}

// Whatever is mended, what this program does not manage is sent back as it came, to the
// byte: Harbor's PUT replaces the object, and a later version has fields of its own.
func TestWhatIsNotOursIsCarriedOver(t *testing.T) {
	const foreign = `"of_a_later_version":{"b":[1,2.50],"a":"<&>","n":12345678901234567890}`
	f := newTestFleet(t)
	f.text = strings.Replace(f.text, "    repo1: {}", `    repo1: { immutable_tags: ["v*"] }`, 1)
	f.text = strings.Replace(f.text, "harbor:\n  username", "harbor:\n  gc: { every: 1d, untagged: false }\n  username", 1)
	single := regexp.MustCompile(`^/(replication/policies|robots|retentions|projects/\d+/webhook/policies)/\d+$`)
	rw := f.rewriting(t, func(path, body string) string {
		switch {
		case single.MatchString(path):
			return strings.Replace(body, "{", "{"+foreign+",", 1)
		case strings.HasSuffix(path, "/immutabletagrules"):
			return strings.Replace(body, "[{", "[{"+foreign+",", 1)
		}
		return body
	})
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	p := found(t, h, policies, pulls)
	call(t, h, "PUT", policies+"/"+id(p), with(p, "description", "mine", "copy_by_chunk", true))
	rb := found(t, h, robotsOf(t, h, "multi-dc-repo1"), "robot$multi-dc-repo1+readonly")
	call(t, h, "PUT", "/robots/"+id(rb), with(rb, "description", "mine"))
	w := found(t, h, webhooks, "breakwater")
	call(t, h, "PUT", webhooks+"/"+id(w), with(w, "enabled", false))
	project := found(t, h, "/projects", "multi-dc-repo1")
	call(t, h, "PUT", "/retentions/"+project["metadata"].(map[string]any)["retention_id"].(string), map[string]any{"algorithm": "or", "rules": []any{}, "scope": map[string]any{"level": "project", "ref": project["project_id"]}, "trigger": map[string]any{"kind": "Schedule", "settings": map[string]any{"cron": ""}}})
	rule := map[string]any{"disabled": true, "action": "immutable", "template": "immutable_template", "tag_selectors": []any{map[string]any{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}},
		"scope_selectors": map[string]any{"repository": []any{map[string]any{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}}}}
	call(t, h, "PUT", "/projects/multi-dc-repo1/immutabletagrules/1", rule)
	call(t, h, "PUT", "/system/gc/schedule", map[string]any{"schedule": map[string]any{"type": "Custom", "cron": "0 0 3 * * *"}, "parameters": map[string]any{"delete_untagged": true, "workers": 5, "delete_tag": true}})
	if plan := f.apply(t, Options{}); len(plan.Changes) != 6 {
		t.Errorf("%v", plan.Changes)
	}
	for path, want := range map[string]string{"/replication/policies/N": foreign, "/robots/N": foreign, "/retentions/N": foreign, "/projects/N/webhook/policies/N": foreign, "/projects/N/immutabletagrules/N": foreign,
		"/system/gc/schedule": `"parameters":{"delete_tag":true,"delete_untagged":false,"workers":5}`} {
		if !strings.Contains(rw.put[path], want) {
			t.Errorf("%s loses what is not ours: %s", path, rw.put[path])
		}
	}
	f.settled(t)
	if p := found(t, h, policies, pulls); p["copy_by_chunk"] != true || p["single_active_replication"] != true {
		t.Errorf("%v", p)
	}
}

// A pull does not begin while its last one runs, unless the fleet file says so; pushes on
// events cannot be told that.
func TestPullsDoNotOverlap(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	is := func(name string, single, byChunk bool) {
		t.Helper()
		if p := found(t, h, policies, name); p["single_active_replication"] != single || p["copy_by_chunk"] != byChunk {
			t.Errorf("%s: %v %v", name, p["single_active_replication"], p["copy_by_chunk"])
		}
	}
	is(pulls, true, false)
	is("multi-dc-repo1 to dc2", false, false)
	is("dockerhub->kubernetes-core (library/traefik)", true, false)
	p := found(t, h, policies, pulls)
	call(t, h, "PUT", policies+"/"+id(p), with(p, "single_active_replication", false))
	if plan := f.apply(t, Options{}); len(plan.Changes) != 1 || plan.Changes[0].Fields[0] != (FieldChange{fieldSingle, "false", "true"}) {
		t.Errorf("%v", plan.Changes)
	}
	f.apply(t, Options{}, "replication: { pull", "replication: { single_active: false, copy_by_chunk: true, pull", "every: 15m, flatten", "single_active: false, copy_by_chunk: true, every: 15m, flatten")
	is(pulls, false, true)
	is("multi-dc-repo1 to dc2", false, true)
	is("dockerhub->kubernetes-core (library/traefik)", false, true)
}

// A Harbor that is too old for it says nothing of it: there is nothing to mend.
func TestAHarborWithoutSingleActiveReplication(t *testing.T) {
	f := newTestFleet(t)
	f.rewriting(t, func(path, body string) string {
		if strings.HasPrefix(path, "/replication/policies") {
			body = regexp.MustCompile(`"(single_active_replication|copy_by_chunk)":(true|false),?`).ReplaceAllString(body, "")
		}
		return body
	})
	f.apply(t, Options{})
	f.settled(t)
}
