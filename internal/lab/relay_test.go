package lab

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startEcho starts what sends back what it gets, to the end.
func startEcho(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn) //nolint:errcheck // the tests see what came back
				conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func startRelay(t *testing.T, target string) *Relay {
	t.Helper()
	r, err := StartRelay(nil, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func dial(t *testing.T, r *Relay) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", r.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echoes sends a word and reads it back.
func echoes(t *testing.T, conn net.Conn, word string) {
	t.Helper()
	if _, err := io.WriteString(conn, word); err != nil {
		t.Fatal(err)
	}
	hears(t, conn, word)
}

func hears(t *testing.T, conn net.Conn, word string) {
	t.Helper()
	got := make([]byte, len(word))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != word {
		t.Fatalf("%q, %v, want %q", got, err, word)
	}
}

// refuses: a new connection is reset at the latest when something is expected of it.
func refuses(t *testing.T, r *Relay) {
	t.Helper()
	conn, err := net.Dial("tcp", r.Address())
	if err != nil {
		return
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a new connection: %d bytes, %v", n, err)
	}
}

// hearsNothing: a busy machine hides what comes late; it makes up nothing.
func hearsNothing(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) //nolint:errcheck // it is open
	n, err := conn.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v over a silent link", n, err)
	}
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // see above
}

func TestARelayCarriesBothWaysToTheEnd(t *testing.T) {
	r := startRelay(t, startEcho(t))
	conn := dial(t, r)
	sent := make([]byte, 10<<20) // more than may be on its way
	for i := range sent {
		sent[i] = byte(i >> 8)
	}
	go func() {
		conn.Write(sent)                 //nolint:errcheck // what came back is compared
		conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // see above
	}()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != string(sent) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(sent), err)
	}
}

// A cut link breaks what runs, and takes nothing new.
func TestARelayThatRefuses(t *testing.T) {
	r := startRelay(t, startEcho(t))
	conn := dial(t, r)
	echoes(t, conn, "well")
	r.Set(Link{Refused: true})
	if n, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("in the middle of a stream: %d bytes, %v", n, err)
	}
	refuses(t, r)
	r.Set(Link{})
	echoes(t, dial(t, r), "again")
}

// Over a silent link nothing arrives and nothing breaks; afterwards all arrives.
func TestASilentRelay(t *testing.T) {
	r := startRelay(t, startEcho(t))
	old := dial(t, r)
	echoes(t, old, "well")
	r.Set(Link{Silent: true})
	young := dial(t, r)
	for _, conn := range []net.Conn{old, young} {
		if _, err := io.WriteString(conn, "sent meanwhile"); err != nil {
			t.Fatal(err)
		}
		hearsNothing(t, conn)
	}
	if !r.Link().Silent {
		t.Error("it does not say what it is")
	}
	r.Set(Link{})
	hears(t, old, "sent meanwhile")
	hears(t, young, "sent meanwhile")
}

// A delay is that of each byte, there and back; and of a new connection's first round.
func TestASlowRelay(t *testing.T) {
	const delay = 20 * time.Millisecond
	r := startRelay(t, startEcho(t))
	conn := dial(t, r)
	echoes(t, conn, "well")
	r.Set(Link{Delay: delay})
	begun := time.Now()
	echoes(t, conn, "slow")
	if took := time.Since(begun); took < 2*delay {
		t.Errorf("there and back took %v, less than %v", took, 2*delay)
	}
	begun = time.Now()
	echoes(t, dial(t, r), "slow")
	if took := time.Since(begun); took < 4*delay {
		t.Errorf("a new connection's answer took %v, less than %v", took, 4*delay)
	}
}

// What has not left yet keeps its sender waiting; all of it is counted.
func TestARelayWithARate(t *testing.T) {
	const rate, size = 20 << 20, 2 << 20
	r := startRelay(t, startEcho(t))
	r.Set(Link{Rate: rate})
	conn := dial(t, r)
	sent := strings.Repeat("slow", size/4)
	begun := time.Now()
	go io.WriteString(conn, sent) //nolint:errcheck // what comes back is compared
	hears(t, conn, sent)
	if took, least := time.Since(begun), time.Second*size/rate; took < least {
		t.Errorf("%d bytes took %v, less than %v", size, took, least)
	}
	if there, back := r.Carried(); there != size || back != size {
		t.Errorf("%d bytes there and %d back are counted, not %d", there, back, size)
	}
}

// A link that is as long as the window takes all that is sent before any of it arrives.
func TestARelayWithAWindow(t *testing.T) {
	const window = 128 << 20 // more than a system buffers by itself
	r := startRelay(t, startEcho(t))
	r.Set(Link{Window: window})
	conn := dial(t, r)
	echoes(t, conn, "well")
	r.Set(Link{Silent: true})
	conn.SetWriteDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // it is open
	if n, err := conn.Write(make([]byte, window/4)); err != nil {
		t.Errorf("%d of %d bytes were taken: %v", n, window/4, err)
	}
}

func TestARelayToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := startRelay(t, l.Addr().String())
	refuses(t, r)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	refuses(t, r)
}

// short is a listener to which the system says a few times that too many files are open.
type short struct {
	net.Listener
	left atomic.Int64
}

// Accept implements net.Listener.
func (s *short) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

// Too many files are open for a moment: the relay carries what comes after that.
func TestARelayOutlivesTooManyOpenFiles(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer srv.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &short{Listener: listener}
	s.left.Store(3)
	r, err := StartRelay(s, srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + r.Address())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTeapot {
		t.Error(resp.Status)
	}
}
