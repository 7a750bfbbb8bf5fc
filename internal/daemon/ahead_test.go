package daemon

//lint:file-ignore SA1019 as of what is tested

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
)

// pipes is a network without buffers: what a client has sent the server has read.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.accepted <- far
	return near
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// sends has a client send a body that the server is to sum up, and reports whether it said so.
func sends(to net.Conn, path string, body []byte, want string) error {
	conn, err := new(http2.Transport).NewClientConn(tls.Client(to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}))
	if err != nil {
		return err
	}
	defer conn.Close()
	req, err := http.NewRequest(http.MethodPut, "https://edge"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := conn.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != want {
		return fmt.Errorf("the server read %s, %v", got, err)
	}
	return nil
}

// TestWhatNobodyReadsIsBounded has clients send bodies that nobody reads: each a whole window
// while there is room, then a little each; and all of it arrives when it is read at last.
func TestWhatNobodyReadsIsBounded(t *testing.T) {
	keys := httptest.NewTLSServer(nil)
	defer keys.Close()
	synctest.Test(t, func(t *testing.T) {
		all := newAhead(2 * window)
		read := make(chan struct{})
		server := &http.Server{TLSConfig: &tls.Config{Certificates: keys.TLS.Certificates, NextProtos: []string{"h2"}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/left" {
				return // the body is thrown away
			}
			<-read
			sum := sha256.New()
			io.Copy(sum, r.Body) //nolint:errcheck // the sum tells
			fmt.Fprintf(w, "%x", sum.Sum(nil))
		})}
		if err := all.speakHTTP2(server); err != nil {
			t.Fatal(err)
		}
		network := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
		go server.ServeTLS(network, "", "") //nolint:errcheck // until it is closed
		defer server.Close()

		body := bytes.Repeat([]byte("breakwater"), 4<<20)
		want := fmt.Sprintf("%x", sha256.Sum256(body))
		var clients sync.WaitGroup
		push := func(path, want string) {
			clients.Go(func() {
				if err := sends(network.dial(), path, body, want); err != nil {
					t.Error(err)
				}
			})
		}
		sum := func() int64 {
			synctest.Wait() // everybody waits for somebody
			all.mu.Lock()
			defer all.mu.Unlock()
			return all.sum
		}
		push("/left", "")
		if got := sum(); got != 0 {
			t.Errorf("%d bytes are here of a body that nobody wants", got)
		}
		push("/", want)
		if got := sum(); got != window {
			t.Errorf("one client had %d bytes sent ahead, want a window", got)
		}
		push("/", want)
		push("/", want)
		before := sum()
		for n := int64(1); n <= 4; n++ {
			push("/", want)
			if got, most := sum()-before, n*(surely+1<<20); got < n*surely || got > most { // a frame may have a MiB
				t.Errorf("%d more clients had %d bytes sent ahead, want from %d to %d", n, got, n*surely, most)
			}
		}
		close(read)
		clients.Wait()
		if got := sum(); got != 0 {
			t.Errorf("%d bytes are said to be here when all is read", got)
		}
	})
}
