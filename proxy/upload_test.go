package proxy_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// nothingLeft waits until no upload is being written down any more.
func (s *site) nothingLeft(t *testing.T) {
	t.Helper()
	waitFor(t, "no temporary files", func() bool {
		all, err := os.ReadDir(s.dir + "/tmp")
		return err == nil && len(all) == 0
	})
}

// A registry may answer a POST that carries the whole blob by opening a session
// for it (the specification's "single POST"); Harbor's does. What the POST carried
// is then nobody's, and the blob is pushed into the session.
func TestAPostWithABlobThatHarborWantsInASession(t *testing.T) {
	s := newSite(t)
	h := s.asWriter(t, "multi-dc-demo/app")
	const content = "a blob in one request"
	d := digest.FromString(content)
	status, location := s.send(t, http.MethodPost, withDigest("/v2/multi-dc-demo/app/blobs/uploads/", d), h, strings.NewReader(content))
	if status != http.StatusAccepted {
		t.Fatal(status)
	}
	if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, strings.NewReader(content)); status != http.StatusCreated {
		t.Fatal(status)
	}
	path := "/v2/multi-dc-demo/app/blobs/" + d.String()
	same(t, "the next pull", s.do(t, http.MethodGet, path, h), []byte(content))
	if n := s.harbor.Requests()["GET "+path]; n != 0 {
		t.Errorf("Harbor was asked %d times for what was pushed through the edge", n)
	}
	s.nothingLeft(t)
}

// A repo whose push ended at a peer's is the local Harbor's again a while after that is
// back, however often it is pushed to in between.
func TestABusyRepoComesHome(t *testing.T) {
	r, pass := outageClock(t)
	s := r.sites[0]
	h := s.asWriter(t, "multi-dc-demo/app")
	put := func(content string) (takenBy string) {
		t.Helper()
		d := digest.FromString(content)
		_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
		if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, strings.NewReader(content)); status != http.StatusCreated {
			t.Fatalf("a blob: %d", status)
		}
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[]}`, d, len(content))
		a := s.pushManifest(t, "v1", "application/vnd.oci.image.manifest.v1+json", manifest)
		if a.status != http.StatusCreated {
			t.Fatalf("a manifest: %d", a.status)
		}
		_, takenBy, _ = strings.Cut(a.header.Get("Cache-Status"), "detail=")
		return takenBy
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	if by := put("{}"); by != "peer-mad1" {
		t.Errorf("the push while Harbor is down was taken by %q", by)
	}
	if err := s.harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an upload at the local Harbor", func() bool {
		_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
		return location != "" && !strings.Contains(location, "_breakwater")
	})
	pass(10 * time.Minute)
	put(`{"a":1}`)
	pass(10 * time.Minute)
	if by := put(`{"a":2}`); by != "harbor" {
		t.Errorf("it was taken by %q", by)
	}
}

// While no Harbor says whether it holds a blob, a HEAD is answered as a reader's: of
// some credentials nobody can tell that they may not push, and nobody takes a push now.
func TestAHeadWhileNobodyTakesPushes(t *testing.T) {
	for name, options := range map[string][]option{"certificates": nil, "no certificates": {withoutCertificates}} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, options...)
			img := image(t, 1000, 1)
			mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
			digest, layer := layerOf(t, img)
			path := "/v2/multi-dc-demo/app/blobs/" + digest
			who := map[string]map[string]string{
				"a reader":             s.as(t, reader, "multi-dc-demo/app"),
				"a reader, by Basic":   {"Authorization": basicHeader(reader, secret)},
				"one who may push too": s.asWriter(t, "multi-dc-demo/app"),
			}
			for what, h := range who {
				same(t, what, s.do(t, http.MethodGet, path, h), layer)
				if a := s.do(t, http.MethodHead, path, h); a.status != http.StatusOK {
					t.Errorf("%s: %d", what, a.status)
				}
			}
			if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
				t.Fatal(err)
			}
			for what, h := range who {
				same(t, what, s.do(t, http.MethodGet, path, h), layer)
				if a := s.do(t, http.MethodHead, path, h); a.status != http.StatusOK || a.header.Get("Content-Length") != fmt.Sprint(len(layer)) {
					t.Errorf("%s, while Harbor is down: %d", what, a.status)
				}
			}
		})
	}
}

// A peer that does not know this edge has said nothing of the client's permission.
func TestAPeerThatRefusesTheEdgeItself(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	s.edge.Close()
	s.edge, s.dir = httptest.NewUnstartedServer(nil), t.TempDir()
	r.startEdge(t, 0, []string{"par1", "mad1", "drp1"}, &s.harbor.Key().PublicKey, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Keys = trial.Keys("another fleet's, which is as long as it has to be", "")
	})
	t.Cleanup(s.edge.Close)
	h := s.asWriter(t, "multi-dc-demo/app")
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	if status, _ := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil); status != http.StatusServiceUnavailable {
		t.Errorf("an upload: %d", status)
	}
	if status, _ := s.send(t, http.MethodPut, manifests("multi-dc-demo/app"), h, strings.NewReader(`{"schemaVersion":2}`)); status != http.StatusServiceUnavailable {
		t.Errorf("a manifest: %d", status)
	}
}

// Nothing is kept of what a client sent that left in the middle.
func TestAClientThatLeavesInTheMiddle(t *testing.T) {
	s := newSite(t)
	h := s.asWriter(t, "multi-dc-demo/app")
	for _, length := range []string{"Content-Length: 3000000", "Transfer-Encoding: chunked"} {
		_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
		conn, err := net.Dial("tcp", host(s.edge.URL))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n%s\r\n\r\n20000\r\n%s", strings.TrimPrefix(location, s.edge.URL), host(s.edge.URL), h["Authorization"], length, strings.Repeat("x", 0x20000)) // a chunk of the store
		waitFor(t, "bytes that are written down", func() bool {
			all, err := os.ReadDir(s.dir + "/tmp")
			if err != nil || len(all) != 1 {
				return false
			}
			info, err := all[0].Info()
			return err == nil && info.Size() > 0
		})
		conn.Close()
		s.nothingLeft(t)
	}
}

// What a push needs is here and could not be taken to a peer: that is no fault of the
// client's. The next one gets it, and where there is none the client is to try again.
func TestAPushThatCannotBeBroughtToAPeer(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	h := s.asWriter(t, "multi-dc-demo/app")
	config := []byte(`{"architecture":"amd64"}`)
	d := digest.FromBytes(config)
	_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
	if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, bytes.NewReader(config)); status != http.StatusCreated {
		t.Fatal(status)
	}
	s.harbor.SetFaults(lab.Fault{Name: "down"}) //nolint:errcheck // a known fault
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	image := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, mediaType, d, len(config))
	full := lab.Fault{Name: "503", Path: "^POST .*/blobs/uploads/"}
	for _, other := range r.sites[1:] {
		other.harbor.SetFaults(full) //nolint:errcheck // a known fault
	}
	if a := s.pushManifest(t, "v1", mediaType, image); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("nobody has its config: %d %s", a.status, a.body)
	}
	r.sites[2].harbor.ClearFaults()
	trial.Until(t, func() error { // their probes come in between
		if a := s.pushManifest(t, "v1", mediaType, image); a.status != http.StatusCreated {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	there := r.sites[2].as(t, reader, "multi-dc-demo/app")
	same(t, "its config", r.sites[2].do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+d.String(), there), config)
}
