package proxy_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
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

// ofDockerHub has the edge know its cache by the name that is in images.
func ofDockerHub(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
	p.Namespaces[0].Host = "docker.io"
}

// A cache whose list is empty hides nothing that the plain project has: Harbor's word of a
// cache is empty where its upstream has nothing. Where the cache cannot say, "none" of the
// project alone is no answer: a verifier takes it for "not signed".
func TestAnEmptyListOfACacheHidesNoProjects(t *testing.T) {
	r := newRegion(t, ofDockerHub)
	s := r.sites[0]
	s.harbor.CreateProject("plain", false)
	img, bare := image(t, 1000, 1), image(t, 1000, 2)
	signature := referring(t, img, "application/vnd.example.signature")
	for reference, image := range map[string]v1.Image{"plain/eks/coredns:1": img, "plain/eks/coredns:sig": signature, "plain/eks/coredns:bare": bare} {
		mustPush(t, s.harbor.URL(), reference, image, s.admin())
	}
	mustPush(t, s.hub.URL(), "plain/eks/coredns:other", image(t, 1000, 3), authn.Anonymous) // the cache has the repo, and not this
	admin := map[string]string{"Authorization": s.asAdmin(), "Accept-Encoding": "gzip"}
	want, _ := signature.Digest()
	if digests, a := s.referrers(t, "plain/eks/coredns", img, "?ns=docker.io", admin); fmt.Sprint(digests) != "["+want.String()+"]" {
		t.Errorf("signed: %d %v %s", a.status, a.header, a.body)
	}
	if digests, a := s.referrers(t, "plain/eks/coredns", bare, "?ns=docker.io", admin); a.status != http.StatusOK || len(digests) != 0 {
		t.Errorf("not signed: %d %s", a.status, a.body)
	}
	bearer := map[string]string{"Authorization": "Bearer " + s.token(t, reader, "repository:cache-dockerhub/plain/eks/coredns:pull+repository:plain/eks/coredns:pull")}
	if digests, a := s.referrers(t, "plain/eks/coredns", img, "?ns=docker.io", bearer); a.status != http.StatusOK || len(digests) != 0 {
		t.Errorf("who may not read the project reads the cache's: %d %s", a.status, a.body)
	}
	r.hub.Close() //nolint:errcheck // the test ends
	if digests, a := s.referrers(t, "plain/eks/coredns", img, "?ns=docker.io", admin); fmt.Sprint(digests) != "["+want.String()+"]" {
		t.Errorf("signed, and the registry is down: %d %v %s", a.status, a.header, a.body)
	}
	if _, a := s.referrers(t, "plain/eks/coredns", bare, "?ns=docker.io", admin); a.status != http.StatusServiceUnavailable {
		t.Errorf("not signed, and the registry is down: %d %v %s", a.status, a.header, a.body)
	}
}

// A cache that Harbor does not list for the edge hides no plain project either.
func TestAnUnlistedCacheHidesNoProject(t *testing.T) {
	s := newSite(t)
	s.harbor.CreateSystemRobot("few", secret)
	s.grantFew(t)
	if err := s.harbor.CreateCache("cache-private", "private", s.hub.URL(), false); err != nil {
		t.Fatal(err)
	}
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, asFew, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Namespaces = append(p.Namespaces, namespace.Namespace{Project: "cache-private", Kind: namespace.Cache, Host: "hub.example.net"})
	})
	img := image(t, 1000, 1)
	signature := referring(t, img, "application/vnd.example.signature")
	mustPush(t, s.harbor.URL(), "plain/eks/coredns:1", img, s.admin())
	mustPush(t, s.harbor.URL(), "plain/eks/coredns:sig", signature, s.admin())
	mustPush(t, s.hub.URL(), "plain/eks/coredns:other", image(t, 1000, 3), authn.Anonymous) // the cache has the repo, and not this
	admin := map[string]string{"Authorization": s.asAdmin()}
	raw, _ := img.RawManifest()
	same(t, "a manifest", s.do(t, http.MethodGet, "/v2/plain/eks/coredns/manifests/1?ns=hub.example.net", admin), raw)
	want, _ := signature.Digest()
	if digests, a := s.referrers(t, "plain/eks/coredns", img, "?ns=hub.example.net", admin); fmt.Sprint(digests) != "["+want.String()+"]" {
		t.Errorf("signed: %d %v %s", a.status, a.header, a.body)
	}
}

// A push beside which a client names a registry goes to the project in its path.
func TestAPushThatNamesARegistryGoesToItsProject(t *testing.T) {
	s := newSite(t, ofDockerHub)
	admin := map[string]string{"Authorization": s.asAdmin()}
	for _, repo := range []string{"plain/eks/coredns", "plain/tags", "plain/blobs/uploads"} {
		d := digest.FromString("a layer")
		status, location := s.send(t, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?ns=docker.io", admin, nil)
		if status != http.StatusAccepted {
			t.Fatalf("%s: %d", repo, status)
		}
		if status, _ := s.send(t, http.MethodPut, withDigest(location, d)+"&ns=docker.io", admin, strings.NewReader("a layer")); status != http.StatusCreated {
			t.Errorf("%s: %d", repo, status)
		}
		same(t, repo, s.do(t, http.MethodGet, "/v2/"+repo+"/blobs/"+d.String()+"?ns=docker.io", admin), []byte("a layer"))
	}
	if status, _ := s.send(t, http.MethodPost, "/v2/nginx/blobs/uploads/?ns=docker.io", admin, nil); status < 400 {
		t.Errorf("no project is named: %d", status)
	}
}
