package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// writeKeys puts into dir what the processes share: the key that signs tokens
// and its public half, the robot's secret, and a certificate for 127.0.0.1. It
// returns the CA that signed that.
func writeKeys(dir string) (*x509.CertPool, error) {
	token, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&token.PublicKey)
	if err != nil {
		return nil, err
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	until := time.Now().Add(24 * time.Hour)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &ca.PublicKey, ca)
	if err != nil {
		return nil, err
	}
	server, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "bench"}, NotBefore: root.NotBefore, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &server.PublicKey, ca)
	if err != nil {
		return nil, err
	}
	serverDER, err := x509.MarshalPKCS8PrivateKey(server)
	if err != nil {
		return nil, err
	}
	write := func(name, kind string, der []byte) error {
		return os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	if err := os.WriteFile(filepath.Join(dir, "peer-key"), []byte(peerKey), 0o600); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if root, err = x509.ParseCertificate(rootDER); err != nil {
		return nil, err
	}
	pool.AddCert(root)
	return pool, errors.Join(
		write("token.key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(token)),
		write("token.pem", "PUBLIC KEY", public),
		write("ca.crt", "CERTIFICATE", rootDER),
		write("tls.crt", "CERTIFICATE", leafDER),
		write("tls.key", "PRIVATE KEY", serverDER),
		os.WriteFile(filepath.Join(dir, "robot-secret"), []byte(robotSecret), 0o600))
}
