package daemon

import (
	"errors"
	"net"
	"testing"
)

// TestAPortIsTakenOver: who comes listens as soon as the one before it has ended.
func TestAPortIsTakenOver(t *testing.T) {
	before, err := ListenWhenFree("metrics", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := before.Addr().String()
	after, err := ListenWhenFree("metrics", address)
	if err != nil {
		t.Fatal(err)
	}
	if after.Addr().String() != address {
		t.Errorf("it is called %s, want %s", after.Addr(), address)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := after.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	select {
	case err := <-accepted:
		t.Fatalf("it accepts while another one has the port: %v", err)
	default:
	}
	before.Close()
	for err = errors.New("nobody has asked"); err != nil; {
		var c net.Conn
		if c, err = net.Dial("tcp", address); err == nil {
			c.Close()
		}
	}
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	after.Close()
	if _, err := after.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed, it says %v", err)
	}
}

// TestAPortThatNeverGetsFree: who waits for it can be closed.
func TestAPortThatNeverGetsFree(t *testing.T) {
	before, err := Listen("metrics", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	after, err := ListenWhenFree("metrics", before.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := after.Accept()
		done <- err
	}()
	after.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := ListenWhenFree("metrics", "192.0.2.1:0"); err == nil {
		t.Error("an address of another machine is waited for")
	}
}
