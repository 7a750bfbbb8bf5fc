package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Internet is where hosts have names of their own, as registry-1.docker.io: an HTTP proxy
// that leads each to its stand-in, for https:// too. Who believes Authority and asks by the
// proxy at URL needs no name server, and no address but one of this machine.
type Internet struct {
	URL       string
	Authority []byte // PEM

	proxy, inside *http.Server
	insideAt      string
	hosts         map[string]http.Handler
}

// StartInternet starts an Internet of these hosts, by name.
func StartInternet(hosts map[string]http.Handler) (*Internet, error) {
	certificate, err := certificateOf(slices.Sorted(maps.Keys(hosts)))
	if err != nil {
		return nil, err
	}
	outer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, outer.Close())
	}
	n := &Internet{URL: "http://" + outer.Addr().String(), insideAt: inner.Addr().String(), hosts: hosts,
		Authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})}
	silent := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	n.proxy = &http.Server{Handler: http.HandlerFunc(n.lead), ErrorLog: silent}
	n.inside = &http.Server{Handler: http.HandlerFunc(n.lead), ErrorLog: silent, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	go n.proxy.Serve(outer)             //nolint:errcheck // ends with Close
	go n.inside.ServeTLS(inner, "", "") //nolint:errcheck // ends with Close
	return n, nil
}

// certificateOf is one for all hosts, and its own authority.
func certificateOf(hosts []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Close ends all connections.
func (n *Internet) Close() error { return errors.Join(n.proxy.Close(), n.inside.Close()) }

// lead gives a request to its host, and what is to be a tunnel to the server inside, which
// speaks TLS.
func (n *Internet) lead(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(r.Host, ":")
	handler := n.hosts[name]
	switch {
	case handler == nil:
		http.Error(w, "there is no host "+name, http.StatusBadGateway)
	case r.Method == http.MethodConnect:
		n.tunnel(w)
	default:
		handler.ServeHTTP(w, r)
	}
}

func (n *Internet) tunnel(w http.ResponseWriter) {
	to, err := net.Dial("tcp", n.insideAt)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n") //nolint:errcheck // the copy finds out
	go func() {
		io.Copy(from, to) //nolint:errcheck // either side may end it
		from.Close()
	}()
	io.Copy(to, from) //nolint:errcheck // either side may end it
}
