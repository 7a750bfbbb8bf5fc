package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// wire passes bytes between a source and its server, until it is cut: then what is sent
// is lost, and nobody is told, as by a firewall that has lost its state.
type wire struct {
	listener net.Listener
	to       string

	mu   sync.Mutex
	lost []chan struct{} // of each connection; closed: its bytes are lost
	down bool            // new connections are lost too
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &wire{listener: l, to: to}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go w.pass(conn)
		}
	}()
	return w
}

func (w *wire) pass(client net.Conn) {
	lost := make(chan struct{})
	w.mu.Lock()
	w.lost = append(w.lost, lost)
	if w.down {
		close(lost)
	}
	w.mu.Unlock()
	server, err := net.Dial("tcp", w.to)
	if err != nil {
		client.Close()
		return
	}
	defer server.Close()
	go w.copy(client, server, lost)
	w.copy(server, client, lost)
}

// copy goes on reading what is lost: the sender does not notice.
func (w *wire) copy(to, from net.Conn, lost chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-lost:
			if err != nil {
				return
			}
			continue
		default:
		}
		if err != nil {
			to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut loses what is sent on the connections that there are; with down, on new ones too.
func (w *wire) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, lost := range w.lost {
		select {
		case <-lost:
		default:
			close(lost)
		}
	}
	w.down = down
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// behindWire starts a server of HTTP/1 or 2, and returns a source that reaches it by a wire.
func behindWire(t *testing.T, http2 bool) (*Source, *wire) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.ProtoMajor)
	}))
	srv.EnableHTTP2 = http2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	w := newWire(t, srv.Listener.Addr().String())
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	s, err := NewSource(SourceConfig{URL: "https://" + w.listener.Addr().String(), TLS: &tls.Config{RootCAs: pool}, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	want := "1"
	if http2 {
		want = "2"
	}
	if proto, err := askOver(t, s); err != nil || proto != want {
		t.Fatalf("HTTP/%s, %v", proto, err)
	}
	return s, w
}

// askOver asks as a probe does: an answer within a second, or none.
func askOver(t *testing.T, s *Source) (proto string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL().String()+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Transport().RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// An HTTP/2 connection that is dead is given up within seconds: without pings every
// request would go to it, for a quarter of an hour.
func TestADeadHTTP2ConnectionIsGivenUp(t *testing.T) {
	t.Parallel() // it waits most of the time
	s, w := behindWire(t, true)
	w.cut(false)
	if _, err := askOver(t, s); err == nil {
		t.Fatal("the connection is not dead")
	}
	begun := time.Now()
	trial.Until(t, func() error {
		_, err := askOver(t, s)
		return err
	})
	if took := time.Since(begun); took > 30*time.Second { // 5 s on an idle machine
		t.Errorf("it was used for %v", took)
	}
}

// After a partition the first question is answered, by HTTP/1 and by HTTP/2.
func TestTheFirstQuestionAfterAPartitionIsAnswered(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			t.Parallel() // it waits most of the time
			s, w := behindWire(t, http2)
			w.cut(true)
			for begun := time.Now(); time.Since(begun) < 2*(pingAfter+pingDeadline); { // as long as it takes to be noticed
				if _, err := askOver(t, s); err == nil {
					t.Fatal("there is no partition")
				}
			}
			s.CloseIdleConnections() // as whoever finds it down does
			w.heal()
			if _, err := askOver(t, s); err != nil {
				t.Error(err)
			}
		})
	}
}

// Idle connections of HTTP/1 that died unseen are not tried one after the other.
func TestIdleConnectionsOfASourceThatWasDownAreClosed(t *testing.T) {
	s, w := behindWire(t, false)
	var all sync.WaitGroup
	for range 8 { // as many connections
		all.Go(func() { askOver(t, s) }) //nolint:errcheck // it is for the connections
	}
	all.Wait()
	w.cut(false)
	if _, err := askOver(t, s); err == nil {
		t.Fatal("the connections are not dead")
	}
	s.CloseIdleConnections()
	if _, err := askOver(t, s); err != nil {
		t.Errorf("a dead connection was tried again: %v", err)
	}
}
