package daemon

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.org/breakwater/internal/trial"
)

// dialFrom connects from one of the loopback's addresses.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A client that opens many connections and says nothing keeps out itself alone, and
// has room again when it closes some.
func TestConnectionsAreBounded(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = newLimit(6, 3).watch
	server.Start()
	defer server.Close()
	address := server.Listener.Addr().String()
	served := func(c net.Conn) bool {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return false
		}
		n, _ := c.Read(make([]byte, 1))
		return n > 0
	}
	var slow []net.Conn
	for range 3 {
		c := dialFrom(t, "127.0.0.2", address)
		if _, err := io.WriteString(c, "GET / HTT"); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	if served(dialFrom(t, "127.0.0.2", address)) {
		t.Error("a fourth connection of one client was served")
	}
	for range 3 {
		if !served(dialFrom(t, "127.0.0.3", address)) {
			t.Error("another client was not served")
		}
	}
	if served(dialFrom(t, "127.0.0.4", address)) {
		t.Error("a seventh connection was served")
	}
	slow[0].Close()
	trial.Until(t, func() error { // the server hears of the end in its own time
		if !served(dialFrom(t, "127.0.0.4", address)) {
			return errors.New("there is no room again")
		}
		return nil
	})
}
