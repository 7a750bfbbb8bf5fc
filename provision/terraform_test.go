package provision

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// written is a write to a Harbor, as it is or with its body in canonical form.
type written struct{ method, path, body string }

// ours rewrites a body of Terraform's provider into what we send instead; README.md
// says why of each. It is done to ours too, where the values are the machine's.
func ours(t *testing.T, method, path, text string, registries map[float64]string) written {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		t.Fatalf("%s %s %s: %v", method, path, text, err)
	}
	for _, k := range []string{"creation_time", "update_time", "cve_allowlist"} { // unset
		delete(body, k)
	}
	path = regexp.MustCompile(`/\d+$`).ReplaceAllString(strings.TrimPrefix(path, "/api/v2.0"), "/ID")
	switch {
	case path == "/configurations":
		for _, k := range []string{"ldap_scope", "ldap_group_search_scope", "ldap_verify_cert", "scan_all_policy", "self_registration", "oidc_logout"} {
			delete(body, k) // not ours to decide
		}
	case path == "/projects":
		metadata := body["metadata"].(map[string]any)
		for k := range metadata {
			if k != "public" && k != "auto_scan" { // Harbor's own defaults
				delete(metadata, k)
			}
		}
		if id, ok := body["registry_id"].(float64); ok {
			body["registry_id"] = registries[id]
		}
	case path == "/registries":
		delete(body, "id") // 0
		body["description"] = body["description"].(string) + " " + mark
		body["url"] = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(body["url"].(string), "PEER")
	case path == "/robots":
		body["description"] = strings.Replace(body["description"].(string), "(configured with Terraform)", mark, 1)
	case strings.HasPrefix(path, "/retentions"):
		path, method = "/retentions", "POST" // by PUT where a proxy cache was born with one
		delete(body, "id")
		delete(body["scope"].(map[string]any), "ref") // the project's id
		delete(body["trigger"].(map[string]any), "references")
		for _, r := range body["rules"].([]any) {
			delete(r.(map[string]any), "disabled") // false
		}
	case path == "/replication/policies":
		delete(body, "id") // 0
		body["description"] = mark
		for _, k := range []string{"deletion", "replicate_deletion", "single_active_replication"} { // the first two are false
			delete(body, k)
		}
		for _, side := range []string{"src_registry", "dest_registry"} {
			id, _ := body[side].(map[string]any)["id"].(float64)
			body[side] = registries[id]
		}
		trigger := body["trigger"].(map[string]any)
		settings, _ := trigger["trigger_settings"].(map[string]any)
		if cron, ok := settings["cron"].(string); ok { // spread over the interval
			settings["cron"] = regexp.MustCompile(`^0 \d+/15 `).ReplaceAllString(cron, "0 0/15 ")
		}
		filters := body["filters"].([]any) // in any order
		slices.SortFunc(filters, func(a, b any) int {
			return strings.Compare(a.(map[string]any)["type"].(string), b.(map[string]any)["type"].(string))
		})
	}
	out, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return written{method, path, string(out)}
}

// The writes of the article's configuration are those of Terraform's provider, but
// for what is named in README.md.
func TestWritesAreTerraforms(t *testing.T) {
	f := newTestFleet(t)
	f.harborsOwnTags()
	f.text = strings.NewReplacer(`"v2.10.{[0-9],[0-9][0-9]}"`, `"v2.{10}.{?,??}"`, `"2.1.{[0-9],[0-9][0-9]}"`, `"2.1.{?,??}"`).Replace(f.text)
	target, err := url.Parse(f.harbors["dc1"].URL())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var requests []written
	registries := map[float64]string{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method != http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/") {
			mu.Lock()
			requests = append(requests, written{r.Method, r.URL.Path, string(body)})
			mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	f.text = strings.Replace(f.text, target.String(), srv.URL, 1)
	f.apply(t, Options{})
	for _, name := range []string{"dockerhub", "quay.io", "gcr.io", "ghcr.io", "multi-dc-repo1-dc2", "multi-dc-repo1-drp", "multi-dc-repo2-dc2", "multi-dc-repo2-drp"} {
		registries[found(t, f.harbors["dc1"], "/registries", name)["id"].(float64)] = name
	}
	count := map[written]int{}
	for _, r := range requests {
		if strings.HasSuffix(r.path, "/ping") || strings.HasSuffix(r.path, "/webhook/policies") || strings.Contains(r.path, "/labels") || strings.Contains(r.body, "team-a") || strings.Contains(r.body, `"latestPulledN":5}`) || strings.Contains(r.body, "The edge's own") || strings.Contains(r.body, testSecrets["robot-password/edge"]) {
			continue // the recorded configuration has no Artifactory and no edge
		}
		if r.path == "/api/v2.0/registries" || r.path == "/api/v2.0/robots" { // the mark is there already
			r.body = strings.Replace(r.body, " "+mark, map[bool]string{true: " (configured with Terraform)", false: ""}[r.path == "/api/v2.0/robots"], 1)
		}
		w := ours(t, r.method, r.path, r.body, registries)
		count[w]++
	}
	text, err := os.ReadFile("testdata/terraform-requests-dc1.txt")
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[float64]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) == 4 && parts[1] == "/api/v2.0/registries" {
			var body struct{ Name string }
			if err := json.Unmarshal([]byte(parts[3]), &body); err != nil {
				t.Fatal(err)
			}
			theirs[float64(len(theirs)+1)] = body.Name
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) != 4 || !strings.HasPrefix(parts[2], "2") { // what was refused it wrote again
			continue
		}
		w := ours(t, parts[0], parts[1], parts[3], theirs)
		if count[w]--; count[w] < 0 {
			t.Errorf("Terraform writes, and we do not: %s %s %s", w.method, w.path, w.body)
		}
	}
	for w, n := range count {
		if n > 0 {
			t.Errorf("we write, and Terraform does not: %s %s %s", w.method, w.path, w.body)
		}
	}
}
