package namespace_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A registry is known in all the spellings in which clients name it; what the table does not
// name is no registry to dial.
func TestARegistryIsKnownInEverySpelling(t *testing.T) {
	for name, want := range map[string]string{
		"docker.io": "cache-dockerhub", "DOCKER.IO": "cache-dockerhub", "docker.io.": "cache-dockerhub", "docker.io:443": "cache-dockerhub", "Docker.io.:80": "cache-dockerhub",
		"index.docker.io": "cache-dockerhub", "registry-1.docker.io": "cache-dockerhub", "registry.hub.docker.com": "cache-dockerhub", "Hub.Docker.com:443": "cache-dockerhub",
		"quay.io": "cache-quay", "QUAY.IO": "cache-quay", "quay.io:443": "cache-quay", "quay.io:80": "cache-quay", "Quay.io.": "cache-quay",
		"registry.example.net:5000": "cache-local", "REGISTRY.example.net.:5000": "cache-local", "cache-nameless": "cache-nameless",
		"quay.io:5000": "", "registry.example.net": "", "registry.example.net:443": "", "notquay.io": "", "xdocker.io": "", "docker.io.example.net": "", "platform": "", "": "",
	} {
		ns, ok := table().CacheOf(name)
		if ns.Project != want || ok != (want != "") {
			t.Errorf("%q is of %q, want %q", name, ns.Project, want)
		}
		for _, from := range []string{"/v2/org/app/manifests/1?ns=" + name, "/" + name + "/v2/org/app/manifests/1"} {
			if m, err := table().Mean(reached("GET", from)); m.Mirror != (want != "") || want != "" && (err != nil || m.URL.Path != "/v2/"+want+"/org/app/manifests/1") {
				t.Errorf("%s is %v (%v), want %q", from, m.URL, err, want)
			}
		}
	}
}

// reached is a request of a client that has reached the edge by a name of its own.
func reached(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "edge.local:8080"
	return r
}

const refused = "refused"

