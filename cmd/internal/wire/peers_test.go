package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/peer"
)

// authority is a private CA that makes certificates in a directory.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "a company's CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, a.cert = a.sign(t, "ca", template)
	return a
}

// sign writes NAME.crt and NAME.key; the first one signs itself.
func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err1 := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	keyDER, err2 := x509.MarshalPKCS8PrivateKey(key)
	cert, err3 := x509.ParseCertificate(der)
	err4 := os.WriteFile(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	err5 := os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// forAddress makes a certificate for the address, as servers and, unless told
// otherwise, as clients.
func (a *authority) forAddress(t *testing.T, name, address string, change func(*x509.Certificate)) {
	t.Helper()
	c := &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(address)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(c)
	}
	a.sign(t, name, c)
}

func TestEdgesKnowEachOtherByTheirCertificates(t *testing.T) {
	const secret = "Some1Secret"
	t.Setenv("BREAKWATER_TEST_ROBOT", secret)
	ca, harbors, addresses := newAuthority(t), map[string]*lab.Harbor{}, map[string]string{}
	for datacenter, ip := range map[string]string{"par1": "127.0.0.2", "mad1": "127.0.0.3"} {
		h, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		h.CreateProject("multi-dc-demo", false)
		h.CreateRobot("*", "edge", secret, "pull")
		harbors[datacenter], addresses[datacenter] = h, trial.Free(t, ip)
		ca.forAddress(t, datacenter, ip, nil)
	}
	ca.forAddress(t, "public", "127.0.0.1", nil)
	ca.forAddress(t, "server", "127.0.0.3", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })
	ca.forAddress(t, "expired", "127.0.0.3", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	newAuthority(t).forAddressIn(t, ca.dir, "foreign", "127.0.0.3")

	for datacenter := range harbors {
		text := fmt.Sprintf(`
domain: harbor.example.org
datacenters:
  par1: { harbor: %q, edge: "https://%s" }
  mad1: { harbor: %q, edge: "https://%s" }
edge:
  listen: %q
  tls: { certificate: %q, key: %q }
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  store: { path: %q }
  robot: { name: edge, secret: "env:BREAKWATER_TEST_ROBOT" }
  peers: { ca: %q }
`, harbors["par1"].URL(), addresses["par1"], harbors["mad1"].URL(), addresses["mad1"], addresses[datacenter],
			ca.file(datacenter+".crt"), ca.file(datacenter+".key"), t.TempDir(), ca.file("ca.crt"))
		f, err := fleet.Load("fleet.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		run(t, EdgeConfig{Fleet: f, Datacenter: datacenter, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	}
	// What mad1's Harbor alone has is served by par1's edge.
	blob := "what mad1 has"
	path := "/v2/multi-dc-demo/app/blobs/" + push(t, harbors["mad1"], "multi-dc-demo/app", blob)
	par1, mad1 := "https://"+addresses["par1"], "https://"+addresses["mad1"]+peer.Path
	if status, body := get(t, ca, harbors["par1"], "", par1+path); status != http.StatusOK || body != blob {
		t.Errorf("through par1: %d %q", status, body)
	}
	for shown, want := range map[string]int{"par1": 200, "": 403, "public": 403, "server": 403, "expired": 403, "foreign": 403, "mad1": 403} {
		if status, body := get(t, ca, harbors["mad1"], shown, mad1+path); status != want || want != 200 && strings.Contains(body, blob) {
			t.Errorf("mad1, shown %q: %d, want %d", shown, status, want)
		}
	}
}

// forAddressIn is forAddress into another authority's directory.
func (a *authority) forAddressIn(t *testing.T, dir, name, address string) {
	t.Helper()
	a.dir = dir
	a.forAddress(t, name, address, nil)
}

// run runs an edge until the test ends.
func run(t *testing.T, cfg EdgeConfig) *Edge {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e, err := NewEdge(ctx, cfg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// push puts a blob into the Harbor's repo and returns its digest.
func push(t *testing.T, h *lab.Harbor, repo, content string) string {
	t.Helper()
	ref, err := name.NewRepository(strings.TrimPrefix(h.URL(), "http://") + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	username, password := h.Admin()
	layer := static.NewLayer([]byte(content), types.OCILayer)
	if err := remote.WriteLayer(ref, layer, remote.WithAuth(&authn.Basic{Username: username, Password: password})); err != nil {
		t.Fatal(err)
	}
	d, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// get asks for the URL as Harbor's administrator, and shows the certificate.
func get(t *testing.T, ca *authority, admin *lab.Harbor, shown, url string) (status int, body string) {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(ca.cert)
	if shown != "" {
		pair, err := tls.LoadX509KeyPair(ca.file(shown+".crt"), ca.file(shown+".key"))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(admin.Admin())
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}
