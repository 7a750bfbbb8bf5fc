package daemon

//lint:file-ignore SA1019 net/http takes windows of less than 4 MiB by its documentation, and does not let its connections be wrapped

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net/http"
	"sync"

	"golang.org/x/net/http2"
)

const (
	// window is how many bytes a client may send over one HTTP/2 connection before they are
	// read (RFC 9113, section 5.2). No more than a window comes in each round trip: 16 MiB
	// and 100 ms are 160 MB/s, Go's 1 MiB would be 10.
	window = 16 << 20
	// surely is how many of them each connection may have, whatever the others do.
	surely = 1 << 20
	// maxAhead is how many all connections of a server together may have beyond that.
	maxAhead = 256 << 20
)

// ahead bounds what clients have sent over HTTP/2 and nobody has read yet. A client may send a
// whole window without being asked, so it is not enough to bound the windows: connections of
// which too much is here already are not read on. net/http does not let its connections be
// wrapped, golang.org/x/net/http2 does.
type ahead struct {
	most int64 // bytes

	mu   sync.Mutex
	less sync.Cond // it has become less
	sum  int64
}

func newAhead(most int64) *ahead {
	a := &ahead{most: most}
	a.less.L = &a.mu
	return a
}

// speakHTTP2 has a server speak HTTP/2 within the bound.
func (a *ahead) speakHTTP2(server *http.Server) error {
	h2 := &http2.Server{MaxUploadBufferPerConnection: window, MaxUploadBufferPerStream: window}
	if err := http2.ConfigureServer(server, h2); err != nil {
		return err
	}
	server.TLSNextProto[http2.NextProtoTLS] = func(base *http.Server, c *tls.Conn, handler http.Handler) {
		opts := &http2.ServeConnOpts{BaseConfig: base, Handler: handler}
		if h, ok := handler.(interface{ BaseContext() context.Context }); ok {
			opts.Context = h.BaseContext()
		}
		h2.ServeConn(newAheadConn(c, a), opts)
	}
	return nil
}

// aheadConn is a connection that is read on only within the bound. What the client sends are
// its DATA frames, what was read of them the server's own WINDOW_UPDATEs of the connection.
type aheadConn struct {
	*tls.Conn
	all       *ahead
	sent, got frames // of the client, and of the server

	// Guarded by all.mu.
	here   int64 // bytes that nobody has read
	raised bool  // the server has made the window as large as it is
	closed bool
}

const (
	clientPreface = len(http2.ClientPreface)
	frameHeader   = 9 // bytes
)

func newAheadConn(c *tls.Conn, all *ahead) *aheadConn {
	return &aheadConn{Conn: c, all: all, sent: frames{skip: clientPreface}}
}

// Read implements net.Conn.
func (c *aheadConn) Read(p []byte) (int, error) {
	c.all.mu.Lock()
	for c.here > surely && c.all.sum > c.all.most && !c.closed {
		c.all.less.Wait()
	}
	c.all.mu.Unlock()
	n, err := c.Conn.Read(p)
	c.sent.follow(p[:n], func(kind http2.FrameType, _, n uint32) {
		if kind == http2.FrameData {
			c.add(int64(n))
		}
	})
	return n, err
}

// Write implements net.Conn.
func (c *aheadConn) Write(p []byte) (int, error) {
	c.got.follow(p, func(kind http2.FrameType, stream, n uint32) {
		if kind == http2.FrameWindowUpdate && stream == 0 {
			c.add(-int64(n))
		}
	})
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *aheadConn) Close() error {
	c.all.mu.Lock()
	c.all.sum -= c.here
	c.here, c.closed = 0, true
	c.all.less.Broadcast()
	c.all.mu.Unlock()
	return c.Conn.Close()
}

func (c *aheadConn) add(n int64) {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	switch {
	case c.closed:
		return
	case n < 0 && !c.raised: // the first update is no answer to anything
		c.raised = true
		return
	}
	c.here, c.all.sum = c.here+n, c.all.sum+n
	if n < 0 {
		c.all.less.Broadcast()
	}
}

// frames follows one direction of an HTTP/2 connection (RFC 9113, section 4.1).
type frames struct {
	skip   int // bytes until the next frame begins
	head   [frameHeader + 4]byte
	headed int // bytes of head that have come
}

// follow has seen called once for each frame of which enough has come. n is its payload's
// length in bytes, and a WINDOW_UPDATE's increment (section 6.9).
func (f *frames) follow(p []byte, seen func(kind http2.FrameType, stream, n uint32)) {
	for {
		n := min(f.skip, len(p))
		f.skip, p = f.skip-n, p[n:]
		if len(p) == 0 {
			return
		}
		want := frameHeader
		if f.headed >= frameHeader {
			want = len(f.head)
		}
		n = copy(f.head[f.headed:want], p)
		f.headed, p = f.headed+n, p[n:]
		if f.headed < want {
			return
		}
		kind, stream := http2.FrameType(f.head[3]), binary.BigEndian.Uint32(f.head[5:])&(1<<31-1)
		if f.headed > frameHeader {
			f.headed = 0
			seen(kind, stream, binary.BigEndian.Uint32(f.head[frameHeader:]))
			continue
		}
		length := binary.BigEndian.Uint32(f.head[:]) >> 8
		if kind == http2.FrameWindowUpdate && length == 4 {
			continue // for its payload
		}
		f.skip, f.headed = int(length), 0
		seen(kind, stream, length)
	}
}