// meant is what requests mean, those without a method a GET: what is asked for, whether as a
// mirror, and what else it may be.
var meant = []struct {
	in, want  string
	mirror    bool
	otherwise string
}{
	{"/v2/library/nginx/manifests/1?ns=docker.io", "/v2/cache-dockerhub/library/nginx/manifests/1", true, "/v2/library/nginx/manifests/1"},
	{"/v2/org/app/blobs/sha256:aa?ns=quay.io&x=1", "/v2/cache-quay/org/app/blobs/sha256:aa?x=1", true, "/v2/org/app/blobs/sha256:aa?x=1"},
	{"/v2/org/app/manifests/1?ns=cache-nameless", "/v2/cache-nameless/org/app/manifests/1", true, "/v2/org/app/manifests/1"},
	{"/v2/app/manifests/1?ns=quay.io", "/v2/cache-quay/app/manifests/1", true, ""}, // no project and an image in it
	{"POST /v2/app/blobs/uploads/?ns=quay.io", "/v2/cache-quay/app/blobs/uploads/", true, ""},
	{"/v2/tags/manifests/1?ns=quay.io", "/v2/cache-quay/tags/manifests/1", true, ""},
	{"/v2/team/tags/manifests/1?ns=quay.io", "/v2/cache-quay/team/tags/manifests/1", true, "/v2/team/tags/manifests/1"},
	{"/v2/team/blobs/tags/list?ns=quay.io", "/v2/cache-quay/team/blobs/tags/list", true, "/v2/team/blobs/tags/list"},
	{"/v2/team/referrers/blobs/sha256:aa?ns=quay.io", "/v2/cache-quay/team/referrers/blobs/sha256:aa", true, "/v2/team/referrers/blobs/sha256:aa"},
	{"/v2/?ns=docker.io", "/v2/", true, ""},
	{"/v2/_catalog?ns=docker.io", "/v2/_catalog", true, ""},
	{"/docker.io/v2/library/nginx/manifests/1", "/v2/cache-dockerhub/library/nginx/manifests/1", true, ""},
	{"/cache-quay/v2/org/app/tags/list?n=3", "/v2/cache-quay/org/app/tags/list?n=3", true, ""},
	{"/cache-quay/v2/cache-quay/org/app/tags/list?ns=quay.io", "/v2/cache-quay/org/app/tags/list", true, ""},
	{"/cache-quay/v2/", "/v2/", true, ""},
	{"/cache-quay/v2", "/v2", true, ""},

	{"/v2/cache-dockerhub/library/nginx/manifests/1?ns=docker.io", "/v2/cache-dockerhub/library/nginx/manifests/1", false, ""},
	{"/v2/cache-found/org/app/manifests/1?ns=public.ecr.aws", "/v2/cache-found/org/app/manifests/1", false, ""},
	{"/v2/multi-dc-app/eks/coredns/manifests/1?ns=quay.io", "/v2/multi-dc-app/eks/coredns/manifests/1", false, ""},
	{"POST /v2/multi-dc-app/coredns/blobs/uploads/?ns=quay.io&mount=x", "/v2/multi-dc-app/coredns/blobs/uploads/?mount=x", false, ""},
	{"/v2/platform/app/manifests/1?ns=docker.io", "/v2/cache-dockerhub/platform/app/manifests/1", true, "/v2/platform/app/manifests/1"}, // a publisher may be called so
	{"PUT /v2/platform/app/manifests/1?ns=docker.io", "/v2/platform/app/manifests/1", false, ""},
	{"/v2/mirror/org/app/manifests/1?ns=ghcr.io", "/v2/mirror/org/app/manifests/1", false, ""},
	{"/v2/org/app/manifests/1?ns=ghcr.io", "/v2/mirror/org/app/manifests/1", true, "/v2/org/app/manifests/1"},
	{"/mirror/v2/org/app/manifests/1", "/v2/mirror/org/app/manifests/1", true, ""},
	{"/v2/platform/app/tags/list?ns=example.com", "/v2/platform/app/tags/list", false, ""},
	{"/v2/repl-core/app/referrers/sha256:aa?ns=10.0.0.1:80", "/v2/repl-core/app/referrers/sha256:aa", false, ""},
	{"/v2/mirror-ecr/eks/coredns/manifests/1?ns=public.ecr.aws", "/v2/mirror-ecr/eks/coredns/manifests/1", false, ""},

	{"/v2/team/manifests/tags/list?ns=example.com", "/v2/team/manifests/tags/list", false, ""},
	{"/v2/team/blobs/uploads/manifests/1?ns=example.com", "/v2/team/blobs/uploads/manifests/1", false, ""},

	{"PUT /v2/team/app/manifests/1?ns=quay.io", "/v2/team/app/manifests/1", false, ""}, // a cache takes none
	{"POST /v2/team/app/blobs/uploads/?mount=x&ns=docker.io", "/v2/team/app/blobs/uploads/?mount=x", false, ""},
	{"PATCH /v2/team/app/blobs/uploads/77?ns=docker.io", "/v2/team/app/blobs/uploads/77", false, ""},
	{"DELETE /v2/team/app/manifests/1?ns=example.com", "/v2/team/app/manifests/1", false, ""},
	{"PUT /v2/cache-quay/app/manifests/1?ns=quay.io", "/v2/cache-quay/app/manifests/1", false, ""},
	{"PUT /quay.io/v2/team/app/manifests/1", "/v2/cache-quay/team/app/manifests/1", true, ""}, // nothing else is named

	{"/v2/app/manifests/1?ns=", "/v2/app/manifests/1", false, ""},
	{"/v2/app/manifests/1?ns", "/v2/app/manifests/1", false, ""},
	{"/v2/app/manifests/1?ns=harbor.example.org", "/v2/app/manifests/1", false, ""},
	{"/v2/app/manifests/1?ns=HARBOR.example.org.:443", "/v2/app/manifests/1", false, ""},
	{"/v2/team/app/manifests/1?n=1&ns=harbor.example.org:8443", "/v2/team/app/manifests/1?n=1", false, ""},
	{"/v2/app/manifests/1?ns=edge.mad1.example.org", "/v2/app/manifests/1", false, ""},
	{"/v2/app/manifests/1?ns=edge.mad1.example.org:8443", "/v2/app/manifests/1", false, ""},
	{"/v2/app/manifests/1?ns=192.0.2.7:5000", "/v2/app/manifests/1", false, ""},
	{"/v2/app/manifests/1?ns=EDGE.local:8080", "/v2/app/manifests/1", false, ""}, // as the client reached it
	{"/v2/?ns=harbor.example.org", "/v2/", false, ""},
	{"/v2?ns=", "/v2", false, ""},
	{"/harbor.example.org/v2/team/app/manifests/1", "/v2/team/app/manifests/1", false, ""},

	{"/v2/app/manifests/1?ns=example.com", refused, false, ""},
	{"/v2/app/manifests/1?ns=10.0.0.1:80", refused, false, ""},
	{"/v2/app/manifests/1?ns=platform", refused, false, ""}, // no cache
	{"POST /v2/app/blobs/uploads/?ns=example.com", refused, false, ""},
	{"/v2/?ns=example.com", refused, false, ""},
	{"/v2/_catalog?ns=example.com", refused, false, ""},

	{"/v2/app/manifests/1", "/v2/app/manifests/1", false, ""},
	{"/example.com/v2/app/manifests/1", "/example.com/v2/app/manifests/1", false, ""}, // somebody else's path
	{"/api/v2.0/health?ns=docker.io", "/api/v2.0/health?ns=docker.io", false, ""},
	{"/v2/org%2Fapp/manifests/1?ns=quay.io", "/v2/cache-quay/org%2Fapp/manifests/1", true, "/v2/org%2Fapp/manifests/1"}, // to be refused as it came
}

// A client says by ns or by the path which registry it means; a path that names a project is
// that project's, whatever ns says.
func TestWhatAMirrorsClientMeans(t *testing.T) {
	for _, c := range meant {
		method, target, named := strings.Cut(c.in, " ")
		if !named {
			method, target = http.MethodGet, c.in
		}
		r := reached(method, target)
		m, err := table().Mean(r)
		got, otherwise := m.URL.String(), ""
		if err != nil {
			got = refused
		}
		if m.Otherwise != nil {
			otherwise = m.Otherwise.String()
		}
		if got != c.want || m.Mirror != c.mirror || otherwise != c.otherwise {
			t.Errorf("%s is %s (mirror %v, otherwise %q), want %s (%v, %q)", c.in, got, m.Mirror, otherwise, c.want, c.mirror, c.otherwise)
		}
		if r.URL.String() != target {
			t.Errorf("%s was changed to %s", c.in, r.URL)
		}
	}
}
