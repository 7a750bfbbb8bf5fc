package provision

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rtclient "github.com/go-openapi/runtime/client"
)

// go-client prints every request with its body where DEBUG is in the environment.
func TestDebuggingPrintsNoSecrets(t *testing.T) {
	t.Setenv("DEBUG", "1")
	t.Setenv("SWAGGER_DEBUG", "1")
	h, err := newHarbor("http://127.0.0.1:1", "admin", "x", nil)
	if err != nil || h.api.Transport.(*rtclient.Runtime).Debug {
		t.Error("bodies would be printed", err)
	}
}

// A Harbor's certificate is verified, by the system's CAs or those of harbor.ca.
func TestCertificatesAreVerified(t *testing.T) {
	f := newTestFleet(t)
	target, err := url.Parse(f.harbors["dc1"].URL())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	overTLS := []string{target.String(), srv.URL}
	if plan := f.plan(t, f.open(t, Options{Datacenters: []string{"dc1"}}, overTLS...)); len(plan.Faults) != 1 || !strings.Contains(plan.Faults[0].Message, "certificate") {
		t.Errorf("a certificate of nobody is believed: %v", plan.Faults)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if plan := f.plan(t, f.open(t, Options{Datacenters: []string{"dc1"}}, append(overTLS, "harbor:\n  username", "harbor:\n  ca: "+ca+"\n  username")...)); len(plan.Faults) != 0 {
		t.Errorf("%v", plan.Faults)
	}
}

// A robot of the system, which has no session and may not see everything, can plan.
func TestPlanWithARobot(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	body := map[string]any{"name": "planner", "level": "system", "duration": -1, "permissions": []any{
		map[string]any{"kind": "system", "namespace": "/", "access": access("list", "project", "registry", "replication-policy", "robot", "quota")},
		map[string]any{"kind": "project", "namespace": "*", "access": append(access("list", "robot", "member", "immutable-tag", "tag-retention", "notification-policy"), access("read", "tag-retention", "project", "quota")...)},
	}}
	for _, h := range f.harbors {
		call(t, h, "POST", "/robots", body)
		call(t, h, "PATCH", "/robots/"+id(found(t, h, "/robots", "robot$planner")), map[string]any{"secret": "Planner1secret"})
	}
	f.vault.Store("admin-user", "robot$planner")
	f.vault.Store("admin-password", "Planner1secret")
	plan := f.plan(t, f.open(t, Options{}))
	if len(plan.Faults) != 0 || len(plan.Changes) != 0 || !strings.Contains(strings.Join(plan.Notes, "\n"), "configuration oidc: this account may not see it") {
		t.Errorf("%v %v %v", plan.Faults, plan.Changes, plan.Notes)
	}
}

func access(action string, resources ...string) (all []any) {
	for _, resource := range resources {
		all = append(all, map[string]any{"resource": resource, "action": action})
	}
	return all
}
