package lab

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// terraformNumbers are those that Harbor gave while Terraform asked for several
// things at once: what the request's body has, the table, the number.
var terraformNumbers = []struct {
	path, body, table string
	number            int
}{
	{"/robots", `"name":"sync".*multi-dc-repo2`, "robots", 1}, {"/robots", `"name":"readonly".*multi-dc-repo1`, "robots", 2},
	{"/robots", `"name":"readwrite".*multi-dc-repo1`, "robots", 3}, {"/robots", `"name":"readwrite".*multi-dc-repo2`, "robots", 4},
	{"/robots", `"name":"readonly".*multi-dc-repo2`, "robots", 5}, {"/robots", `"name":"sync".*multi-dc-repo1`, "robots", 6},
	{"/projects", "cache-ghcr.io", "projects", 7}, {"/projects", "cache-ghcr.io", "retentions", 4},
	{"/projects", "cache-dockerhub", "projects", 6}, {"/projects", "cache-dockerhub", "retentions", 5},
	{"/projects", "cache-quay.io", "projects", 5}, {"/projects", "cache-quay.io", "retentions", 6},
	{"/projects", "cache-gcr.io", "projects", 8}, {"/projects", "cache-gcr.io", "retentions", 7},
}

// TestTerraform sends what Terraform's provider sends for one datacenter of three,
// and wants the answers that Harbor gave.
func TestTerraform(t *testing.T) {
	text, err := os.ReadFile("testdata/terraform-requests-dc1.txt")
	if err != nil {
		t.Fatal(err)
	}
	upstream := startUpstream(t)
	where := map[string]string{}
	for _, outside := range []string{"https://ghcr.io", "https://gcr.io", "https://hub.docker.com", "https://quay.io"} {
		where[outside] = upstream.URL()
	}
	for _, port := range []string{"28082", "28083"} {
		peer := startHarbor(t, testKey())
		where["http://127.0.0.1:"+port] = peer.URL()
		for _, repo := range []string{"repo1", "repo2"} {
			peer.CreateProject("multi-dc-"+repo, false)
			peer.CreateRobot("multi-dc-"+repo, "sync", "Replication1"+repo, "pull", "push")
		}
	}
	h, err := StartHarbor(HarborConfig{Key: testKey(), Registries: where})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	line := regexp.MustCompile(`^(\S+) (/api/v2\.0\S+) (\d+) (.*)$`)
	n := 0
	for s := range strings.Lines(string(text)) {
		m := line.FindStringSubmatch(strings.TrimSpace(s))
		if m == nil {
			t.Fatalf("no request: %q", s)
		}
		for _, set := range terraformNumbers {
			if m[1] == http.MethodPost && strings.HasSuffix(m[2], set.path) && regexp.MustCompile(set.body).MatchString(m[4]) {
				h.db.mu.Lock()
				h.db.nextID[set.table] = set.number - 1
				h.db.mu.Unlock()
			}
		}
		n++
		t.Run(fmt.Sprint(n), func(t *testing.T) { terraformSends(t, h, m[1], m[2], m[3], m[4]) })
	}
}

func terraformSends(t *testing.T, h *Harbor, method, path, status, body string) {
	t.Helper()
	req, err := http.NewRequest(method, h.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(h.Admin())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); fmt.Sprint(resp.StatusCode) != status {
		t.Errorf("%s %s %s\n%d, Harbor's %s: %s", method, path, body, resp.StatusCode, status, answer)
	}
}
