package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/explain"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/proxy/warm"
	"example.org/breakwater/registry"
)

// quick has an edge do soon what it does beside requests.
func quick(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
	p.Pace = 20 * time.Millisecond
	p.Freshness = func(namespace.Kind) time.Duration { return time.Minute }
}

// operate sends a question to an edge's admin listener.
func (s *site) operate(t *testing.T, method, path string, question, answer any) int {
	t.Helper()
	mux := http.NewServeMux()
	s.edge.Config.Handler.(*proxy.Handler).Admin(mux)
	text, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(text)))
	if rec.Code == http.StatusOK {
		if err := json.Unmarshal(rec.Body.Bytes(), answer); err != nil {
			t.Fatal(err)
		}
	}
	return rec.Code
}

// warmed waits until no edge that is asked has anything to warm, and returns how all stand.
func (s *site) warmed(t *testing.T, query string) (all []warm.Status) {
	t.Helper()
	trial.Until(t, func() error {
		if code := s.operate(t, http.MethodGet, "/warm?"+query, nil, &all); code != http.StatusOK {
			return fmt.Errorf("status %d", code)
		}
		for _, status := range all {
			if status.Pending > 0 || status.Error != "" {
				return fmt.Errorf("%+v", status)
			}
		}
		return nil
	})
	return all
}

// pushIndex pushes an image of two platforms, amd64 and arm64, and cosign's signature of it.
func pushIndex(t *testing.T, registryURL, repo, tag string, seed byte) (index v1.ImageIndex, images map[string]v1.Image) {
	t.Helper()
	index, images = v1.ImageIndex(empty.Index), map[string]v1.Image{}
	for i, architecture := range []string{"amd64", "arm64"} {
		img := image(t, 100_000, seed+byte(i))
		images[architecture] = img
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	ref, err := name.ParseReference(strings.TrimPrefix(registryURL, "http://")+"/"+repo+":"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	images["signature"] = image(t, 500, seed+2)
	mustPush(t, registryURL, repo+":"+strings.Replace(d.String(), ":", "-", 1)+".sig", images["signature"], authn.Anonymous)
	return index, images
}

// What a fleet warms its upstream sends once, and each edge has it: a first pull is a hit.
func TestAFleetWarmsOnce(t *testing.T) {
	r := newRegion(t, quick)
	s := r.sites[0]
	var references, blobs []string
	const images = 5
	for i := range images {
		repo := fmt.Sprintf("library/app%d", i)
		_, all := pushIndex(t, r.hub.URL(), repo, "v1", byte(10*i))
		references = append(references, "harbor.example.org/cache-dockerhub/"+strings.TrimPrefix(repo, "library/")+":v1")
		for what, img := range all {
			if what != "arm64" {
				d, _ := layerOf(t, img)
				blobs = append(blobs, "/v2/"+repo+"/blobs/"+d)
			}
		}
		d, _ := layerOf(t, all["arm64"])
		blobs = append(blobs, "-/v2/"+repo+"/blobs/"+d)
	}
	r.hub.ResetRequests()
	var taken warm.Taken
	if code := s.operate(t, http.MethodPost, "/warm", warm.Order{References: references, Platforms: []string{"linux/amd64"}, Fleet: true}, &taken); code != http.StatusOK || len(taken.Images) != images || taken.Refused != nil {
		t.Fatalf("%d: %+v", code, taken)
	}
	for _, status := range s.warmed(t, "fleet=true") {
		if c := status.Kinds[warm.Operator]; c.Warmed != images || c.Failed != 0 {
			t.Errorf("%s: %+v", status.Datacenter, status)
		}
	}
	sent := r.hub.Requests()
	for _, path := range blobs {
		path, other := strings.CutPrefix(path, "-")
		if n := sent["GET "+path]; n != 1 && !other || n != 0 && other {
			t.Errorf("the upstream was asked %d times for %s", n, path)
		}
	}
	r.hub.ResetRequests()
	for _, site := range r.sites {
		for i := range images {
			repo := fmt.Sprintf("cache-dockerhub/library/app%d", i)
			a := site.do(t, http.MethodGet, "/v2/"+repo+"/manifests/v1", site.anonymous(t, repo))
			if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Cache-Status"), "breakwater; hit") {
				t.Errorf("%s: %d, %s", repo, a.status, a.header.Get("Cache-Status"))
			}
		}
		for _, path := range blobs {
			path, other := strings.CutPrefix(path, "-")
			if other {
				continue
			}
			path = strings.Replace(path, "/v2/", "/v2/cache-dockerhub/", 1)
			a := site.do(t, http.MethodGet, path, site.anonymous(t, strings.TrimPrefix(path[:strings.Index(path, "/blobs/")], "/v2/")))
			if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Cache-Status"), "breakwater; hit") {
				t.Errorf("%s: %d, %s", path, a.status, a.header.Get("Cache-Status"))
			}
		}
	}
	if again := r.hub.Requests(); len(again) != 0 {
		t.Errorf("the upstream was asked for what is warm: %v", again)
	}
}

