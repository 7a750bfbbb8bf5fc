package peer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"
	"time"

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// signer is an authority, or what it signed.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// sign makes a certificate; parent nil is an authority of its own.
func sign(t *testing.T, parent *signer, change func(*x509.Certificate)) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(c)
	above, by := c, key
	if parent != nil {
		above, by = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, above, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
}

// edge is the certificate of an edge, which is a server and a client.
func edge(host string, usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames, c.ExtKeyUsage = []string{host}, usages }
}

// Whoever shows a certificate that the fleet's authority signed for clients, for the host
// of a peer's address, is that peer; nobody else is.
func TestAnEdgeIsKnownByItsCertificate(t *testing.T) {
	root := sign(t, nil, authority)
	between := sign(t, root, authority)
	others := sign(t, nil, authority)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	var peers []peer.Peer
	for _, name := range []string{"mad1", "drp1"} {
		r, err := registry.NewSource(registry.SourceConfig{URL: "https://edge-" + name + ".example.org:8443", Prefix: peer.Path})
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, peer.Peer{Datacenter: name, Edge: r})
	}
	trust := peer.Trust{Roots: pool, Peers: peers, Now: time.Now}
	client, both := x509.ExtKeyUsageClientAuth, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for name, c := range map[string]struct {
		shown []*signer
		who   string
	}{
		"mad1's":                       {[]*signer{sign(t, root, edge("edge-mad1.example.org", both...))}, "mad1"},
		"drp1's":                       {[]*signer{sign(t, root, edge("edge-drp1.example.org", client))}, "drp1"},
		"one for all edges":            {[]*signer{sign(t, root, edge("*.example.org", client))}, "mad1"},
		"signed by one between":        {[]*signer{sign(t, between, edge("edge-mad1.example.org", client)), between}, "mad1"},
		"without the one between":      {[]*signer{sign(t, between, edge("edge-mad1.example.org", client))}, ""},
		"another one between":          {[]*signer{sign(t, between, edge("edge-mad1.example.org", client)), others}, ""},
		"behind one that says nothing": {[]*signer{sign(t, root, edge("edge-sfo1.example.org", client)), sign(t, root, edge("edge-mad1.example.org", client))}, ""},
		"a server's only":              {[]*signer{sign(t, root, edge("edge-mad1.example.org", x509.ExtKeyUsageServerAuth))}, ""},
		"no edge's of the fleet":       {[]*signer{sign(t, root, edge("edge-sfo1.example.org", client))}, ""},
		"a subject that says so": {[]*signer{sign(t, root, func(c *x509.Certificate) {
			c.Subject.CommonName, c.ExtKeyUsage = "edge-mad1.example.org", []x509.ExtKeyUsage{client}
		})}, ""},
		"another authority's": {[]*signer{sign(t, others, edge("edge-mad1.example.org", client)), others}, ""},
		"its own":             {[]*signer{sign(t, nil, edge("edge-mad1.example.org", client))}, ""},
		"one that has ended": {[]*signer{sign(t, root, func(c *x509.Certificate) {
			edge("edge-mad1.example.org", client)(c)
			c.NotAfter = time.Now().Add(-time.Minute)
		})}, ""},
		"one whose time has not yet come": {[]*signer{sign(t, root, func(c *x509.Certificate) {
			edge("edge-mad1.example.org", client)(c)
			c.NotBefore = time.Now().Add(time.Minute)
		})}, ""},
		"none": {nil, ""},
	} {
		state := &tls.ConnectionState{}
		for _, s := range c.shown {
			state.PeerCertificates = append(state.PeerCertificates, s.cert)
		}
		if who, ok := trust.Datacenter(&http.Request{TLS: state}); who != c.who || ok != (c.who != "") {
			t.Errorf("%s: %q, %t", name, who, ok)
		}
		if who, ok := (peer.Trust{Peers: peers, Now: time.Now}).Datacenter(&http.Request{TLS: state}); ok {
			t.Errorf("%s: %q where no certificate counts", name, who)
		}
	}
	if who, ok := trust.Datacenter(&http.Request{}); ok {
		t.Errorf("plain HTTP: %q", who)
	}
	later := trust
	later.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if who, ok := later.Datacenter(&http.Request{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{sign(t, root, edge("edge-mad1.example.org", client)).cert}}}); ok {
		t.Errorf("two hours later: %q", who)
	}
}

// One token is shown until shortly before it ends.
func TestATokenIsKeptForAsLongAsItIsGood(t *testing.T) {
	at := &clock{time.Unix(1_800_000_000, 0)}
	tokens := tokensOf(t, peer.NewKey(fleetKeys, "mad1", at.now))
	first := tokens()
	for second, same := range map[int]bool{1: true, 39: true} {
		at.Time = time.Unix(1_800_000_000+int64(second), 0)
		if again := tokens(); (again == first) != same {
			t.Errorf("after %d seconds: the same %t", second, again == first)
		}
	}
	at.Time = time.Unix(1_800_000_040, 0)
	if again := tokens(); again == first {
		t.Error("it is shown in its last 20 seconds")
	}
}
