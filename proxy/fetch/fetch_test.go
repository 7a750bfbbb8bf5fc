package fetch

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// world is a Harbor, two peers and an upstream that say what they are told, and a
// Fetcher before them.
type world struct {
	*Fetcher
	harbor, mad1, drp1, hub *trial.Registry
	accepts                 bool                     // what Accepts says
	offered                 []digest.Digest          // what it was asked about
	heard                   map[string]digest.Digest // by datacenter
}

var table = namespace.NewTable([]namespace.Namespace{
	{Project: "cache-hub", Kind: namespace.Cache},
	{Project: "repl-core", Kind: namespace.Repl, Rules: []namespace.Rule{{From: "cache-hub", Name: "**"}}},
})

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{heard: map[string]digest.Digest{}}
	begin := func(name, datacenter string, kind source.Kind) (*trial.Registry, *source.Source) {
		s := trial.NewRegistry(t)
		r, err := registry.NewSource(registry.SourceConfig{URL: s.URL, Trusted: true})
		if err != nil {
			t.Fatal(err)
		}
		return s, source.New(t.Context(), source.Config{Name: name, Datacenter: datacenter, Kind: kind, Registry: r})
	}
	var harbor, mad1, drp1, hub *source.Source
	w.harbor, harbor = begin("harbor", "", source.Harbor)
	w.mad1, mad1 = begin("peer-mad1", "mad1", source.Peer)
	w.drp1, drp1 = begin("peer-drp1", "drp1", source.Peer)
	w.hub, hub = begin("upstream-hub", "", source.Upstream)
	blobs, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	checker, err := access.New(access.Config{Harbor: harbor.Registry})
	if err != nil {
		t.Fatal(err)
	}
	routes := source.NewRoutes(harbor, []*source.Source{mad1, drp1}, map[string]*source.Source{"cache-hub": hub}, table)
	w.Fetcher = New(routes, blobs, checker, time.Minute, time.Now)
	w.Accepts = func(_ version.Key, has digest.Digest) bool {
		w.offered = append(w.offered, has)
		return w.accepts
	}
	w.Heard = func(datacenter string, _ version.Key, r version.Record) { w.heard[datacenter] = r.Digest }
	return w
}

const (
	demo, nginx, core = "multi-dc-demo/app", "cache-hub/nginx", "repl-core/nginx"
	ociManifest       = "application/vnd.oci.image.manifest.v1+json"
)

// manifest is one that says so; its digest is that of the body.
func manifest(text string) (body string, d digest.Digest) {
	body = `{"schemaVersion":2,"mediaType":"` + ociManifest + `","annotations":{"text":"` + text + `"}}`
	return body, digest.FromString(body)
}

// serve is a registry's answer with content.
func serve(body string, headers ...string) trial.Answer {
	header := http.Header{"Content-Type": {ociManifest}, "Docker-Content-Digest": {digest.FromString(body).String()}, "Content-Length": {strconv.Itoa(len(body))}}
	for i := 0; i < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			header.Del(headers[i])
		}
	}
	return trial.Answer{Header: maps.Clone(header), Body: body}
}

// refusal is a registry's, or Harbor's, in its own words.
func refusal(status int, code, message string) trial.Answer {
	return trial.Answer{Status: status, Body: `{"errors":[{"code":"` + code + `","message":"` + message + `"}]}`}
}

var (
	broken = trial.Answer{Status: http.StatusInternalServerError}
	policy = refusal(http.StatusPreconditionFailed, "PROJECTPOLICYVIOLATION", "not scanned")
	noBlob = refusal(http.StatusNotFound, string(registry.CodeBlobUnknown), "blob unknown to registry")
)

func tagOf(repo string) Question {
	r := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: repo, Tag: "v1"}
	return Question{Request: r, Namespace: table.Of(r.Project())}
}

func blobOf(repo string, d digest.Digest) Question {
	r := registry.Request{Method: http.MethodGet, Kind: registry.KindBlob, Repo: repo, Digest: d}
	return Question{Request: r, Namespace: table.Of(r.Project())}
}

// status is what a client is told: 200 where there is no error.
func status(err error) int {
	var e *registry.Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e):
		return e.Status
	}
	return http.StatusInternalServerError
}

// content reads a blob to its end.
func content(t *testing.T, b *Blob, err error) string {
	t.Helper()
	if err != nil {
		t.Errorf("no blob: %v", err)
		return ""
	}
	defer b.Close()
	all, err := io.ReadAll(b)
	if err != nil {
		t.Errorf("after %d bytes: %v", len(all), err)
	}
	return string(all)
}

func TestARouteOfAPeersQuestionIsTheHarborAlone(t *testing.T) {
	w := newWorld(t)
	for own, want := range map[bool][]string{true: {"harbor"}, false: {"harbor", "peer-mad1", "peer-drp1", "upstream-hub"}} {
		q := tagOf(nginx)
		q.OwnOnly = own
		var names []string
		for _, s := range q.Route(w.Routes) {
			names = append(names, s.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("own %t: %q", own, names)
		}
	}
}
