package registry

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// closer is a server that answers the first request of a connection, and closes the connection
// when it has read the second one.
type closer struct {
	url string

	mu   sync.Mutex
	seen []string // methods, in order
}

func newCloser(t *testing.T) *closer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &closer{url: "http://" + l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(conn)
		}
	}()
	return c
}

func (c *closer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for n := range 2 {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body) //nolint:errcheck // what came of it
		c.mu.Lock()
		c.seen = append(c.seen, req.Method)
		c.mu.Unlock()
		if n == 0 {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}

func (c *closer) methods() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.seen, " ")
}

// A server may close an idle connection just as a request is written. A read is sent again, on
// another connection; a write may have been done, and is not.
func TestARequestOnAConnectionThatIsBeingClosed(t *testing.T) {
	for method, c := range map[string]struct {
		body string
		seen string
	}{
		"GET":    {"", "GET GET GET"},
		"HEAD":   {"", "GET HEAD HEAD"},
		"PUT":    {"a manifest", "GET PUT"},
		"POST":   {"", "GET POST"},
		"PATCH":  {"a chunk", "GET PATCH"},
		"DELETE": {"", "GET DELETE"},
	} {
		srv := newCloser(t)
		s := newSource(t, SourceConfig{URL: srv.url})
		send := func(method, body string) error {
			var content io.Reader
			if body != "" {
				content = struct{ io.Reader }{strings.NewReader(body)} // as a client's: it cannot be read again
			}
			req, err := http.NewRequestWithContext(t.Context(), method, srv.url+"/v2/", content)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Transport().RoundTrip(req)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return errors.Join(err, resp.Body.Close())
		}
		if err := send(http.MethodGet, ""); err != nil {
			t.Fatal(err)
		}
		trial.Until(t, func() error { // the connection is idle when its answer has been read
			if srv.methods() != "GET" {
				return errors.New(srv.methods())
			}
			return nil
		})
		err := send(method, c.body)
		isRead := method == http.MethodGet || method == http.MethodHead
		if (err == nil) != isRead || srv.methods() != c.seen {
			t.Errorf("%s: %v, the server saw %q, want %q", method, err, srv.methods(), c.seen)
		}
	}
}

// A source may be behind a proxy that wants a login: its own in its URL does, and another one
// says nothing about the source.
func TestAProxyThatWantsALogin(t *testing.T) {
	const password = "hush-hush"
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("edge:"+password))
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the blob") }) //nolint:errcheck // the client is gone
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != want {
			w.Header().Set("Proxy-Authenticate", "Basic realm=x")
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			handler(w, r)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		w.WriteHeader(http.StatusOK)
		conn, begun, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, to) //nolint:errcheck // until either ends
		}()
		io.Copy(to, begun) //nolint:errcheck // as above; what the client said first may have been read already
		to.Close()
	}))
	t.Cleanup(proxy.Close)
	address := strings.TrimPrefix(proxy.URL, "http://")
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	for _, url := range []string{plain.URL, secure.URL} {
		for login, says := range map[string]string{"edge:" + password + "@": "", "edge:" + password + "x@": "does not take the login", "": "wants a login"} {
			s := newSource(t, SourceConfig{URL: url, Proxy: "http://" + login + address, TLS: &tls.Config{RootCAs: pool}})
			resp, err := s.Do(t.Context(), Request{Method: http.MethodGet, Kind: KindBlob, Repo: "p/a", Digest: someDigest}, nil)
			if says == "" {
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("%s with the right login: %v, %v", url, resp, err)
				}
				continue
			}
			if err == nil {
				t.Errorf("%s by %q: %s", url, login, resp.Status)
				continue
			}
			if !errors.Is(err, &Error{Code: CodeUnavailable}) || !strings.Contains(err.Error(), "the proxy "+address+" "+says) || strings.Contains(err.Error(), password) {
				t.Errorf("%s by %q: %v", url, login, err)
			}
		}
	}
}

// A server's certificate may change while connections to it live: they go on, and the next is
// made by the new one, or not at all.
func TestACertificateThatChangesUnderKeepAlive(t *testing.T) {
	for _, proto := range []string{"HTTP/1", "HTTP/2"} {
		a, b, stranger := certificateOf(t), certificateOf(t), certificateOf(t)
		var shown atomic.Pointer[tls.Certificate]
		shown.Store(&a.pair)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.EnableHTTP2 = proto == "HTTP/2"
		srv.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil }}
		srv.StartTLS()
		srv.TLS.Certificates = nil // of the server's own making
		t.Cleanup(srv.Close)
		pool := x509.NewCertPool()
		pool.AddCert(a.leaf)
		pool.AddCert(b.leaf)
		s := newSource(t, SourceConfig{URL: srv.URL, TLS: &tls.Config{RootCAs: pool}})
		ask := func() error {
			req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, srv.URL+"/v2/", nil)
			resp, err := s.Transport().RoundTrip(req)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		}
		for i, c := range []struct {
			show  *tls.Certificate
			again bool // over another connection
			fails bool
		}{{&a.pair, false, false}, {&b.pair, false, false}, {&b.pair, true, false}, {&stranger.pair, false, false}, {&stranger.pair, true, true}, {&a.pair, false, false}} {
			shown.Store(c.show)
			if c.again {
				srv.CloseClientConnections()
				s.CloseIdleConnections()
			}
			if err := ask(); (err != nil) != c.fails {
				t.Errorf("%s, step %d: %v", proto, i, err)
			}
		}
	}
}

// certificate is one of a server on this machine, which nobody but itself has signed.
type certificate struct {
	pair tls.Certificate
	leaf *x509.Certificate
}

func certificateOf(t *testing.T) certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, leaf}
}
