package daemon

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// takeOverEvery is how often a port is tried that another program has still.
const takeOverEvery = 50 * time.Millisecond

// ListenWhenFree is Listen for who takes over from another process: where that one has the
// port still, the listener begins when it has ended.
func ListenWhenFree(what, address string) (net.Listener, error) {
	l, err := Listen(what, address)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &heir{what: what, address: at, ctx: ctx, cancel: cancel}, nil
}

// heir is a listener that has no port yet.
type heir struct {
	what    string
	address *net.TCPAddr
	ctx     context.Context // ends when it is closed
	cancel  context.CancelFunc

	mu sync.Mutex
	l  net.Listener // nil: not yet
}

// Accept waits for the port first.
func (h *heir) Accept() (net.Conn, error) {
	for {
		l, err := h.listener()
		if err == nil {
			return l.Accept()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		select {
		case <-h.ctx.Done():
			return nil, net.ErrClosed
		case <-time.After(takeOverEvery):
		}
	}
}

func (h *heir) listener() (_ net.Listener, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.l == nil && h.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	if h.l == nil {
		l, err := Listen(h.what, h.address.String())
		if err != nil {
			return nil, err
		}
		h.l = l
	}
	return h.l, nil
}

func (h *heir) Close() error {
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.l == nil {
		return nil
	}
	return h.l.Close()
}

func (h *heir) Addr() net.Addr { return h.address }
