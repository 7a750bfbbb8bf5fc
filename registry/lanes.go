package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// lanes are pools of connections to the same hosts. Questions share HTTP/2's connection
// where the host speaks it. What is long goes over HTTP/1.1, each over a connection of its own:
// HTTP/2 lets no more than a window be on its way, whatever the link can take, and TCP's grows.
// A host that speaks nothing but HTTP/2 gets that. No number of downloads has an upload wait.
type lanes struct{ questions, bulk, uploads *http.Transport }

const (
	// aLot is the length in bytes from which a body is bulk.
	aLot = 1 << 20
	// bulkPerHost bounds the connections to one host, of downloads and of uploads each. What is
	// beyond waits for one of them.
	bulkPerHost = 256
	// noProtocol is the alert of a server that does not speak what it is offered (RFC 7301, section 3.2).
	noProtocol = tls.AlertError(120)
)

func newLanes(questions *http.Transport) lanes {
	bulk := questions.Clone()
	bulk.MaxConnsPerHost = bulkPerHost
	bulk.Protocols = new(http.Protocols)
	bulk.Protocols.SetHTTP1(true)
	bulk.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{} // a clone is made for HTTP/2 already
	if bulk.TLSClientConfig == nil {
		bulk.TLSClientConfig = &tls.Config{} //nolint:gosec // the defaults
	}
	bulk.TLSClientConfig.NextProtos = []string{"http/1.1"}
	uploads := bulk.Clone()
	uploads.TLSNextProto = bulk.TLSNextProto
	return lanes{questions, bulk, uploads}
}

func (l lanes) all() []*http.Transport { return []*http.Transport{l.questions, l.bulk, l.uploads} }

type bulkKey struct{}

// inBulk marks requests whose answers are long.
func inBulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// getsBlob tells what a client's own request is for, which is passed on as it came.
func getsBlob(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/sha")
}

// RoundTrip implements http.RoundTripper.
func (l lanes) RoundTrip(req *http.Request) (*http.Response, error) {
	sends := req.Body != nil && req.Body != http.NoBody
	lane := l.bulk
	switch {
	case sends && (req.ContentLength < 0 || req.ContentLength >= aLot):
		lane = l.uploads
	case req.Context().Value(bulkKey{}) == nil && !getsBlob(req):
		return l.questions.RoundTrip(req)
	}
	if req.URL.Scheme != "https" {
		return lane.RoundTrip(req)
	}
	first := *req
	held := &heldBody{ReadCloser: req.Body}
	if sends {
		first.Body = held
	}
	resp, err := lane.RoundTrip(&first)
	var said *net.OpError
	if errors.As(err, &said) && said.Op == "remote error" && said.Err.Error() == noProtocol.Error() { // in the handshake: nothing of the body has been read
		return l.questions.RoundTrip(req)
	}
	if sends {
		held.letGo()
	}
	return resp, err
}

// heldBody is a body that a transport cannot close before it is let go: another transport may
// have to send it.
type heldBody struct {
	io.ReadCloser

	mu     sync.Mutex
	free   bool
	closed bool
}

// Close implements io.Closer.
func (b *heldBody) Close() error {
	b.mu.Lock()
	b.closed = true
	free := b.free
	b.mu.Unlock()
	if !free {
		return nil
	}
	return b.ReadCloser.Close()
}

func (b *heldBody) letGo() {
	b.mu.Lock()
	b.free = true
	closed := b.closed
	b.mu.Unlock()
	if closed {
		b.ReadCloser.Close() //nolint:errcheck // as the transport would
	}
}
