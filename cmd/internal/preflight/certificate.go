package preflight

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// endsSoon is when the end of a certificate is near enough to say so.
const endsSoon = 14 * 24 * time.Hour

// tryCertificate looks at the edge's own: key, names, dates, uses, and the chain to an
// authority that its peers and clients can believe.
func (m *machine) tryCertificate(_ context.Context, r *results) {
	files := m.Fleet.Edge.TLS
	text, ok := readFile(r, "edge.tls.certificate", files.Certificate)
	keyText, keyOK := readFile(r, "edge.tls.key", files.Key)
	if !ok || !keyOK {
		return
	}
	if info, err := os.Stat(files.Key); err == nil && info.Mode().Perm()&0o004 != 0 {
		r.warn("public-key-file", "edge.tls.key", files.Key+" is readable for every user of this machine", "chmod o= "+files.Key)
	}
	chain, err := parseCertificates(text)
	if err != nil {
		r.fault("broken", "edge.tls.certificate", fmt.Sprintf("%s: %s", files.Certificate, oneLine(err)), "put the certificate there, in PEM, and those between it and its authority behind it")
		return
	}
	leaf, ok := m.matchKey(r, chain, keyText)
	if !ok {
		return
	}
	m.tryNames(r, leaf)
	m.tryDates(r, leaf)
	if m.Fleet.Edge.Peers.CA != "" && !slices.ContainsFunc(leaf.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny
	}) {
		r.fault("not-for-clients", "edge.tls.certificate", "it is not for clients (no clientAuth among its extended key usages), and edge.peers.ca has edges show it to each other",
			"have one issued with serverAuth and clientAuth, or set edge.peers.key alone")
	}
	m.tryChain(r, chain)
	r.say("for %s, until %s", strings.Join(slices.Concat(leaf.DNSNames, addressesOf(leaf)), ", "), leaf.NotAfter.Format("2006-01-02"))
}

func addressesOf(c *x509.Certificate) (all []string) {
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// matchKey finds out whether the key is the first certificate's.
func (m *machine) matchKey(r *results, chain []*x509.Certificate, keyText []byte) (leaf *x509.Certificate, ok bool) {
	key, err := publicOf(keyText)
	files := m.Fleet.Edge.TLS
	if err != nil {
		r.fault("key-broken", "edge.tls.key", fmt.Sprintf("%s: %s", files.Key, oneLine(err)), "put the certificate's private key there, in PEM, without a password")
		return nil, false
	}
	switch at := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return key.Equal(c.PublicKey) }); {
	case at < 0:
		r.fault("other-key", "edge.tls.key", fmt.Sprintf("the key in %s is not that of the certificate in %s", files.Key, files.Certificate), "put the two of one issue there")
	case at > 0:
		r.fault("order", "edge.tls.certificate", fmt.Sprintf("the edge's own certificate is number %d in %s", at+1, files.Certificate), "put it first, and behind each the one that signed it")
	default:
		return chain[0], true
	}
	return nil, false
}

// publicOf is the public half of a private key in PEM.
func publicOf(text []byte) (key interface{ Equal(crypto.PublicKey) bool }, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		parsed, err := parseKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if signer, ok := parsed.(crypto.Signer); ok {
			if key, ok = signer.Public().(interface{ Equal(crypto.PublicKey) bool }); ok {
				return key, nil
			}
		}
		return nil, fmt.Errorf("a key of type %T cannot sign", parsed)
	}
	return nil, errors.New("there is no PEM private key in it")
}

func parseKey(der []byte) (any, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("the private key in it is damaged, or has a password")
}

