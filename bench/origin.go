package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"example.org/breakwater/internal/lab"
)

const (
	project = "repl-bench"
	repo    = project + "/image"
	tag     = "latest"

	pushProject = "multi-dc-bench"
	pushRepo    = pushProject + "/image"

	robotName   = "breakwater-edge"
	robotSecret = "Edge1Secret2Edge"
	clientName  = "client" // the clients' robot
	peerKey     = "Peers1Only2SecretPeers1Only2Secret"

	http2 = "h2" // as TLS calls it (RFC 9113, section 3.1)
)

// ready is what the origin's process says when it serves.
type ready struct {
	URL      string // plain HTTP
	TLS      string // HTTP/1.1 alone
	TLS2     string // HTTP/2 and HTTP/1.1, as the client likes
	Open     string // a plain registry, which asks nobody who he is
	OpenTLS  string
	Empty    string // the stand-in without content, of which the others' tokens are good too
	Username string // of the administrator, who pushes
	Password string
}

// serveOrigin is the origin's process: the stand-in and a plain registry, each on a
// plain listener and two with TLS, and a rate of the stand-in's that is set by lines
// of bytes a second on in (0: none). Each line is answered by one on out. It ends
// with ctx or with in.
func serveOrigin(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	key, err := readKey(filepath.Join(dir, "token.key"))
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	link, err := newLink(certificate)
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	openLink, err := newLink(certificate)
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	open, err := lab.StartUpstream(openLink)
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	defer open.Close()
	h, err := lab.StartHarbor(lab.HarborConfig{Listener: link, Dir: filepath.Join(dir, "origin"), Key: key, Scheme: lab.AsAsked})
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	defer h.Close()
	bare, err := lab.StartHarbor(lab.HarborConfig{Key: key, Scheme: lab.AsAsked})
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	defer bare.Close()
	bare.CreateProject(project, true)
	bare.CreateRobot("*", robotName, robotSecret, "pull")
	h.CreateProject(project, true)
	h.CreateProject(pushProject, false)
	h.CreateRobot("*", robotName, robotSecret, "pull")
	h.CreateRobot(pushProject, clientName, robotSecret, "pull", "push")
	r := ready{Empty: bare.URL(), URL: h.URL(), TLS: "https://" + link.secure.Addr().String(), Open: open.URL(), OpenTLS: "https://" + openLink.secure.Addr().String(),
		TLS2: "https://" + link.second.Addr().String()}
	r.Username, r.Password = h.Admin()
	answers := json.NewEncoder(out)
	if err := answers.Encode(r); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			var rate int64
			if _, err := fmt.Sscan(lines.Text(), &rate); err != nil {
				ended <- fmt.Errorf("rate %q: %w", lines.Text(), err)
				return
			}
			link.rate.Store(rate)
			answers.Encode(rate) //nolint:errcheck // nobody is there: in ends next
		}
		ended <- lines.Err()
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

func readKey(path string) (*rsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", path)
	}
	return x509.ParsePKCS1PrivateKey(block.Bytes)
}

// link is the origin's way to the network: three listeners as one, and a limit on
// what leaves through all connections together.
type link struct {
	plain, secure, second net.Listener // second: HTTP/2 over TLS
	accepted              chan net.Conn
	closed                chan struct{}
	once                  sync.Once
	rate                  atomic.Int64 // bytes a second; 0: as fast as it goes
	pace
}

// pace is what a link lets through, of all who use it together.
type pace struct {
	mu   sync.Mutex
	free time.Time // when what was let through so far has left
}

func newLink(certificate tls.Certificate) (l *link, err error) {
	l = &link{accepted: make(chan net.Conn), closed: make(chan struct{})}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	second := config.Clone()
	second.NextProtos = []string{http2, "http/1.1"}
	for _, to := range []*net.Listener{&l.plain, &l.secure, &l.second} {
		if *to, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	go l.accept(l.plain, func(c net.Conn) net.Conn { return &limited{c, l} })
	go l.accept(l.secure, func(c net.Conn) net.Conn { return tls.Server(&limited{c, l}, config) })
	go l.accept(l.second, func(c net.Conn) net.Conn { return tls.Server(&limited{c, l}, second) })
	return l, nil
}

func (l *link) accept(from net.Listener, wrap func(net.Conn) net.Conn) {
	for {
		c, err := from.Accept()
		if err != nil {
			return
		}
		select {
		case l.accepted <- wrap(c):
		case <-l.closed:
			c.Close()
		}
	}
}

// Accept implements net.Listener.
func (l *link) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener: the plain one's.
func (l *link) Addr() net.Addr { return l.plain.Addr() }

// Close implements net.Listener.
func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return errors.Join(l.plain.Close(), l.secure.Close(), l.second.Close())
}

// pass waits until n more bytes may leave.
func (l *pace) pass(n int, rate int64) {
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	time.Sleep(wait)
}

// limited is one connection through the link.
type limited struct {
	net.Conn
	link *link
}

// Write implements io.Writer, in pieces that leave each connection its turn.
func (c *limited) Write(b []byte) (n int, err error) {
	const piece = 32 << 10
	for len(b) > 0 && err == nil {
		rate, part := c.link.rate.Load(), b
		if rate > 0 {
			part = b[:min(len(b), piece)]
			c.link.pass(len(part), rate)
		}
		var m int
		m, err = c.Conn.Write(part)
		n, b = n+m, b[m:]
	}
	return n, err
}
