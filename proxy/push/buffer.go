package push

import (
	"errors"
	"io"
	"net/http"
	"time"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// bufferPart is how much of a manifest's body is read at a time.
const bufferPart = 32 << 10

// Begin returns the write of a request, or why it is refused here: 404
// BLOB_UPLOAD_UNKNOWN for a session that no Harbor has, 400 or 413 MANIFEST_INVALID, 503
// where too many manifests are being pushed. rw is the response that Serve writes to.
func (p *Pusher) Begin(rw http.ResponseWriter, r Request) (*Write, error) {
	w := &Write{Request: r, p: p}
	var err error
	if w.targets, err = p.targetsOf(&w.Request); err != nil {
		return nil, err
	}
	if err := p.heldElsewhere(r); err != nil {
		return nil, err
	}
	if err := w.bufferManifest(rw); err != nil {
		w.release()
		return nil, err
	}
	return w, nil
}

// bufferManifest reads the manifest that a client pushes: it is small, it can be offered
// to another Harbor, and what was accepted is kept. Nothing is buffered for credentials
// that are known not to permit the push, and no more than so much for all others together.
func (w *Write) bufferManifest(rw http.ResponseWriter) error {
	if w.Refused || !w.IsManifest() {
		return nil
	}
	if w.HTTP.ContentLength > registry.MaxManifest {
		return registry.ManifestTooLarge()
	}
	control := http.NewResponseController(rw)
	control.SetReadDeadline(time.Now().Add(w.p.Stalled)) //nolint:errcheck // a writer of a test has none
	defer control.SetReadDeadline(time.Time{})           //nolint:errcheck // as above
	body := []byte{}
	for {
		if cap(body)-len(body) < bufferPart {
			more := max(bufferPart, len(body)) // the buffer doubles
			if !w.p.buffers.Take(w.pusher(), int64(more)) {
				return outcome.DontKnow(errors.New("too many manifests are being pushed"))
			}
			w.buffered += int64(more)
			body = append(make([]byte, 0, len(body)+more), body...)
		}
		n, err := w.HTTP.Body.Read(body[len(body) : len(body)+bufferPart])
		body = body[:len(body)+n]
		switch {
		case len(body) > registry.MaxManifest:
			return registry.ManifestTooLarge()
		case errors.Is(err, io.EOF):
			r := *w.HTTP
			r.ContentLength = int64(len(body))
			w.HTTP, w.manifest = &r, body
			return nil
		case err != nil:
			return registry.Errorf(registry.CodeManifestInvalid, "the manifest did not come whole: %v", err)
		}
	}
}

// release gives back what the manifest takes of the buffers.
func (w *Write) release() {
	w.p.buffers.Give(w.pusher(), w.buffered)
	w.buffered = 0
}

// pusher is whose share of the buffers the write takes.
func (w *Write) pusher() string { return access.Claimed(w.HTTP.Header.Get("Authorization")) }
