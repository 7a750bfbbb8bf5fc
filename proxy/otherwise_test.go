package proxy_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// The address of a mirror may end in a Harbor project, as containerd has it with
// override_path: what the path names is that project's, whatever registry ns names beside
// it. Where the fleet has a cache of that registry and the project is a plain one, the cache
// is asked first: a project that is called as a publisher elsewhere does not take its place.
func TestAMirrorsAddressMayEndInAProject(t *testing.T) {
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Namespaces[0].Host, p.Names = "docker.io", []string{"harbor.example.org"}
	})
	of := map[string][]byte{} // the manifests
	for i, reference := range []string{"plain/eks/coredns:1", "multi-dc-demo/eks/coredns:1", "plain/both/app:1", "both/app:1", "plain/both/app:2"} {
		img := image(t, 1000, byte(i))
		of[reference], _ = img.RawManifest()
		if strings.HasPrefix(reference, "both") {
			mustPush(t, s.hub.URL(), "plain/"+reference, img, authn.Anonymous)
		} else {
			mustPush(t, s.harbor.URL(), reference, img, s.admin())
		}
	}
	username, password := s.harbor.Admin()
	admin := map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))}
	for _, c := range []struct{ path, want string }{
		{"plain/eks/coredns/manifests/1?ns=public.ecr.aws", "plain/eks/coredns:1"},
		{"plain/eks/coredns/manifests/1?ns=harbor.example.org:443", "plain/eks/coredns:1"},
		{"plain/eks/coredns/manifests/1?ns=", "plain/eks/coredns:1"},
		{"plain/eks/coredns/manifests/1?ns=docker.io", "plain/eks/coredns:1"},
		{"plain/eks/coredns/manifests/1?ns=Registry-1.docker.io:443", "plain/eks/coredns:1"},
		{"multi-dc-demo/eks/coredns/manifests/1?ns=public.ecr.aws", "multi-dc-demo/eks/coredns:1"},
		{"multi-dc-demo/eks/coredns/manifests/1?ns=docker.io", "multi-dc-demo/eks/coredns:1"},
		{"cache-dockerhub/plain/both/app/manifests/1?ns=public.ecr.aws", "both/app:1"},
		{"plain/both/app/manifests/1?ns=public.ecr.aws", "plain/both/app:1"},
		{"plain/both/app/manifests/1?ns=docker.io", "both/app:1"},
		{"plain/both/app/manifests/2?ns=docker.io", "plain/both/app:2"}, // the registry has no such tag
	} {
		same(t, c.path, s.do(t, http.MethodGet, "/v2/"+c.path, admin), of[c.want])
		if a := s.do(t, http.MethodHead, "/v2/"+c.path, admin); a.status != http.StatusOK {
			t.Errorf("HEAD %s: %d", c.path, a.status)
		}
	}
	for path, want := range map[string]int{
		"plain/eks/coredns/tags/list?ns=docker.io":      http.StatusOK,
		"plain/eks/coredns/manifests/none?ns=docker.io": http.StatusNotFound,
		"nowhere/app/manifests/1?ns=docker.io":          http.StatusNotFound,
	} {
		if a := s.do(t, http.MethodGet, "/v2/"+path, admin); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	const both = `scope="repository:cache-dockerhub/plain/eks/coredns:pull repository:plain/eks/coredns:pull"`
	s.harbor.ResetRequests()
	if a := s.do(t, http.MethodGet, "/v2/plain/eks/coredns/manifests/1?ns=docker.io", nil); len(s.harbor.Requests()) != 0 || a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("Www-Authenticate"), both) {
		t.Errorf("without credentials: %d %v, asked %v", a.status, a.header, s.harbor.Requests())
	}
	bearer := map[string]string{"Authorization": "Bearer " + s.token(t, reader, "repository:cache-dockerhub/plain/eks/coredns:pull+repository:plain/eks/coredns:pull")}
	if a := s.do(t, http.MethodGet, "/v2/plain/eks/coredns/manifests/1?ns=docker.io", bearer); a.status != http.StatusNotFound || a.code() != "MANIFEST_UNKNOWN" && a.code() != "NAME_UNKNOWN" {
		t.Errorf("of somebody who may not read the project: %d %s", a.status, a.body)
	}
	if err := s.hub.SetFaults(lab.Fault{Name: "429", Path: "/manifests/"}); err != nil {
		t.Fatal(err)
	}
	same(t, "the registry has had enough", s.do(t, http.MethodGet, "/v2/plain/eks/coredns/manifests/1?ns=docker.io", admin), of["plain/eks/coredns:1"])
	s.hub.Close() //nolint:errcheck // the test ends
	same(t, "the registry is down", s.do(t, http.MethodGet, "/v2/plain/eks/coredns/manifests/1?ns=docker.io", admin), of["plain/eks/coredns:1"])
}
