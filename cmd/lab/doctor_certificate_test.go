package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issued is a certificate that an authority signed, another one between them.
type issued struct {
	authority, between, leaf *x509.Certificate
	keys                     map[*x509.Certificate]*ecdsa.PrivateKey
}

func issue(t *testing.T, change func(leaf *x509.Certificate)) *issued {
	t.Helper()
	now := time.Now()
	i := &issued{keys: map[*x509.Certificate]*ecdsa.PrivateKey{}}
	make := func(name string, above *x509.Certificate, change func(*x509.Certificate)) *x509.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(60 * 24 * time.Hour)}
		change(c)
		by, parent := key, c
		if above != nil {
			by, parent = i.keys[above], above
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		i.keys[c] = key
		return c
	}
	signs := func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	i.authority = make("an authority", nil, signs)
	i.between = make("one between", i.authority, signs)
	i.leaf = make("an edge", i.between, func(c *x509.Certificate) {
		c.DNSNames, c.KeyUsage = []string{domain, "edge.par1.example.org"}, x509.KeyUsageDigitalSignature
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		change(c)
	})
	return i
}

func certificates(all ...*x509.Certificate) string {
	var text strings.Builder
	for _, c := range all {
		pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) //nolint:errcheck // into memory
	}
	return text.String()
}

func (i *issued) key(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.keys[c])
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// secured is the fleet file of an edge that has a certificate, and does not run yet.
func (p *patient) secured(t *testing.T, i *issued, certificate, key string, pairs ...string) string {
	own := func(url string) string { return fmt.Sprintf(": %q", strings.TrimPrefix(url, "http://")) }
	d := p.Datacenters[0]
	return p.with(t, append([]string{
		"plain_http: true", fmt.Sprintf("tls: { certificate: %q, key: %q }", certificate, key),
		fmt.Sprintf("edge: %q", d.Edge), `edge: "https://edge.par1.example.org"`,
		own(d.Edge), `: "127.0.0.1:0"`, own(d.Metrics), `: "127.0.0.1:0"`, own(d.Admin), `: "127.0.0.1:0"`,
		"harbor: { username:", fmt.Sprintf("harbor: { ca: %q, username:", put(t, certificates(i.authority))),
	}, pairs...)...)
}

// issuedWith is an edge whose certificate is as it should be, but for one thing.
func issuedWith(change func(leaf *x509.Certificate)) func(t *testing.T, p *patient) string {
	return func(t *testing.T, p *patient) string {
		i := issue(t, change)
		return p.secured(t, i, put(t, certificates(i.leaf, i.between)), put(t, i.key(t, i.leaf)))
	}
}

func asItShouldBe(*x509.Certificate) {}

// TestDoctorOfACertificate examines one that is as it should be.
func TestDoctorOfACertificate(t *testing.T) {
	t.Parallel()
	p := startPatient(t)
	text := issuedWith(asItShouldBe)(t, p)
	if found, status, printed := p.examine(t, text, p.Parent, "--skip", "machine,store"); status != 0 || len(found) > 0 || !strings.Contains(printed, "edge.par1.example.org") {
		t.Errorf("exit status %d:\n%s", status, printed)
	}
	p.checkOffline(t, text)
}

// checkOffline has check look at the same machine without a network.
func (p *patient) checkOffline(t *testing.T, text string) {
	file := put(t, text)
	out := output(t, clientCommand(t, t.TempDir(), p.program, "check", file, "--datacenter", "par1", "--skip", "machine,store"))
	for _, want := range []string{"is a fleet of 3 datacenters", "certificate", "ports", "0 faults, 0 warnings"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "Harbor:") || strings.Contains(out, "delegation") {
		t.Errorf("check asks the network:\n%s", out)
	}
	if err := os.Remove(filepath.Join(p.dir, "readonly-secret")); err != nil {
		t.Fatal(err)
	}
	if out := fails(t, clientCommand(t, t.TempDir(), p.program, "check", file, "--datacenter", "par1", "--skip", "machine,store")); !strings.Contains(out, "projects.multi-dc.demo.robots.readonly") {
		t.Errorf("a secret is gone, and check says\n%s", out)
	}
}

var certificateTroubles = []trouble{
	{name: "the certificate has ended", id: "certificate.ended", do: issuedWith(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })},
	{name: "the certificate has not begun", id: "certificate.not-yet", do: issuedWith(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })},
	{name: "the certificate ends soon", id: "certificate.ends-soon", warn: true, do: issuedWith(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(5 * 24 * time.Hour) })},
	{name: "the certificate is not for the domain", id: "certificate.names", do: issuedWith(func(c *x509.Certificate) { c.DNSNames = []string{"edge.par1.example.org"} })},
	{name: "the certificate is not for the edge's address", id: "certificate.names", do: issuedWith(func(c *x509.Certificate) { c.DNSNames = []string{domain} })},
	{name: "the key is of another certificate", id: "certificate.other-key", do: func(t *testing.T, p *patient) string {
		i, other := issue(t, asItShouldBe), issue(t, asItShouldBe)
		return p.secured(t, i, put(t, certificates(i.leaf, i.between)), put(t, other.key(t, other.leaf)))
	}},
	{name: "the one between is missing", id: "certificate.chain", do: func(t *testing.T, p *patient) string {
		i := issue(t, asItShouldBe)
		return p.secured(t, i, put(t, certificates(i.leaf)), put(t, i.key(t, i.leaf)))
	}},
	{name: "the one between comes first", id: "certificate.order", do: func(t *testing.T, p *patient) string {
		i := issue(t, asItShouldBe)
		return p.secured(t, i, put(t, certificates(i.between, i.leaf)), put(t, i.key(t, i.leaf)))
	}},
	{name: "there is no key", id: "certificate.unreadable", do: func(t *testing.T, p *patient) string {
		i := issue(t, asItShouldBe)
		return p.secured(t, i, put(t, certificates(i.leaf, i.between)), filepath.Join(t.TempDir(), "none"))
	}},
	{name: "the key is damaged", id: "certificate.key-broken", do: func(t *testing.T, p *patient) string {
		i := issue(t, asItShouldBe)
		return p.secured(t, i, put(t, certificates(i.leaf, i.between)), put(t, "no key"))
	}},
	{name: "everybody may read the key", id: "certificate.public-key-file", warn: true, do: func(t *testing.T, p *patient) string {
		i := issue(t, asItShouldBe)
		key := put(t, i.key(t, i.leaf))
		if err := os.Chmod(key, 0o644); err != nil {
			t.Fatal(err)
		}
		return p.secured(t, i, put(t, certificates(i.leaf, i.between)), key)
	}},
	{name: "the certificate is not for clients", id: "certificate.not-for-clients", do: func(t *testing.T, p *patient) string {
		i := issue(t, asItShouldBe)
		return p.secured(t, i, put(t, certificates(i.leaf, i.between)), put(t, i.key(t, i.leaf)), "peers: { key:", fmt.Sprintf("peers: { ca: %q, key:", put(t, certificates(i.authority))))
	}},
	{name: "the certificate is not of the peers' authority", id: "certificate.other-authority", do: func(t *testing.T, p *patient) string {
		i := issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) })
		return p.secured(t, i, put(t, certificates(i.leaf, i.between)), put(t, i.key(t, i.leaf)), "peers: { key:", fmt.Sprintf("peers: { ca: %q, key:", put(t, certificates(issue(t, asItShouldBe).authority))))
	}},
}
