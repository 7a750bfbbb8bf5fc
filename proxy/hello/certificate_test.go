package hello_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/proxy/hello"
)

// Certificates are seen as a handshake of now shows them.
func TestAnEdgeSeesACertificateThatIsNotGood(t *testing.T) {
	p := started(t, true)
	p.par1.sees(t, "at the start", hello.OK, "")
	p.mad1.sees(t, "at the start", hello.OK, "")
	good := p.mad1.cert.Load()
	for name, c := range map[string]struct {
		cert       *tls.Certificate
		par1, mad1 string // what they say; par1 is shown it by a server, mad1's is refused as a client's
	}{
		"one that has ended": {p.ca.sign(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			"shows a certificate that this edge does not believe: x509: certificate has expired", "does not believe the certificate of this edge: x509: certificate has expired"},
		"another fleet's":    {newAuthority(t).sign(t, nil), "x509: certificate signed by unknown authority", "does not believe the certificate of this edge: x509: certificate signed by unknown authority"},
		"for another host":   {p.ca.sign(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 9}} }), "x509: certificate is valid for 127.0.0.9, not 127.0.0.1", "it is for the host of no other edge"},
		"for a server alone": {p.ca.sign(t, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), "the edge of mad1 answers, and sees this edge so: certificate", "incompatible key usage"},
	} {
		p.mad1.cert.Store(c.cert)
		state := hello.Certificate
		if strings.Contains(c.par1, "answers") {
			state = hello.OK
		}
		p.par1.sees(t, name, state, c.par1)
		p.mad1.sees(t, name, hello.Certificate, c.mad1)
		p.mad1.cert.Store(good)
		p.par1.sees(t, "after "+name, hello.OK, "")
		p.mad1.sees(t, "after "+name, hello.OK, "")
	}
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(2 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &authority{c, key}
}

// sign makes a certificate of an edge, and changes it.
func (a *authority) sign(t *testing.T, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{{127, 0, 0, 1}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
