package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// world is a fleet file for an edge and a name server of par1 in the place of the lab's, with
// an address of their own, and what stands beside it.
type world struct {
	f                                        *fleetUnderTest
	dir, host, text                          string
	public, metrics, admin, hub, datacenters string
	takenPort, pageURL                       string
}

func (w *world) file(name string) string      { return filepath.Join(w.dir, name) }
func (w *world) lab(name string) string       { return filepath.Join(w.f.Dir, name) }
func (w *world) quoted(address string) string { return fmt.Sprintf("%q", address) }
func (w *world) harbor(i int) string          { return w.f.Datacenters[i].Harbor }
func (w *world) edge(i int) string            { return w.f.Datacenters[i].Edge }
func (w *world) ownEdge() string              { return "http://" + w.public }

// secured are the edits that give the edge a certificate, and the authority that has made it.
func (w *world) secured(certificate, key string, known bool) []string {
	edits := []string{"plain_http: true", fmt.Sprintf("tls: { certificate: %q, key: %q }", w.file(certificate), w.file(key)), w.ownEdge(), "https://" + w.public}
	if known {
		edits = append(edits, "harbor: { username", fmt.Sprintf("harbor: { ca: %q, username", w.file("ca.crt")))
	}
	return edits
}

// newWorld is the n-th of this lab.
func newWorld(t *testing.T, f *fleetUnderTest, n int, pageURL string) *world {
	t.Helper()
	host := fmt.Sprintf("127.0.50.%d", n+1)
	w := &world{f: f, dir: t.TempDir(), host: host, public: host + ":8443", metrics: host + ":9090", admin: host + ":9091", hub: f.Upstreams[0].URL, pageURL: pageURL}
	d := f.Datacenters[0]
	base, err := os.ReadFile(d.Fleet)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", host+":8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	w.takenPort = taken.Addr().String()
	bare := func(url string) string { return strings.TrimPrefix(url, "http://") }
	here := filepath.Dir(d.Fleet)
	text := "# the fleet\n" + strings.NewReplacer(
		bare(d.Edge), w.public, bare(d.Metrics), w.metrics, bare(d.Admin), w.admin, d.Steer, host+":9093",
		filepath.Join(here, "store"), w.file("store"), filepath.Join(here, "gslb.json"), w.file("gslb.json"),
		"gslb: ["+places[0].host+"]", "gslb: ["+host+"]",
		"provider: docker-hub", "provider: docker-registry",
	).Replace(string(base))
	// What else the name server listens on has the lab's ports: they are the same on all.
	w.text = regexp.MustCompile(`(listen|metrics|peers): "`+regexp.QuoteMeta(places[0].host)+`:`).ReplaceAllString(text, `$1: "`+host+`:`)
	from, to := strings.Index(w.text, "datacenters:"), strings.Index(w.text, "gslb: { listen")
	if from < 0 || to < from {
		t.Fatalf("the lab's fleet file has another form:\n%s", w.text)
	}
	w.datacenters = w.text[from:to]
	writeMisfits(t, w)
	return w
}

// writeMisfits writes certificates with which something is wrong.
func writeMisfits(t *testing.T, w *world) {
	t.Helper()
	authority, authorityKey := newCertificate(t, nil, nil, func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.KeyUsage = "a company's CA", true, x509.KeyUsageCertSign
	})
	writePEM(t, w.file("ca.crt"), "CERTIFICATE", authority.Raw)
	for name, change := range map[string]func(*x509.Certificate){
		"tls":   func(*x509.Certificate) {},
		"other": func(*x509.Certificate) {},
		"ended": func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
		},
		"tomorrow": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) },
		"names":    func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"www.example.net"}, nil },
	} {
		leaf, key := newCertificate(t, authority, authorityKey, func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = []string{domain}, []net.IP{net.ParseIP(w.host)}
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
			change(c)
		})
		writePEM(t, w.file(name+".crt"), "CERTIFICATE", leaf.Raw)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, w.file(name+".key"), "PRIVATE KEY", der)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(other.Public())
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, w.file("rsa.crt"), "PUBLIC KEY", der)
}

// newCertificate makes a certificate of a month that the authority signs; nil: it signs itself.
func newCertificate(t *testing.T, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "an edge"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(30 * 24 * time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	change(c)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if authority == nil {
		authority, authorityKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, authority, key.Public(), authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
