package wire

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// ownNames are two datacenters whose Harbors have the projects platform, dockerhub and kubernetes,
// and an upstream.
type ownNames struct {
	t       *testing.T
	dir     string
	harbors map[string]*lab.Harbor
	hub     *lab.Harbor
	edges   map[string]string // their addresses
	logs    map[string]*lockedBuffer
}

const (
	ci       = "robot$platform+ci"
	ciSecret = "Some1Secret"
	// declares gives them their kinds.
	declares = `  multi-dc:
    team: { project: platform, replication: { tags: harbor } }
`
)

func newOwnNames(t *testing.T) *ownNames {
	t.Helper()
	w := &ownNames{t, t.TempDir(), map[string]*lab.Harbor{}, startHarbor(t), map[string]string{}, map[string]*lockedBuffer{}}
	w.hub.CreateProject("open", true)
	w.write("secret", ciSecret)
	w.write("key", firstKey)
	for datacenter, ip := range map[string]string{"par1": "127.0.0.2", "mad1": "127.0.0.3"} {
		h := startHarbor(t)
		w.harbors[datacenter], w.edges[datacenter], w.logs[datacenter] = h, trial.Free(t, ip), &lockedBuffer{}
		h.CreateProject("platform", false)
		h.CreateRobot("platform", "ci", ciSecret, "pull", "push", "delete")
		h.CreateProject("kubernetes", true)
		if err := h.CreateCache("dockerhub", "docker-registry", "http://127.0.0.1:1", true); err != nil { // the edge's own way is the only one
			t.Fatal(err)
		}
		h.CreateRobot("*", "edge", ciSecret, "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
		der, err := x509.MarshalPKIXPublicKey(h.Key().Public())
		if err != nil {
			t.Fatal(err)
		}
		w.write(datacenter+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	}
	return w
}

func (w *ownNames) write(file, text string) { (&changing{t: w.t, dir: w.dir}).write(file, text) }

// declare writes the fleet file of a datacenter's edge.
func (w *ownNames) declare(datacenter, projects string) {
	w.t.Helper()
	w.write(datacenter+".yaml", fmt.Sprintf(`domain: harbor.example.org
datacenters:
  par1: { harbor: %q, edge: "http://%s" }
  mad1: { harbor: %q, edge: "http://%s" }
harbor: { token_certificates: ["file:%[5]s/par1.pem", "file:%[5]s/mad1.pem"] }
projects:
%[6]sedge:
  plain_http: true
  listen: %[7]q
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  store: { path: "%[5]s/%[8]s" }
  robot: { name: edge, secret: "file:%[5]s/secret" }
  peers: { key: "file:%[5]s/key" }
`, w.harbors["par1"].URL(), w.edges["par1"], w.harbors["mad1"].URL(), w.edges["mad1"], w.dir, projects, w.edges[datacenter], datacenter))
}

// start runs the edges by their fleet files.
func (w *ownNames) start(datacenters ...string) {
	w.t.Helper()
	for _, datacenter := range datacenters {
		run(w.t, EdgeConfig{File: filepath.Join(w.dir, datacenter+".yaml"), Datacenter: datacenter, Log: slog.New(slog.NewTextHandler(w.logs[datacenter], nil)), Level: new(slog.LevelVar)})
	}
}

// redeclare writes another fleet file for a running edge, which takes it.
func (w *ownNames) redeclare(datacenter, projects string) {
	w.t.Helper()
	w.declare(datacenter, projects)
	reload(w.t, w.logs[datacenter])
	if said := w.logs[datacenter].String(); strings.Contains(said, "files not taken") {
		w.t.Fatal(said)
	}
}

// push pushes an image as the project's robot, through an edge or past it.
func (w *ownNames) push(address, image string, seed int) v1.Hash {
	w.t.Helper()
	img := imageOf(w.t, seed, 10<<10)
	ref, err := name.ParseReference(strings.TrimPrefix(address, "http://")+"/"+image, name.Insecure)
	if err == nil {
		err = remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: ci, Password: ciSecret}))
	}
	if err != nil {
		w.t.Fatalf("%s/%s: %v", address, image, err)
	}
	d, err := img.Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// answered is what an edge says.
type answered struct {
	status int
	digest string
	body   string
}

// ask asks for a path of the registry API, as the project's robot or with an anonymous token that
// some token service has given.
func (w *ownNames) ask(method, address, path, token string) (a answered) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+strings.TrimPrefix(address, "http://")+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	switch token {
	case "":
	case ci:
		req.SetBasicAuth(ci, ciSecret)
	default:
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header.Get("Docker-Content-Digest"), string(body)}
}

// tag asks for a tag of platform/app as the project's robot, with a token.
func (w *ownNames) tag(datacenter, tag string) answered {
	w.t.Helper()
	ref, err := name.ParseReference(w.edges[datacenter]+"/platform/app:"+tag, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := remote.Get(ref, remote.WithAuth(&authn.Basic{Username: ci, Password: ciSecret}), remote.WithRetryStatusCodes(), remote.WithRetryPredicate(func(error) bool { return false }))
	var refused *transport.Error
	switch {
	case errors.As(err, &refused):
		return answered{refused.StatusCode, "", err.Error()}
	case err != nil:
		return answered{0, "", err.Error()}
	}
	return answered{http.StatusOK, got.Digest.String(), string(got.Manifest)}
}

// anonymous is a token for everybody that the token service at an address gives for a repo.
func (w *ownNames) anonymous(address, repo string) (token string) {
	w.t.Helper()
	a := w.ask(http.MethodGet, address, "/service/token?"+url.Values{"service": {"harbor-registry"}, "scope": {"repository:" + repo + ":pull"}}.Encode(), "")
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Token == "" {
		w.t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return body.Token
}
