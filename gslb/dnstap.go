package gslb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	dnstap "github.com/dnstap/golang-dnstap"
	"google.golang.org/protobuf/proto"
)

const (
	tapQueue   = 10_000   // exchanges that wait for the collector
	tapBytes   = 16 << 20 // of their messages together
	tapFile    = 1 << 30  // bytes of a file, beyond which another one is begun
	tapTimeout = 2 * time.Second
	tapRetry   = time.Second // from one attempt to reach the collector to the next
)

// tap tells a collector what is asked and answered, as dnstap (https://dnstap.info) over
// Frame Streams. Who answers never waits for it: what is too much is counted, and lost.
// The library's own writer of sockets waits without end, and does not connect again.
type tap struct {
	to        string // unix:PATH, tcp://HOST:PORT or file:PATH
	identity  []byte
	version   []byte
	log       *slog.Logger
	dropped   func(messages int)
	queue     chan tapped
	waiting   atomic.Int64 // bytes in the queue
	unreached bool         // and the log says so
}

// tapped is a query and its answer, nil where there is none.
type tapped struct {
	query, response  []byte
	from, to         netip.AddrPort // port 0: it is not known
	tcp              bool
	asked, responded time.Time
}

// newTap is nil where nothing is to be told.
func newTap(to, identity, version string, log *slog.Logger, dropped func(int)) *tap {
	if to == "" {
		return nil
	}
	return &tap{to: to, identity: []byte(identity), version: []byte(strings.TrimSpace("breakwater " + version)), log: log, dropped: dropped, queue: make(chan tapped, tapQueue)}
}

// now is the time, where somebody wants it.
func (t *tap) now() (at time.Time) {
	if t != nil {
		at = time.Now()
	}
	return at
}

// exchanged takes what was asked and answered. The messages may change afterwards.
func (t *tap) exchanged(x tapped) {
	if t == nil {
		return
	}
	x.responded = time.Now()
	size := int64(len(x.query) + len(x.response))
	if t.waiting.Add(size) > tapBytes {
		t.lose(&x)
		return
	}
	both := append(append(make([]byte, 0, size), x.query...), x.response...)
	x.query = both[:len(x.query):len(x.query)]
	if x.response != nil {
		x.response = both[len(x.query):]
	}
	select {
	case t.queue <- x:
	default:
		t.lose(&x)
	}
}

// overTCP takes what was asked and answered on a connection. Of who asks by way of a proxy
// the port is not known.
func (t *tap) overTCP(c net.Conn, from netip.Addr, x tapped) {
	if t == nil {
		return
	}
	x.tcp, x.from, x.to = true, netip.AddrPortFrom(from, 0), addrPort(c.LocalAddr())
	if remote := addrPort(c.RemoteAddr()); remote.Addr() == from {
		x.from = remote
	}
	t.exchanged(x)
}

// addrPort is a socket's address; invalid: it has none of the internet.
func addrPort(a net.Addr) netip.AddrPort {
	of, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(of.AddrPort().Addr().Unmap().WithZone(""), of.AddrPort().Port())
}

// lose counts an exchange that nobody hears of.
func (t *tap) lose(x *tapped) {
	t.waiting.Add(-int64(len(x.query) + len(x.response)))
	t.dropped(x.messages())
}

func (x *tapped) messages() int {
	if x.response == nil {
		return 1
	}
	return 2
}

// run tells the collector until ctx ends, and then what is left, if it is there.
func (t *tap) run(ctx context.Context) {
	if t == nil {
		return
	}
	for {
		if err := t.connected(ctx); err != nil && !t.unreached && ctx.Err() == nil {
			t.unreached = true
			t.log.Warn("dnstap does not reach its collector, and tries again each second: what does not fit in the queue is lost", "to", t.to, "err", err.Error())
		}
		if !pause(ctx, tapRetry) {
			for len(t.queue) > 0 {
				x := <-t.queue
				t.lose(&x)
			}
			return
		}
	}
}

