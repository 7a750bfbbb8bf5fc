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
	inOwn   *list.Element // nil: nor is it known whose it is
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
func (c *conns) enter(n net.Conn) (entered, gone *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entered = &conn{Conn: n, ended: make(chan struct{})}
	if c.all.Len() >= c.max {
		gone = c.giveWay(c.all)
	}
	entered.inAll = c.all.PushBack(entered)
	return entered, gone
}

// is says whose a connection is, and who gave way to it in its network; nil: nobody had to.
func (c *conns) is(n *conn, client netip.Addr) (gone *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.inAll == nil { // it has given way already
		return nil
	}
	n.network = network(client)
	if own := c.by[n.network]; own != nil && own.Len() >= c.perNetwork {
		gone = c.giveWay(own)
	}
	own := c.by[n.network]
	if own == nil {
		own = list.New()
		c.by[n.network] = own
	}
	n.inOwn = own.PushBack(n)
	return gone
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
	}
	if n.inOwn != nil {
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
	c.all.Remove(n.inAll)
	if n.inOwn != nil {
		own := c.by[n.network]
		if own.Remove(n.inOwn); own.Len() == 0 {
			delete(c.by, n.network)
		}
	}
	n.inAll, n.inOwn = nil, nil
}
