package lab

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// What the recorded Harbors held. The manifests are the recorded bytes; layers
// are of the recorded sizes, under the recorded digests, which distribution
// does not check when it reads.
const (
	privManifest   = "sha256:8244952a9434b01152b36a76948e0e94e081c4c0f646145d004859e4914f1af0"
	privOther      = "sha256:5ba7274810c1316c27f2d63c4a29db3f1d181ca7ad6c95e92cca343397d27683"
	privReferrer   = "sha256:f01f18581c2ce435745b6f5f543f7c9ae9add3f3aa1e9f6629014a85128c7408"
	pubManifest    = "sha256:3f986c6d2694201fe0d4c1b65edb4674d20a22b37a49d82c75264e8170ad9f84"
	layerDigest    = "sha256:5ac9ae7628e5eda5b7d958fc0bc3f50d8f44d0b34df4b4309fdafd433f49d9c6"
	smallLayer     = "sha256:b930f1e697834e9c5aab89e47accfab0c9a845fbaaa52c249cec6cad4cb5fdae"
	cachedManifest = "sha256:f81f0b2db35cc91efab5362eaf24cd7a74aead10ec331d4dad36d974dd484459"
	cachedLayer    = "sha256:2d674a0e2e2a22a51a348811a83fa98c273469f58d82705d83c1c4d08bf02b3c"
	cachedConfig   = "sha256:17357ce39195ac0acae23cc67bd5e0a824a7e341ac2e68f0800f3752d70040eb"
	schema2        = "application/vnd.docker.distribution.manifest.v2+json"
	robotSecret    = "Chosen5ecretABC"
)

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// fixture is the fleet of the recordings, as it was when one of them was made.
type fixture struct {
	name    string
	key     *rsa.PrivateKey
	harbors map[string]*Harbor // by recorded port
}

func newFixture(t *testing.T, name string) *fixture {
	return &fixture{name: name, key: testKey(), harbors: map[string]*Harbor{}}
}

// host is where the recorded host is now.
func (f *fixture) host(t *testing.T, recorded string) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(recorded)
	h := f.harbors[port]
	if h == nil {
		h = f.harbor(t, port)
		f.harbors[port] = h
	}
	return strings.TrimPrefix(h.URL(), "http://")
}

func (f *fixture) has(parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(f.name, part) })
}

