package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// nameClient asks one question at a time.
type nameClient struct {
	conn   net.Conn
	id     uint16
	buffer [4096]byte
}

func dialName(server string) (*nameClient, error) {
	conn, err := net.Dial("udp", server)
	if err != nil {
		return nil, err
	}
	return &nameClient{conn: conn, id: uint16(rand.Uint32())}, nil
}

// ask sends a query and waits for its response, which is good until the next one.
func (c *nameClient) ask(wire []byte, patience time.Duration) ([]byte, error) {
	c.id++
	query := append([]byte{byte(c.id >> 8), byte(c.id)}, wire[2:]...)
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(query); err != nil {
		return nil, err
	}
	for {
		n, err := c.conn.Read(c.buffer[:])
		if err != nil {
			return nil, err
		}
		if n > 2 && c.buffer[0] == query[0] && c.buffer[1] == query[1] { // or it is late
			return c.buffer[:n], nil
		}
	}
}

const (
	answerDeadline = 10 * time.Second // of what is to be answered, also on a machine that is busy with something else
	lostAfter      = time.Second      // of what is asked under load
)

// verify asks everything once; the first wrong answer is the error.
func (s *nameServer) verify(list []question) error {
	c, err := dialName(s.Listen)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for i := range list {
		b, err := c.ask(list[i].wire, answerDeadline)
		if err == nil {
			err = list[i].check(b, s.static)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// observed is what one client saw beside the load.
type observed struct {
	latency     []time.Duration
	lost, wrong int
	first       error // what was wrong first
}

// sampleEvery is how often that client asks: rarely enough not to count as load.
const sampleEvery = 2 * time.Millisecond

// observe asks now and then until ctx ends, and checks what is answered.
func (s *nameServer) observe(ctx context.Context, list []question) (o observed, err error) {
	c, err := dialName(s.Listen)
	if err != nil {
		return o, err
	}
	defer c.conn.Close()
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for i := rand.IntN(len(list)); ; i = (i + 1) % len(list) {
		select {
		case <-ctx.Done():
			return o, nil
		case <-ticker.C:
		}
		begun := time.Now()
		b, err := c.ask(list[i].wire, lostAfter)
		if err != nil {
			o.lost++
			continue
		}
		o.latency = append(o.latency, time.Since(begun))
		if err := list[i].check(b, s.static); err != nil {
			o.wrong++
			if o.first == nil {
				o.first = err
			}
		}
	}
}