// Where the edge that is to lead is gone, another one leads; nobody but edges may ask for anything.
func TestAFleetWarmsWithoutOneOfIt(t *testing.T) {
	r := newRegion(t, quick)
	s := r.sites[0]
	const images = 6
	var references, layers []string
	for i := range images {
		img := image(t, 100_000, byte(i))
		d, _ := layerOf(t, img)
		mustPush(t, r.hub.URL(), fmt.Sprintf("library/app%d:v1", i), img, authn.Anonymous)
		references, layers = append(references, fmt.Sprintf("cache-dockerhub/app%d:v1", i)), append(layers, fmt.Sprintf("/v2/library/app%d/blobs/%s", i, d))
	}
	for name, authorization := range map[string]string{"nobody": "", "a client": s.as(t, reader, "multi-dc-demo/app")["Authorization"]} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if a := s.do(t, method, peer.WarmPath, map[string]string{"Authorization": authorization}); a.status != http.StatusForbidden {
				t.Errorf("%s, %s: %d", name, method, a.status)
			}
		}
	}
	r.sites[1].stops()
	var taken warm.Taken
	s.operate(t, http.MethodPost, "/warm", warm.Order{References: references, Fleet: true}, &taken)
	if len(taken.Images) != images || len(taken.Refused) != 1 || !strings.Contains(taken.Refused[0], "the edge of mad1") {
		t.Fatalf("%+v", taken)
	}
	for _, site := range []*site{r.sites[0], r.sites[2]} {
		all := site.warmed(t, "")
		if c := all[0].Kinds[warm.Operator]; c.Warmed != images {
			t.Errorf("%+v", all[0])
		}
	}
	for _, path := range layers {
		if n := r.hub.Requests()["GET "+path]; n != 1 {
			t.Errorf("the upstream was asked %d times for %s", n, path)
		}
	}
	var all []warm.Status
	if s.operate(t, http.MethodGet, "/warm?fleet=true", nil, &all); len(all) != 3 || all[1].Datacenter != "mad1" || all[1].Error == "" {
		t.Errorf("%+v", all)
	}
}

// What is pushed in one datacenter, and a set takes, is in the store of another one before its
// clients ask; what no set takes is not.
func TestAPushIsWarmedElsewhere(t *testing.T) {
	r := newRegion(t, quick, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Warm = []warm.Set{{Project: "multi-dc-demo", Images: []string{"app*"}, Tags: []string{"v*"}, Push: true, Datacenters: []string{"par1", "mad1"}}}
	})
	s, mad1 := r.sites[0], r.sites[1]
	img, other := image(t, 100_000, 1), image(t, 1000, 2)
	mustPush(t, s.edge.URL, "multi-dc-demo/other:v1", other, basic(writer, secret))
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", img, basic(writer, secret))
	trial.Until(t, func() error {
		if all := mad1.warmed(t, ""); all[0].Kinds[warm.Push].Warmed != 1 {
			return fmt.Errorf("%+v", all[0])
		}
		return nil
	})
	d, content := layerOf(t, img)
	a := mad1.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+d, mad1.as(t, reader, "multi-dc-demo/app"))
	if same(t, "the layer", a, content); !strings.HasPrefix(a.header.Get("Cache-Status"), "breakwater; hit") {
		t.Error(a.header.Get("Cache-Status"))
	}
	if a := mad1.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+d, mad1.anonymous(t, "multi-dc-demo/app")); a.status == http.StatusOK {
		t.Error("who may not pull it gets it")
	}
	for _, site := range []*site{mad1, r.sites[2]} {
		var all []warm.Status
		site.operate(t, http.MethodGet, "/warm?image=multi-dc-demo/other:v1&image=multi-dc-demo/app:v1", nil, &all)
		if want := map[bool]int{true: 1, false: 0}[site == mad1]; len(all[0].Images) != want {
			t.Errorf("%+v", all[0])
		}
	}
}