// tryNames wants the certificate to be for every name that leads to this edge.
func (m *machine) tryNames(r *results, leaf *x509.Certificate) {
	type name struct{ field, host string }
	wanted := []name{{"domain", m.Fleet.Domain}}
	if u, err := url.Parse(string(m.own.Edge)); err == nil && u.Scheme == "https" {
		wanted = append(wanted, name{"datacenters." + m.Datacenter + ".edge", u.Hostname()})
	}
	if m.Fleet.GSLB != nil {
		for _, further := range sorted(m.Fleet.GSLB.Names) {
			wanted = append(wanted, name{"gslb.names." + further, further})
		}
	}
	for _, w := range wanted {
		if leaf.VerifyHostname(w.host) != nil {
			has := strings.Join(slices.Concat(leaf.DNSNames, addressesOf(leaf)), ", ")
			if has == "" {
				has = "no name at all"
			}
			r.fault("names", w.field, fmt.Sprintf("it is not for %s (%s), but for %s", w.host, w.field, has), "have one issued with "+w.host+" among its names")
		}
	}
}

func (m *machine) tryDates(r *results, leaf *x509.Certificate) {
	now := m.Now()
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		r.fault("ended", "edge.tls.certificate", "it ended on "+leaf.NotAfter.Format("2006-01-02 15:04 MST"), "renew it; the edge takes a new one without a restart")
	case now.Before(leaf.NotBefore):
		r.fault("not-yet", "edge.tls.certificate", "it begins on "+leaf.NotBefore.Format("2006-01-02 15:04 MST")+" only", "set this machine's clock, or put the one of now there")
	case left < endsSoon:
		r.warn("ends-soon", "edge.tls.certificate", fmt.Sprintf("it ends in %d days, on %s", int(left.Hours()/24), leaf.NotAfter.Format("2006-01-02")), "renew it, and see why it was not renewed by itself")
	}
}

// tryChain wants each to be signed by the one behind it, up to an authority that the
// machine or the fleet file knows. Dates are looked at elsewhere.
func (m *machine) tryChain(r *results, chain []*x509.Certificate) {
	leaf, between := chain[0], x509.NewCertPool()
	for i, c := range chain[1:] {
		between.AddCert(c)
		if chain[i].CheckSignatureFrom(c) != nil {
			r.warn("order", "edge.tls.certificate", fmt.Sprintf("certificate number %d of the file did not sign the one before it: some clients do not sort them", i+2), "put behind each the one that signed it")
			break
		}
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	own := x509.NewCertPool()
	for _, ca := range []string{m.Fleet.Harbor.CA, m.Fleet.Edge.Peers.CA} {
		if text, err := os.ReadFile(ca); ca != "" && err == nil {
			roots.AppendCertsFromPEM(text)
			if ca == m.Fleet.Edge.Peers.CA {
				own.AppendCertsFromPEM(text)
			}
		}
	}
	during := leaf.NotAfter.Add(-time.Second)
	if now := m.Now(); now.After(leaf.NotBefore) && now.Before(leaf.NotAfter) {
		during = now
	}
	any := []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: during, KeyUsages: any}); err != nil {
		selfSigned := bytes.Equal(leaf.RawIssuer, leaf.RawSubject)
		last := chain[len(chain)-1]
		what := fmt.Sprintf("no authority that this machine or the fleet file knows vouches for it: %q, which signed %q, is not in the file", last.Issuer, last.Subject)
		if selfSigned {
			what = "it is signed by itself: no authority vouches for it"
		}
		r.fault("chain", "edge.tls.certificate", what, "append the certificates between it and its authority; where that is your own, name its file in harbor.ca, or let this machine know it")
		return
	}
	if m.Fleet.Edge.Peers.CA == "" {
		return
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: own, Intermediates: between, CurrentTime: during, KeyUsages: any}); err != nil {
		r.fault("other-authority", "edge.tls.certificate", "edge.peers.ca did not sign it: other edges take it for nobody's", "have it issued by the authority in "+m.Fleet.Edge.Peers.CA)
	}
}

// ownCertificate is the edge's, for showing it to peers; nil where it cannot be read.
func (m *machine) ownCertificate() *tls.Certificate {
	pair, err := tls.LoadX509KeyPair(m.Fleet.Edge.TLS.Certificate, m.Fleet.Edge.TLS.Key)
	if err != nil {
		return nil
	}
	return &pair
}
