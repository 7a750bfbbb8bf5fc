package daemon

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// limit bounds a server's connections, all together and by client address. What is
// beyond is closed at once: a client that opens thousands and says nothing is to cost
// itself, and nobody else. It watches connections instead of wrapping them, because
// only a bare one lets files leave by the kernel.
type limit struct {
	total, perClient int

	mu   sync.Mutex
	open map[net.Conn]string // each with its client's address
	by   map[string]int
}

func newLimit(total, perClient int) *limit {
	return &limit{total: total, perClient: perClient, open: map[net.Conn]string{}, by: map[string]int{}}
}

// watch is for http.Server.ConnState.
func (l *limit) watch(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if !l.admit(c) {
			closeNow(c)
		}
	case http.StateClosed, http.StateHijacked:
		l.mu.Lock()
		defer l.mu.Unlock()
		client, ok := l.open[c]
		if !ok {
			return
		}
		delete(l.open, c)
		if l.by[client]--; l.by[client] == 0 {
			delete(l.by, client)
		}
	}
}

func (l *limit) admit(c net.Conn) bool {
	client, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		client = c.RemoteAddr().String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.total || l.by[client] >= l.perClient {
		return false
	}
	l.open[c] = client
	l.by[client]++
	return true
}

// closeNow closes without TLS's farewell, which could wait for the client.
func closeNow(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	c.Close() //nolint:errcheck // it was unwanted
}
