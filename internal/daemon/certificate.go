package daemon

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAgain is how often the certificate's files are looked at.
const lookAgain = 10 * time.Second

// Certificate is a certificate and key in PEM files, read again when they
// change. A broken pair keeps the last good one in use.
type Certificate struct {
	Now        func() time.Time // nil: time.Now
	AskClients bool             // for a certificate of theirs, which nobody verifies here and nobody needs to have

	log *slog.Logger

	mu        sync.Mutex
	cert, key string
	current   *tls.Certificate
	changed   [2]time.Time
	looked    time.Time
}

// LoadCertificate reads the pair once, so that a fault shows at the start.
func LoadCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config is the TLS configuration that serves the certificate: TLS 1.2 or
// newer, HTTP/2 offered.
func (c *Certificate) Config() *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.get(), nil
		},
	}
	asking := config.Clone()
	asking.ClientAuth = tls.RequestClientCert
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.AskClients {
			return asking, nil
		}
		return nil, nil // this one
	}
	return config
}

// Use has the certificate be what next is: other files, and whether clients are asked.
func (c *Certificate) Use(next *Certificate) {
	next.mu.Lock()
	cert, key, current, changed, ask := next.cert, next.key, next.current, next.changed, next.AskClients
	next.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cert, c.key, c.current, c.changed, c.AskClients = cert, key, current, changed, ask
}

// Expires is when the certificate that is served ends.
func (c *Certificate) Expires() time.Time { return c.get().Leaf.NotAfter }

// Show makes a client show the certificate to servers that ask for one.
func (c *Certificate) Show(config *tls.Config) {
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return c.get(), nil
	}
}

func (c *Certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.Now != nil {
		now = c.Now()
	}
	if now.Sub(c.looked) < lookAgain {
		return c.current
	}
	c.looked = now
	if times, err := c.times(); err == nil && times == c.changed {
		return c.current
	}
	if err := c.load(); err != nil {
		c.log.Warn("certificate not read again, the last good one stays", "err", err.Error())
	}
	return c.current
}

func (c *Certificate) times() (t [2]time.Time, err error) {
	for i, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return t, err
		}
		t[i] = info.ModTime()
	}
	return t, nil
}

func (c *Certificate) load() error {
	times, err := c.times()
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.current, c.changed = &pair, times
	return nil
}