func startHarbor(t *testing.T, key *rsa.PrivateKey) *Harbor {
	t.Helper()
	h, err := StartHarbor(HarborConfig{Key: key, NginxPort: "18081"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func (f *fixture) harbor(t *testing.T, port string) *Harbor {
	t.Helper()
	key := f.key
	if f.has("different-keys") {
		key = nil
	}
	h := startHarbor(t, key)
	old := time.Now().Add(-time.Hour)
	manifest := func(d string) []byte { return recordedManifest(t, d) }
	if !f.has("create-project.") {
		h.CreateProject("priv", false)
		plant(t, h.cfg.Dir, "priv/app", layerDigest, make([]byte, 2001895))
		h.plantManifest(t, "priv/app", "v2", privManifest, manifest(privManifest))
		h.db.record(h.db.project("priv"), "priv/app", "v1", &artifact{Digest: privOther, MediaType: schema2})
		h.db.record(h.db.project("priv"), "priv/app", "", &artifact{Digest: privReferrer, MediaType: "application/vnd.oci.image.manifest.v1+json",
			ArtifactType: "application/vnd.example.sbom", Size: 623, Subject: privManifest, Annotations: map[string]string{"a": "b"}})
	}
	if !f.has("create-project-public") {
		h.CreateProject("pub", true)
		h.plantManifest(t, "pub/app", "v1", pubManifest, manifest(pubManifest))
	}
	if port != "18082" || f.has("created-later") {
		h.CreateProject("priv2", false)
	}
	if !f.has("quota-project-create") {
		h.CreateProject("small", false)
		small := h.db.project("small")
		h.db.record(small, "small/ok", "v1", &artifact{Digest: pubManifest, MediaType: schema2})
		small.quota.Hard, small.blobs["layer"] = 1<<20, 303133
		if f.has("immutable-put", "immutable-delete") {
			small.immutables = []*immutableRule{{Selectors: []selector{{Pattern: "**"}}, Scopes: map[string][]selector{"repository": {{Pattern: "**"}}}}}
		}
	}
	for _, p := range h.db.projects {
		if p.Name != "priv2" {
			p.Created = old
		}
	}
	if !f.has("robot-create") && (port == "18081" || f.has("pc-harbor-registry-create")) {
		h.CreateRobot("priv", "ci", robotSecret, "pull", "push")
	}
	if port == "18083" {
		plant(t, h.cfg.Dir, "library/app", smallLayer, make([]byte, 302241))
		h.plantManifest(t, "library/app", "v1", pubManifest, manifest(pubManifest))
	}
	if f.has("readonly-") {
		h.db.config["read_only"] = true
	}
	f.caches(t, h)
	f.breakDown(t, h)
	return h
}

// caches sets up the proxy caches and the upstreams behind them.
func (f *fixture) caches(t *testing.T, h *Harbor) {
	t.Helper()
	if !f.has("pc-", "referrers-proxycache") {
		return
	}
	upstream := startUpstream(t)
	h.cfg.Registries = map[string]string{"http://127.0.0.1:15000": upstream.URL(), "http://127.0.0.1:15001": upstream.URL(), "http://127.0.0.1:18081": h.URL()}
	config, err := os.ReadFile(filepath.Join(recordings, "pc-get-config-blob-cold.txt"))
	if err != nil {
		t.Fatal(err)
	}
	config = config[bytes.Index(config, []byte(`{"architecture"`)):][:233]
	layer := make([]byte, 1505418)
	copy(layer, "\x1f\x8b\x08")
	for tag := 1; tag <= 8; tag++ {
		plantTagged(t, upstream.dir, "team/img", fmt.Sprintf("v%d", tag), cachedManifest, recordedManifest(t, cachedManifest))
	}
	plant(t, upstream.dir, "team/img", cachedConfig, config)
	plant(t, upstream.dir, "team/img", cachedLayer, layer)
	if f.has("pc-project-create.") {
		h.db.registries = []*registryRecord{{ID: 2, Type: "docker-registry", URL: upstream.URL()}}
		return
	}
	for name, u := range map[string]*Upstream{"cache": upstream, "dc1cache": upstream, "fcache": startUpstream(t)} {
		if err := h.CreateCache(name, "docker-registry", u.URL(), false); err != nil {
			t.Fatal(err)
		}
		for _, status := range []string{"401", "403", "404", "429", "500", "503"} {
			u.faults.active = append(u.faults.active, fault(t, status, "/v2/e"+status+"/"))
		}
	}
	if f.has("warm", "upstreamdown", "missing", "pc-tags-list") {
		plant(t, h.cfg.Dir, "cache/team/img", cachedLayer, layer)
		h.plantManifest(t, "cache/team/img", "v1", cachedManifest, recordedManifest(t, cachedManifest))
		h.plantManifest(t, "cache/team/img", "v2", cachedManifest, recordedManifest(t, cachedManifest))
	}
	if f.has("upstreamdown") {
		if err := upstream.SetFaults(Fault{Name: "down"}); err != nil {
			t.Fatal(err)
		}
	}
	if f.has("upstreamdown-registries") { // what was listed there
		h.db.registries = h.db.registries[:0]
		for i, rec := range []registryRecord{{Name: "to-dc2", Type: "harbor", Credential: credential{"admin", "x", "basic"}}, {Name: "plain", Type: "docker-registry"}} {
			rec.ID, rec.Created, rec.Insecure = i+1, time.Now(), true
			h.db.registries = append(h.db.registries, &rec)
		}
	}
}

func fault(t *testing.T, name, path string) *Fault {
	var s faultSet
	if err := s.set([]Fault{{Name: name, Path: path}}); err != nil {
		t.Fatal(err)
	}
	return s.active[0]
}

// breakDown stops the component that was stopped when the recording was made.
func (f *fixture) breakDown(t *testing.T, h *Harbor) {
	for part, name := range map[string]string{"core-down": "core-down", "registry-down": "registry-down", "db-down": "db-down", "redis-down": "redis-down"} {
		if f.has("fail-" + part) {
			broken := fault(t, name, "")
			if f.has("after-14s", "redis-down") {
				broken.since = broken.since.Add(-14 * time.Second)
			}
			h.faults.active = append(h.faults.active, broken)
		}
	}
}

func startUpstream(t *testing.T) *Upstream {
	t.Helper()
	u, err := StartUpstream(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// recordedManifest finds the bytes of a manifest in the recordings.
func recordedManifest(t *testing.T, d string) []byte {
	t.Helper()
	files, err := filepath.Glob(recordings + "/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			line = bytes.TrimSpace(line)
			if bytes.HasPrefix(line, []byte(`{"schemaVersion"`)) && digest.FromBytes(line).String() == d {
				return bytes.Clone(line)
			}
		}
	}
	t.Fatalf("no recording holds %s", d)
	return nil
}

// plant puts a blob into a repo of distribution's directory, whatever its digest.
func plant(t *testing.T, dir, repo, d string, content []byte) {
	t.Helper()
	hex := strings.TrimPrefix(d, "sha256:")
	root := filepath.Join(dir, "docker/registry/v2")
	write(t, filepath.Join(root, "blobs/sha256", hex[:2], hex, "data"), content)
	write(t, filepath.Join(root, "repositories", repo, "_layers/sha256", hex, "link"), []byte(d))
}

func plantTagged(t *testing.T, dir, repo, tag, d string, content []byte) {
	t.Helper()
	plant(t, dir, repo, d, content)
	hex := strings.TrimPrefix(d, "sha256:")
	manifests := filepath.Join(dir, "docker/registry/v2/repositories", repo, "_manifests")
	write(t, filepath.Join(manifests, "revisions/sha256", hex, "link"), []byte(d))
	write(t, filepath.Join(manifests, "tags", tag, "current/link"), []byte(d))
	write(t, filepath.Join(manifests, "tags", tag, "index/sha256", hex, "link"), []byte(d))
}

func (h *Harbor) plantManifest(t *testing.T, repo, tag, d string, content []byte) {
	t.Helper()
	plantTagged(t, h.cfg.Dir, repo, tag, d, content)
	project, _, _ := strings.Cut(repo, "/")
	h.db.record(h.db.project(project), repo, tag, describe("", content))
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// do sends the recorded request to the host, as curl would.
func (f *fixture) do(t *testing.T, rec recording, host string) (*http.Response, string) {
	t.Helper()
	u := *rec.url
	u.Host = host
	body := rec.body
	if body == "@work/ref.json" {
		body = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.example.sbom","digest":"` + layerDigest + `","size":2001895},"layers":[],"subject":{"mediaType":"` + schema2 + `","digest":"` + privManifest + `","size":590}}`
		own := digest.FromString(body).String()
		u.Path = strings.ReplaceAll(u.Path, privReferrer, own)
		for k := range rec.answer {
			rec.answer.Set(k, strings.ReplaceAll(rec.answer.Get(k), privReferrer, own))
		}
	}
	req, err := http.NewRequest(rec.method, u.String(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = rec.header.Clone()
	if v := rec.header.Get("Host"); v != "" {
		req.Host = v
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(content)
}