// connected tells the collector until it is gone, or ctx ends.
func (t *tap) connected(ctx context.Context) error {
	out, socket, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer out.Close()
	w, err := dnstap.NewWriter(out, &dnstap.WriterOptions{Bidirectional: socket, Timeout: tapTimeout})
	if err != nil {
		return fmt.Errorf("greet the collector: %w", err)
	}
	t.log.Info("dnstap reaches its collector", "to", t.to)
	t.unreached = false
	size, unsent := 0, 0 // in bytes; messages that may not have left
	defer func() { t.dropped(unsent) }()
	for {
		var x tapped
		select {
		case x = <-t.queue:
		case <-ctx.Done():
			select {
			case x = <-t.queue:
			default:
				unsent = 0
				return w.Close()
			}
		}
		t.waiting.Add(-int64(len(x.query) + len(x.response)))
		unsent += x.messages()
		n, err := t.tell(w, &x)
		if err != nil {
			return err
		}
		if size += n; size > tapFile && !socket {
			unsent = 0
			return w.Close()
		}
		if len(t.queue) == 0 {
			if err := w.(interface{ Flush() error }).Flush(); err != nil {
				return err
			}
			unsent = 0
		}
	}
}

// open reaches the collector; socket: it answers.
func (t *tap) open(ctx context.Context) (out io.WriteCloser, socket bool, err error) {
	dialer := &net.Dialer{Timeout: tapTimeout}
	if path, ok := strings.CutPrefix(t.to, "unix:"); ok {
		out, err = dialer.DialContext(ctx, "unix", path)
		return out, true, err
	}
	if address, ok := strings.CutPrefix(t.to, "tcp://"); ok {
		out, err = dialer.DialContext(ctx, "tcp", address)
		return out, true, err
	}
	path := strings.TrimPrefix(t.to, "file:")
	if err := os.Rename(path, path+".before"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, false, err
	}
	return f, false, nil
}

// tell writes the messages of an exchange.
func (t *tap) tell(w dnstap.Writer, x *tapped) (size int, err error) {
	kinds := []dnstap.Message_Type{dnstap.Message_AUTH_QUERY, dnstap.Message_AUTH_RESPONSE}
	for _, kind := range kinds[:x.messages()] {
		frame, err := proto.Marshal(&dnstap.Dnstap{Type: dnstap.Dnstap_MESSAGE.Enum(), Identity: t.identity, Version: t.version, Message: x.message(kind)})
		if err != nil {
			return size, fmt.Errorf("make a message: %w", err)
		}
		n, err := w.WriteFrame(frame)
		if size += n; err != nil {
			return size, err
		}
	}
	return size, nil
}

// message is the query, or the answer with the time of its query.
func (x *tapped) message(kind dnstap.Message_Type) *dnstap.Message {
	m := &dnstap.Message{
		Type: kind.Enum(), SocketFamily: dnstap.SocketFamily_INET.Enum(), SocketProtocol: dnstap.SocketProtocol_UDP.Enum(),
		QueryAddress: x.from.Addr().AsSlice(), QueryPort: port(x.from), ResponseAddress: x.to.Addr().AsSlice(), ResponsePort: port(x.to),
		QueryTimeSec: proto.Uint64(uint64(x.asked.Unix())), QueryTimeNsec: proto.Uint32(uint32(x.asked.Nanosecond())),
	}
	if x.from.Addr().Is6() {
		m.SocketFamily = dnstap.SocketFamily_INET6.Enum()
	}
	if x.tcp {
		m.SocketProtocol = dnstap.SocketProtocol_TCP.Enum()
	}
	if kind == dnstap.Message_AUTH_QUERY {
		m.QueryMessage = x.query
		return m
	}
	m.ResponseMessage = x.response
	m.ResponseTimeSec, m.ResponseTimeNsec = proto.Uint64(uint64(x.responded.Unix())), proto.Uint32(uint32(x.responded.Nanosecond()))
	return m
}

func port(a netip.AddrPort) *uint32 {
	if a.Port() == 0 {
		return nil
	}
	return proto.Uint32(uint32(a.Port()))
}