// A set with a schedule is warmed at the start, and again when its tags move or are new.
func TestASetIsWarmedByTheClock(t *testing.T) {
	sets := []warm.Set{{Project: "cache-dockerhub", Images: []string{"library/app"}, Tags: []string{"v*", "latest"}, Every: time.Second}}
	s := newSite(t, quick, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Freshness, p.Warm = nil, sets
	})
	held := func(tag string, img v1.Image) {
		t.Helper()
		d, _ := layerOf(t, img)
		repo := "cache-dockerhub/library/app"
		trial.Until(t, func() error {
			var all []warm.Status
			s.operate(t, http.MethodGet, "/warm?image="+repo+":"+tag, nil, &all)
			if len(all[0].Images) != 1 || all[0].Images[0].State != "done" || all[0].Images[0].Kind != warm.Clock {
				return fmt.Errorf("%s: %+v", tag, all)
			}
			if _, err := os.Stat(filepath.Join(s.dir, "blobs", "sha256", d[len("sha256:"):][:2], d[len("sha256:"):])); err != nil {
				return err
			}
			return nil
		})
	}
	first, second, third := image(t, 1000, 1), image(t, 1000, 2), image(t, 1000, 3)
	for _, tag := range []string{"v1", "latest", "other"} {
		mustPush(t, s.hub.URL(), "library/app:"+tag, first, authn.Anonymous)
	}
	held("v1", first)
	held("latest", first)
	mustPush(t, s.hub.URL(), "library/app:latest", second, authn.Anonymous)
	held("latest", second)
	var x explain.Explanation
	if s.operate(t, http.MethodGet, "/explain?ref=cache-dockerhub/app:latest", nil, &x); len(x.Notes) != 1 || !strings.HasPrefix(x.Notes[0], "it was warmed at ") || !strings.HasSuffix(x.Notes[0], ", by clock") {
		t.Errorf("explain says %q", x.Notes)
	}
	mustPush(t, s.hub.URL(), "library/app:v2", third, authn.Anonymous)
	held("v2", third)
	var all []warm.Status
	if s.operate(t, http.MethodGet, "/warm?image=cache-dockerhub/library/app:other", nil, &all); len(all[0].Images) != 0 {
		t.Errorf("no set takes it: %+v", all[0])
	}
}

// An edge has read all its versions before it warms anything: a set is due as soon as it starts.
func TestAnEdgeThatRemembersMuchWarmsWhenItStarts(t *testing.T) {
	path, all := filepath.Join(t.TempDir(), "state.db"), make([]version.Announced, 10_000)
	for i := range all {
		all[i] = version.Announced{Repo: "multi-dc-demo/app", Reference: fmt.Sprint("v", i), Record: version.Record{Digest: digest.FromString("one"),
			Version: version.Version{Time: time.Now().UnixMilli() << 16, Datacenter: "mad1"}}}
	}
	db := openState(t, path)
	version.New(version.Config{Datacenter: "par1", State: db, Log: slog.New(slog.DiscardHandler), Now: time.Now}).Learn("mad1", all, false, nil)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	start, end := persistent(t, path, func(_ *access.Config, p *proxy.Config) {
		p.Warm = []warm.Set{{Project: "cache-dockerhub", Images: []string{"library/app"}, Tags: []string{"v1"}, Every: time.Second}}
	})
	t.Cleanup(end)
	s := newSite(t, quick, start)
	mustPush(t, s.hub.URL(), "library/app:v1", image(t, 1000, 1), authn.Anonymous)
	trial.Until(t, func() error {
		var all []warm.Status
		if s.operate(t, http.MethodGet, "/warm?image=cache-dockerhub/library/app:v1", nil, &all); len(all[0].Images) != 1 || all[0].Images[0].State != "done" {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}

// Images of which nothing comes keep nobody else from being warmed, and fail.
func TestAnUpstreamThatHangsHoldsNobodyUp(t *testing.T) {
	s := newSite(t, quick)
	var references []string
	for i := range 4 {
		repo := fmt.Sprintf("slow%d", i)
		if i == 3 {
			repo = "fast"
		}
		mustPush(t, s.hub.URL(), "library/"+repo+":v1", image(t, 200_000, byte(i)), authn.Anonymous)
		references = append(references, "cache-dockerhub/"+repo+":v1")
	}
	if err := s.hub.SetFaults(lab.Fault{Name: "hang", Path: "GET /v2/library/slow.*/blobs/"}); err != nil {
		t.Fatal(err)
	}
	var taken warm.Taken
	s.operate(t, http.MethodPost, "/warm", warm.Order{References: references}, &taken)
	states := map[string]warm.Progress{}
	for _, status := range s.warmed(t, "image="+strings.Join(taken.Images, "&image=")) {
		for _, p := range status.Images {
			states[p.Image] = p
		}
	}
	for i, image := range taken.Images {
		if p := states[image]; i == 3 && p.State != "done" || i < 3 && (p.State != "failed" || !strings.Contains(p.Error, "nothing of it has come")) {
			t.Errorf("%+v", p)
		}
	}
}
