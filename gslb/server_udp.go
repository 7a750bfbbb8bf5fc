package gslb

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	udpBatch  = 32      // messages for one system call
	udpBuffer = 4 << 10 // no sensible query is longer; for packing an answer it is enough
	udpQueue  = 1 << 20 // bytes that the kernel keeps while we are busy, if it allows
	oobBuffer = 64      // for the address that was asked

	drainPause   = 20 * time.Millisecond // for what is on its way when the end begins
	drainBatches = 1000                  // of which the kernel keeps far fewer
)

// udpWorker has one socket and the memory for a batch.
type udpWorker struct {
	*batch
	server    *server
	responses [][]byte
}

func (s *server) serveUDP(ctx context.Context, c *net.UDPConn, wildcard bool) error {
	c.SetReadBuffer(udpQueue)
	b, err := newBatch(c, wildcard)
	if err != nil {
		return err
	}
	w := &udpWorker{batch: b, server: s, responses: make([][]byte, udpBatch)}
	for i := range w.responses {
		w.responses[i] = make([]byte, udpBuffer)
	}
	// The socket is not closed before what it was asked has been answered.
	stop := context.AfterFunc(ctx, b.wake)
	defer stop()
	return w.serve(ctx, c)
}

func (w *udpWorker) serve(ctx context.Context, c *net.UDPConn) error {
	for {
		n, err := w.receive()
		switch {
		case err == nil:
			w.answer(n)
		case ctx.Err() != nil:
			w.drain(c)
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			w.server.logger().Warn("queries not received", "err", err.Error())
			if !pause(ctx, faultPause) {
				return nil
			}
		}
	}
}

// drain answers what has arrived. From now on queries go to who else has the port: to the
// successor, where there is one.
func (w *udpWorker) drain(c *net.UDPConn) {
	if err := retire(c); err != nil {
		w.server.logger().Debug("a socket goes on receiving until it is closed", "err", err.Error())
	}
	for range drainBatches {
		n, err := w.rest()
		if err != nil {
			return
		}
		w.answer(n)
	}
}

// answer answers the first n datagrams that were received.
func (w *udpWorker) answer(n int) {
	for i := range n {
		query, from := w.datagram(i)
		if from.Port() == 0 { // nobody receives there; or it was cut
			continue
		}
		client, port := from.Addr().Unmap().WithZone(""), from.Port()
		if w.server.isProxy(client) {
			var size int
			var err error
			if client, size, err = parseProxy(query, client); err != nil {
				continue
			}
			query, port = query[size:], 0
		}
		began := w.server.tap.now()
		response := w.server.responder.respond(query, client, false, w.responses[i])
		if tap := w.server.tap; tap != nil {
			tap.exchanged(tapped{query: query, response: response, from: netip.AddrPortFrom(client, port), to: w.asked(i), asked: began})
		}
		if response != nil {
			w.reply(i, response)
		}
	}
	w.send(func(err error) { w.server.logger().Debug("answer not sent", "err", err) })
}
