package daemon_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"example.org/breakwater/internal/daemon"
)

// A server shows another certificate, and asks clients for theirs, while it listens.
func TestACertificateBecomesAnother(t *testing.T) {
	dir := t.TempDir()
	load := func(name string, serial int64) *daemon.Certificate {
		cert, key := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
		writePair(t, cert, key, serial)
		c, err := daemon.LoadCertificate(cert, key, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := load("first", 1), load("second", 2)
	l, err := tls.Listen("tcp", "127.0.0.1:0", first.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { c.(*tls.Conn).Handshake(); c.Close() }() //nolint:errcheck // the client says it
		}
	}()
	shown := func() (serial int64, asked bool) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &tls.Certificate{}, nil
		}})
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), asked
	}
	if serial, asked := shown(); serial != 1 || asked {
		t.Errorf("at the start: the certificate %d, asked %t", serial, asked)
	}
	second.AskClients = true
	first.Use(second)
	if serial, asked := shown(); serial != 2 || !asked {
		t.Errorf("then: the certificate %d, asked %t", serial, asked)
	}
}
