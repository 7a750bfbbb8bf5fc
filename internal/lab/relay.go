package lab

import (
	"cmp"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Link is what a relay does to what it carries. The zero value carries it at once.
type Link struct {
	// Silent: nothing arrives, and nobody is told, as through a router that drops packets.
	// Connections hang, new ones too. What was sent meanwhile arrives when the link is well
	// again, as TCP would repeat it.
	Silent bool
	// Refused: connections are reset, new ones as soon as they are made.
	Refused bool
	// Delay is how much later each byte arrives, in either direction.
	Delay time.Duration
	// Rate is the bytes a second of each connection, in each direction; 0: as fast as it goes.
	Rate int64
	// Window is how many bytes of a connection are on their way at most, in each direction, for
	// connections that are made from now on; 0: 4 MiB. A link that is to limit nothing needs as
	// many as the ends send in Delay.
	Window int
}

// Relay carries TCP connections from its own address to another one, over a link that can
// be cut and delayed while it runs.
type Relay struct {
	listener net.Listener
	target   string
	ended    sync.WaitGroup

	mu      sync.Mutex
	link    Link
	changed chan struct{} // closed when the link changes
	conns   map[net.Conn]bool
	closed  bool

	there, back atomic.Int64 // bytes
}

const acceptAgain = 5 * time.Millisecond

// StartRelay carries what comes to the listener to the target, host:port; nil is a free port
// of 127.0.0.1.
func StartRelay(listener net.Listener, target string) (*Relay, error) {
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	r := &Relay{listener: listener, target: target, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	r.ended.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // too many files are open for the moment
				time.Sleep(acceptAgain)
				continue
			}
			r.ended.Go(func() { r.carry(conn) })
		}
	})
	return r, nil
}

// Address is where the relay listens, host:port.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Set changes the link, for connections that there are too.
func (r *Relay) Set(link Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link = link
	close(r.changed)
	r.changed = make(chan struct{})
	if link.Refused {
		r.breakAll()
	}
}

// Link is what the relay does now.
func (r *Relay) Link() Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.link
}

// Carried is how many bytes have come over all connections: to the target, and back.
func (r *Relay) Carried() (there, back int64) { return r.there.Load(), r.back.Load() }

// Close ends the relay and all its connections.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.changed)
	}
	r.breakAll()
	r.mu.Unlock()
	r.ended.Wait()
	return err
}

// breakAll resets the connections, the relay locked.
func (r *Relay) breakAll() {
	for conn := range r.conns {
		hangUp(conn)
	}
}

// hangUp resets a connection, so that its other end hears of it at once.
func hangUp(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // it is closed in any case
	}
	conn.Close()
}

// hold notes a connection, to break it with the link; false: the link is broken already.
func (r *Relay) hold(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.link.Refused {
		hangUp(conn)
		return false
	}
	r.conns[conn] = true
	return true
}

func (r *Relay) letGo(conn net.Conn) {
	conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}

// arrive waits until what was sent then is there, after so many ways over the link; false: it
// never will be.
func (r *Relay) arrive(sent time.Time, ways int) bool {
	for {
		r.mu.Lock()
		link, changed, closed := r.link, r.changed, r.closed
		r.mu.Unlock()
		if closed || link.Refused {
			return false
		}
		var due <-chan time.Time
		if !link.Silent {
			wait := time.Until(sent.Add(time.Duration(ways) * link.Delay))
			if wait <= 0 {
				return true
			}
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-changed:
		}
	}
}

// carry serves one connection. That it was made took one way there and one back.
func (r *Relay) carry(client net.Conn) {
	if !r.hold(client) {
		return
	}
	defer r.letGo(client)
	if !r.arrive(time.Now(), 2) {
		hangUp(client)
		return
	}
	server, err := net.Dial("tcp", r.target)
	if err != nil || !r.hold(server) {
		hangUp(client)
		return
	}
	defer r.letGo(server)
	var both sync.WaitGroup
	both.Go(func() { r.pipe(server, client, &r.there) })
	both.Go(func() { r.pipe(client, server, &r.back) })
	both.Wait()
}

// parcel is a part of what one end sent, or its end.
type parcel struct {
	bytes []byte
	sent  time.Time
	err   error // io.EOF: it has sent all; else the connection broke
}

const (
	usualWindow = 4 << 20
	parcelSize  = 16 << 10 // at most
)

// pipe carries one direction, and counts what came.
func (r *Relay) pipe(to, from net.Conn, arrived *atomic.Int64) {
	way, gone := make(chan parcel, cmp.Or(r.Link().Window, usualWindow)/parcelSize), make(chan struct{})
	defer close(gone)
	r.ended.Go(func() { r.load(way, from, gone) })
	for p := range way {
		if !r.arrive(p.sent, 1) {
			p.err = net.ErrClosed
		} else if len(p.bytes) > 0 {
			arrived.Add(int64(len(p.bytes)))
			if _, err := to.Write(p.bytes); err != nil {
				p.err = err
			}
		}
		if errors.Is(p.err, io.EOF) {
			if tcp, ok := to.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
				return // the other direction may go on
			}
		}
		if p.err != nil {
			hangUp(to)
			hangUp(from)
			return
		}
	}
}

// queued is how long what was read may wait for its turn on a link with a rate, before its
// sender is kept waiting.
const queued = 5 * time.Millisecond

// load puts what a connection sends on its way.
func (r *Relay) load(way chan<- parcel, from net.Conn, gone <-chan struct{}) {
	var free time.Time // when all that was read has left, on a link with a rate
	for {
		buf := make([]byte, parcelSize)
		n, err := from.Read(buf)
		sent := time.Now()
		if rate := r.Link().Rate; rate > 0 {
			if free.Before(sent) {
				free = sent
			}
			free = free.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
			sent = free
		}
		select {
		case way <- parcel{buf[:n], sent, err}:
		case <-gone:
			return
		}
		if err != nil {
			return
		}
		if ahead := time.Until(sent) - queued; ahead > 0 {
			select {
			case <-time.After(ahead):
			case <-gone:
				return
			}
		}
	}
}
