package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

// Whatever of Harbor is dead, who reads a plain project, logs in, asks for the catalog or
// pushes is told to come again, in the specification's words: not that his password is wrong,
// not by a page, and not where Harbor's database is. What Harbor says when it is well passes.
func TestPlainProjectsWhileHarborCannotSay(t *testing.T) {
	s := newSite(t)
	s.harbor.CreateRobot("plain", "reader", secret, "pull", "push")
	mustPush(t, s.harbor.URL(), "plain/app:v1", image(t, 1000, 1), s.admin())
	user := "robot$plain+reader"
	right, wrong := map[string]string{"Authorization": basicHeader(user, secret)}, map[string]string{"Authorization": basicHeader(user, "wrong")}
	token := s.as(t, user, "plain/app")
	digest := "sha256:" + strings.Repeat("1", 64)
	paths := []string{"/v2/", manifests("plain/app"), "/v2/plain/app/blobs/" + digest, "/v2/plain/app/tags/list", "/v2/plain/app/referrers/" + digest}
	well := []struct {
		what, path string
		header     map[string]string
		want       int
	}{
		{"a login", "/v2/", right, 200}, {"a wrong one", "/v2/", wrong, 401},
		{"a pull", manifests("plain/app"), right, 200}, {"a wrong password", manifests("plain/app"), wrong, 401}, {"a token", manifests("plain/app"), token, 200},
		{"what is not there", "/v2/plain/app/manifests/none", right, 404}, {"a project that is not", "/v2/none/app/manifests/v1", right, 401},
	}
	asHarbor := func(when string) {
		t.Helper()
		for _, c := range well {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				if a := s.do(t, method, c.path, c.header); a.status != c.want {
					t.Errorf("%s, %s: %s is %d, want %d", when, c.what, method, a.status, c.want)
				}
			}
		}
	}
	asHarbor("all is well")
	for _, fault := range []lab.Fault{{Name: "db-down"}, {Name: "core-down"}, {Name: "registry-down"}, {Name: "down"}, {Name: "500"}, {Name: "502"}, {Name: "503", RetryAfter: 30}, {Name: "504"}, {Name: "html"}} {
		if err := s.harbor.SetFaults(fault); err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			for _, header := range []map[string]string{right, token} {
				if path == "/v2/" && header["Authorization"] == token["Authorization"] || fault.Name == "registry-down" && (strings.Contains(path, "referrers") || strings.Contains(path, "tags")) {
					continue // it is answered here; from Harbor's database
				}
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					s.comeAgain(t, fmt.Sprintf("%s: %s %s", fault.Name, method, path), s.do(t, method, path, header))
				}
			}
		}
		if a := s.do(t, http.MethodGet, "/v2/_catalog", map[string]string{"Authorization": s.asAdmin()}); fault.Name != "registry-down" || a.status != http.StatusOK {
			s.comeAgain(t, fault.Name+": the catalog", a)
		}
		for _, path := range []string{"/v2/plain/app/blobs/uploads/", "/v2/plain/app/manifests/v2"} {
			if fault.Name == "500" {
				continue // Harbor says so of a manifest that is none
			}
			method := map[bool]string{true: http.MethodPost, false: http.MethodPut}[strings.HasSuffix(path, "/")]
			s.comeAgain(t, fault.Name+": "+method+" "+path, s.request(t, method, s.edge.URL+path, right["Authorization"], indexType, map[bool]string{false: note("x")}[method == http.MethodPost]))
		}
	}
	s.harbor.ClearFaults()
	asHarbor("all is well again")
}

// comeAgain fails where an answer is not 503 with Retry-After, or has words of what is inside.
func (s *site) comeAgain(t *testing.T, what string, a answer) {
	t.Helper()
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || a.header.Get("Www-Authenticate") != "" {
		t.Errorf("%s is %d, %v", what, a.status, a.header)
	}
	body := string(a.body)
	if strings.Contains(body, "postgres") || strings.Contains(body, "127.0.0.1") || body != "" && !strings.Contains(body, `"code":"UNAVAILABLE"`) {
		t.Errorf("%s says %s", what, body)
	}
}

// A registry that is no Harbor has no API to tell of its database by: its refusal is one.
func TestARefusalOfARegistryThatIsNoHarbor(t *testing.T) {
	s := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v2/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	})
	for _, path := range []string{"/v2/", manifests("plain/app")} {
		a := s.do(t, http.MethodGet, path, map[string]string{"Authorization": basicHeader("somebody", "wrong")})
		if a.status != http.StatusUnauthorized || !strings.Contains(string(a.body), "authentication required") {
			t.Errorf("%s is %d, %s", path, a.status, a.body)
		}
	}
}

// guarantees.md's table "Where an edge answers otherwise than Harbor", and where it does not.
func TestWhereAnEdgeAnswersOtherwise(t *testing.T) {
	s := newSite(t)
	paths := s.filled(t)
	tag, layer, referrers := paths[0], paths[2], paths[4]
	token := s.as(t, reader, "multi-dc-demo/app")["Authorization"]
	etag := s.do(t, http.MethodGet, tag, map[string]string{"Authorization": token}).header.Get("Etag")
	for _, row := range []struct {
		what, method, path, header, value string
		status                            int
		has, is                           string // a header of the answer, and what it is
	}{
		{"a bad digest", "GET", app + "sha256:zz", "Accept", "*/*", 400, "", ""},
		{"an upper case repo", "GET", "/v2/multi-dc-demo/App/manifests/v1", "Accept", "*/*", 400, "", ""},
		{"no end point", "OPTIONS", tag, "Accept", "*/*", 405, "Allow", ""},
		{"another type", "GET", tag, "Accept", "application/vnd.oci.image.index.v1+json", 200, "Content-Security-Policy", ""},
		{"an index is not accepted", "GET", app + "sig", "Accept", "application/vnd.docker.distribution.manifest.v2+json", 200, "Content-Type", indexType},
		{"a weak tag", "GET", tag, "If-None-Match", "W/" + etag, 304, "", ""},
		{"a list", "GET", tag, "If-None-Match", `"x", ` + etag, 304, "", ""},
		{"any", "GET", tag, "If-None-Match", "*", 304, "", ""},
		{"a bare digest", "GET", tag, "If-None-Match", strings.Trim(etag, `"`), 200, "Etag", etag},
		{"HEAD as GET", "HEAD", layer, "Accept", "*/*", 200, "Cache-Control", "max-age=31536000"},
		{"the count", "GET", referrers, "Accept", "*/*", 200, "X-Total-Count", "1"},
		{"the count, before the filter", "GET", referrers + "?artifactType=none", "Accept", "*/*", 200, "X-Total-Count", "1"},
	} {
		a := s.do(t, row.method, row.path, map[string]string{"Authorization": token, row.header: row.value})
		if a.status != row.status || row.has != "" && a.header.Get(row.has) != row.is {
			t.Errorf("%s: %d, %v", row.what, a.status, a.header)
		}
	}
}
