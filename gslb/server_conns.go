package gslb

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

const (
	tcpConns      = 4096
	tcpPerNetwork = 256
)

// conns are the TCP connections that are open, all and by their client's network. Where
// there is no room, the one that has been idle for the longest gives way to a new one: of
// the network if that has its share, else of all. So nobody is ever shut out.
type conns struct {
	max, perNetwork int

	mu  sync.Mutex
	all *list.List // of *conn, who has been idle for the longest in front
	by  map[netip.Addr]*list.List
}

// conn is one that is counted.
type conn struct {
	net.Conn
	network netip.Addr
	inAll   *list.Element // nil: it has left, or has given way
	inOwn   *list.Element
	ended   chan struct{} // closed when nobody serves it any more
}

func newConns(most, perNetwork int) *conns {
	if most == 0 {
		most = min(tcpConns, openFiles()/2) // probes need some too
	}
	if perNetwork == 0 {
		perNetwork = tcpPerNetwork
	}
	return &conns{max: most, perNetwork: perNetwork, all: list.New(), by: map[netip.Addr]*list.List{}}
}

// enter counts a connection in, and says who gave way to it; nil: nobody had to.
func (c *conns) enter(n net.Conn, from netip.Addr) (entered, gone *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entered = &conn{Conn: n, network: network(from), ended: make(chan struct{})}
	own := c.by[entered.network]
	switch {
	case own != nil && own.Len() >= c.perNetwork:
		gone = c.giveWay(own)
	case c.all.Len() >= c.max:
		gone = c.giveWay(c.all)
	}
	if own = c.by[entered.network]; own == nil {
		own = list.New()
		c.by[entered.network] = own
	}
	entered.inAll, entered.inOwn = c.all.PushBack(entered), own.PushBack(entered)
	return entered, gone
}

// longestIdle gives way for want of something else than room here; nil: nobody is there.
func (c *conns) longestIdle() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.giveWay(c.all)
}

func (c *conns) giveWay(of *list.List) *conn {
	front := of.Front()
	if front == nil {
		return nil
	}
	gone := front.Value.(*conn)
	c.remove(gone)
	gone.Close() //nolint:errcheck // who serves it sees that
	return gone
}

// active says that a connection was answered.
func (c *conns) active(n *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.inAll != nil {
		c.all.MoveToBack(n.inAll)
		c.by[n.network].MoveToBack(n.inOwn)
	}
}

// leave counts a connection out that has ended.
func (c *conns) leave(n *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(n)
	close(n.ended)
}

func (c *conns) remove(n *conn) {
	if n.inAll == nil {
		return
	}
	own := c.by[n.network]
	c.all.Remove(n.inAll)
	own.Remove(n.inOwn)
	n.inAll, n.inOwn = nil, nil
	if own.Len() == 0 {
		delete(c.by, n.network)
	}
}
