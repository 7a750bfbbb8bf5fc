package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
)

// The account that registries abroad know, and what is written of it in the fleet file.
const userAbroad, passwordAbroad = "somebody", "correct-horse-battery"

// lines are what docs/upstreams.md has for each dialect's registry in the fleet file.
var lines = map[string]string{
	"Docker Hub":                   `provider: docker-hub`,
	"quay.io":                      `endpoint: "https://quay.io"`,
	"ghcr.io":                      `provider: github-ghcr, endpoint: "https://ghcr.io"`,
	"gcr.io and Artifact Registry": `provider: google-gcr, endpoint: "https://europe-docker.pkg.dev"`,
	"registry.k8s.io":              `endpoint: "https://registry.k8s.io"`,
	"public.ecr.aws":               `endpoint: "https://public.ecr.aws"`,
	"ECR private":                  `provider: aws-ecr, endpoint: "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com"`,
	"ACR":                          `provider: azure-acr, endpoint: "https://contoso.azurecr.io"`,
	"GitLab":                       `endpoint: "https://registry.gitlab.com"`,
	"Artifactory, subdomain":       `provider: jfrog-artifactory, endpoint: "https://docker-local.art.example.com"`,
	"Artifactory, path":            `endpoint: "https://art.example.com/artifactory/api/docker/docker-local"`,
	"Nexus":                        `endpoint: "https://nexus.example.com/repository/docker-hosted"`,
	"Gitea":                        `endpoint: "https://gitea.example.com"`,
	"Forgejo":                      `endpoint: "https://codeberg.org"`,
	"Quay":                         `endpoint: "https://quay.example.com"`,
	"zot":                          `endpoint: "https://zot.example.com"`,
	"distribution 2.8":             `endpoint: "https://reg2.example.com"`,
	"distribution 3":               `endpoint: "https://reg3.example.com"`,
}

// abroad is an edge whose Harbor gets nothing from upstreams, and an upstream of each dialect.
type abroad struct {
	*testing.T
	edge       string
	registries []*lab.Abroad
}

// harborThatCannot says of caches what a Harbor says whose upstreams do not answer.
func harborThatCannot(w http.ResponseWriter, r *http.Request) {
	says := lab.Says{Status: http.StatusNotFound, Code: "NOT_FOUND"}
	switch {
	case r.URL.Path == "/v2/":
		says = lab.Says{Status: http.StatusOK, Body: "{}", Header: http.Header{"Content-Type": {"application/json"}}}
	case strings.Contains(r.URL.Path, "/referrers/"):
		says = lab.Says{Status: http.StatusOK, Body: `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`}
	case strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet:
		says = lab.Says{Status: http.StatusInternalServerError, Code: "UNKNOWN"}
	}
	says.ServeHTTP(w, r)
}

// startAbroad starts all of it. Each upstream is the cache c<i>, with a login login-<i>, and
// with a wrong one wrong-<i>.
func startAbroad(t *testing.T) *abroad {
	a := &abroad{T: t}
	hosts := map[string]http.Handler{}
	var caches strings.Builder
	t.Setenv("UPSTREAM_PASSWORD", passwordAbroad)
	t.Setenv("UPSTREAM_PASSWORD_WRONG", "another")
	for i, d := range lab.Dialects {
		r := lab.NewAbroad(d, userAbroad, passwordAbroad)
		if strings.Contains(lines[d.Name], "aws-ecr") {
			r = lab.NewAbroad(d, "AWS", "a-token-of-"+userAbroad)
			hosts["api.ecr.eu-west-1.amazonaws.com"] = &lab.TokenAPI{Registry: r, Region: "eu-west-1", AccessKey: userAbroad, SecretKey: passwordAbroad, Lifetime: 12 * time.Hour}
		}
		a.registries = append(a.registries, r)
		for _, host := range r.Hosts() {
			hosts[host] = r
		}
		fmt.Fprintf(&caches, "    c%d: { %s }\n", i, lines[d.Name])
		for name, secret := range map[string]string{"login": "UPSTREAM_PASSWORD", "wrong": "UPSTREAM_PASSWORD_WRONG"} {
			fmt.Fprintf(&caches, "    %s-%d: { %s, username: %s, password: \"env:%s\" }\n", name, i, lines[d.Name], userAbroad, secret)
		}
	}
	net, err := lab.StartInternet(hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { net.Close() })
	harbor := httptest.NewServer(http.HandlerFunc(harborThatCannot))
	t.Cleanup(harbor.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, net.Authority, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Load("fleet.yaml", fmt.Appendf(nil, `domain: h.example.org
datacenters: { par1: { harbor: %q } }
projects:
  cache:
    defaults: { public: true, proxy: %q, ca: %q }
%sedge: { plain_http: true, listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", freshness: { cache: 0s }, store: { path: %q, size: 1GiB } }
`, harbor.URL, net.URL, ca, caches.String(), dir+"/store"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEdge(t.Context(), EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	server := httptest.NewServer(e.handler)
	t.Cleanup(server.Close)
	a.edge = server.URL
	return a
}

// said is an answer of the edge.
type said struct {
	status int
	header http.Header
	body   string
}

func (a *abroad) get(path string, header ...string) said {
	a.Helper()
	req, err := http.NewRequestWithContext(a.Context(), http.MethodGet, a.edge+"/v2/"+path, nil)
	if err != nil {
		a.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.Error(path, err)
	}
	return said{resp.StatusCode, resp.Header, string(body)}
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

// filled puts an image of one layer under a tag.
func filled(r *lab.Abroad, repo, tag, layer string) (manifest string, d digest.Digest) {
	config := `{"architecture":"amd64","os":"linux"}`
	manifest = fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`, ociManifest, digest.FromString(config), len(config), digest.FromString(layer), len(layer))
	return manifest, r.Put(repo, tag, lab.Held{MediaType: ociManifest, Body: []byte(manifest)}, []byte(config), []byte(layer))
}

// The page has each registry by name, and what is written for it is what is tried.
func TestThePageOfUpstreams(t *testing.T) {
	text, err := os.ReadFile("../../../docs/upstreams.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range lab.Dialects {
		_, row, _ := strings.Cut(string(text), "\n| "+d.Name+" | `")
		if row, _, _ = strings.Cut(row, "\n"); lines[d.Name] == "" || !strings.Contains(row, ": { "+lines[d.Name]+" }`") {
			t.Errorf("%s: the row is %q, and what is tried %q", d.Name, row, lines[d.Name])
		}
	}
}

// A client of the edge pulls, lists and verifies as it is used to, whatever dialect the registry
// behind it speaks, while Harbor cannot help.
func TestEveryDialectOfAnUpstream(t *testing.T) {
	a := startAbroad(t)
	for i, r := range a.registries {
		t.Run(r.Name, func(t *testing.T) {
			a := &dialect{&abroad{t, a.edge, nil}, r, fmt.Sprintf("cache-c%d/", i), fmt.Sprintf("cache-login-%d/", i)}
			open := a.open
			if len(r.Challenge) == 0 {
				a.login = a.open
			}
			if r.Private {
				open = a.login
			}
			a.pulls(open, "org/app")
			a.moves(open + "org/moved")
			a.lists(open)
			a.verifies(open)
			a.want("a repo that is not there", http.StatusNotFound, a.get(open+"org/typo/manifests/v1"))
			if len(r.Challenge) > 0 {
				a.logsIn(fmt.Sprintf("cache-wrong-%d/", i))
			}
			a.limits(open)
		})
	}
}

// dialect is one registry, and the projects that are caches of it.
type dialect struct {
	*abroad
	registry    *lab.Abroad
	open, login string
}

func (a *dialect) want(what string, status int, got said) {
	a.Helper()
	if got.status != status {
		a.Errorf("%s: %d, want %d: %.200s", what, got.status, status, got.body)
	}
}

// pulls takes a manifest by its tag and its digest, a blob, and a part of another.
func (a *dialect) pulls(project, repo string) {
	a.Helper()
	layer := strings.Repeat("0123456789", 1000) + a.registry.Name + repo
	manifest, d := filled(a.registry, repo, "v1", layer)
	for _, reference := range []string{"v1", d.String()} {
		got := a.get(project+repo+"/manifests/"+reference, "Accept", ociManifest)
		a.want("manifest "+reference, http.StatusOK, got)
		if got.status == http.StatusOK && (got.body != manifest || got.header.Get("Content-Type") != ociManifest || got.header.Get("Docker-Content-Digest") != d.String()) {
			a.Errorf("manifest %s: %v %s", reference, got.header, got.body)
		}
	}
	got := a.get(project+repo+"/blobs/"+digest.FromString(layer).String(), "Range", "bytes=10-19")
	if got.status != http.StatusPartialContent || got.body != layer[10:20] {
		a.Errorf("a part of a blob: %d %.50q", got.status, got.body)
	}
	got = a.get(project + repo + "/blobs/" + digest.FromString(layer).String())
	if got.status != http.StatusOK || got.body != layer {
		a.Errorf("a blob: %d, %d bytes", got.status, len(got.body))
	}
}

// moves sees a tag before and after it is moved.
func (a *dialect) moves(repo string) {
	a.Helper()
	_, name, _ := strings.Cut(repo, "/")
	for _, layer := range []string{"before", "after"} {
		manifest, _ := filled(a.registry, name, "v1", layer)
		if got := a.get(repo+"/manifests/v1", "Accept", ociManifest); got.status != http.StatusOK || got.body != manifest {
			a.Errorf("a tag %s it was moved: %d %.300s", layer, got.status, got.body)
		}
	}
}

// lists takes all tags, of several pages.
func (a *dialect) lists(project string) {
	a.Helper()
	var all []string
	for n := range 250 {
		all = append(all, fmt.Sprintf("t%04d", n))
		filled(a.registry, "org/tags", all[n], "one")
	}
	got := a.get(project + "org/tags/tags/list")
	var list struct{ Tags []string }
	if err := json.Unmarshal([]byte(got.body), &list); got.status != http.StatusOK || err != nil || !slices.Equal(list.Tags, all) {
		a.Errorf("tags: %d, %d of 250, %v", got.status, len(list.Tags), err)
	}
}

// verifies looks for the signatures of an image that is signed, and of an image and an index that are not.
func (a *dialect) verifies(project string) {
	a.Helper()
	_, signed := filled(a.registry, "org/app", "signed", "signed")
	child, of := filled(a.registry, "org/app", "", "bare")
	bare := a.registry.Put("org/app", "bare", lab.Held{MediaType: ociIndex, Body: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ociIndex, ociManifest, of, len(child))})
	signature := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3,"artifactType":"application/x"}`, ociManifest, digest.FromString("sig"))
	a.registry.Refer("org/app", signed, signature)
	for d, want := range map[digest.Digest]int{signed: 1, bare: 0, of: 0} {
		got := a.get(project + "org/app/referrers/" + d.String())
		var index struct{ Manifests []json.RawMessage }
		if err := json.Unmarshal([]byte(got.body), &index); got.status != http.StatusOK || err != nil || len(index.Manifests) != want {
			a.Errorf("referrers of %s, where %d are: %d %.300s", d, want, got.status, got.body)
		}
	}
}

// logsIn pulls what is for the account alone: with its password, without, with another, and after it has ended.
func (a *dialect) logsIn(wrong string) {
	a.Helper()
	a.pulls(a.login, "private/app")
	a.want("what is not there, with a login", http.StatusNotFound, a.get(a.login+"org/typo/manifests/v1"))
	nobodys := http.StatusNotFound
	if strings.Contains(lines[a.registry.Name], "aws-ecr") { // Harbor alone fetches from there
		nobodys = http.StatusServiceUnavailable
		if a.registry.Shown(passwordAbroad) {
			a.Error("the secret key of an account was shown to its registry")
		}
	}
	a.want("what is private, without a login", nobodys, a.get(a.open+"private/app/manifests/v1"))
	a.want("what is private, with a wrong password", http.StatusServiceUnavailable, a.get(wrong+"private/app/manifests/v1"))
	manifest, _ := filled(a.registry, "private/ended", "v1", "ended")
	a.want("before the password ends", http.StatusOK, a.get(a.login+"private/ended/manifests/v1"))
	a.registry.Revoke()
	filled(a.registry, "private/ended", "v1", "moved")
	if got := a.get(a.login + "private/ended/manifests/v1"); got.status != http.StatusOK || got.body != manifest {
		a.Errorf("the copy, after the password has ended: %d %.200s", got.status, got.body)
	}
	filled(a.registry, "private/new", "v1", "new")
	for _, path := range []string{"private/new/manifests/v1", "private/new/tags/list", "private/new/blobs/" + digest.FromString("new").String()} {
		a.want(path+", after the password has ended", http.StatusServiceUnavailable, a.get(a.login+path))
	}
	a.registry.Reinstate()
}

// limits is told that it asked too much: what is held stays, and what is not may be asked for later.
func (a *dialect) limits(project string) {
	a.Helper()
	filled(a.registry, "org/other", "v1", "other")
	a.registry.SetLimited(true)
	got := a.get(project + "org/other/manifests/v1")
	a.want("too many requests", http.StatusServiceUnavailable, got) // Harbor did not say 429 too
	if got.header.Get("Retry-After") == "" {
		a.Error("too many requests, and it is not said when to come again")
	}
	a.want("the copy, after too many requests", http.StatusOK, a.get(project+"org/app/manifests/v1"))
}
