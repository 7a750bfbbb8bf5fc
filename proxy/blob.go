package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/store"
)

// serveBlob answers GET and HEAD of a blob in a managed namespace.
func (h *Handler) serveBlob(w *response, r *request) error {
	if h.pushes(r) {
		size, from, err := h.pusher.Head(r.write())
		if err == nil {
			return w.writeHead(r, from, size)
		}
		if r.peer != "" || !outcome.IsDontKnow(err) {
			return err
		} // nobody takes a push now: it may as well be a reader
	}
	b, err := h.fetch.Blob(r.http.Context(), r.question())
	if err != nil {
		return err
	}
	if b.Origin == fetch.Told {
		return w.writeHead(r, b.Source, b.Length)
	}
	defer b.Close()
	w.noteOrigin(b)
	return w.writeBlob(r, b.Reader)
}

// noteOrigin says how the edge came by a blob.
func (w *response) noteOrigin(b *fetch.Blob) {
	switch b.Origin {
	case fetch.Held:
		w.outcome = outcomeHit
		w.cacheStatus("hit")
	case fetch.Joined:
		w.outcome = outcomeJoin
		w.cacheStatus("fwd=miss", "collapsed")
	case fetch.Filled:
		w.outcome = outcomeFill
		w.cacheStatus("fwd=miss", "detail="+b.Source, "stored")
	default:
		w.outcome = outcomeFill
		w.cacheStatus("fwd=miss", "detail="+b.Source)
	}
}

func (w *response) writeBlob(r *request, reader *store.Reader) error {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Cache-Control", "max-age=31536000")
	setDigest(header, r.Digest)
	if file, complete := reader.File(); complete {
		http.ServeContent(w, r.http, "", time.Time{}, file) // bare, so that the kernel can copy it
		err := w.sentAll(r)
		if err != nil {
			reader.Broke()
		}
		return err
	}
	if _, known := reader.Size(); !known && r.http.Method == http.MethodGet {
		return w.stream(reader) // Range is left unanswered, as HTTP allows: the whole is on its way
	}
	if r.http.Header.Get("Range") != "" {
		header.Set("Cache-Status", header.Get("Cache-Status")+"; unverified") // a part leaves before the whole can be checked
	}
	http.ServeContent(flushWriter{w}, r.http, "", time.Time{}, reader)
	if err := reader.Err(); err != nil {
		return err
	}
	return w.sentAll(r)
}

// sentAll is an error when less of the body left than was promised: the disk failed, or
// the client left. http.ServeContent keeps that to itself.
func (w *response) sentAll(r *request) error {
	promised, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	if err == nil && r.http.Method == http.MethodGet && w.Status < 300 && w.Bytes < promised {
		return fmt.Errorf("sent %d of %d bytes: %w", w.Bytes, promised, io.ErrShortWrite)
	}
	return nil
}

// stream copies a blob whose length nobody has said.
func (w *response) stream(reader *store.Reader) error {
	buf := make([]byte, 64<<10)
	_, err := io.CopyBuffer(struct{ io.Writer }{flushWriter{w}}, struct{ io.Reader }{reader}, buf)
	return err
}

// writeHead answers a HEAD of a blob by its length alone, in bytes.
func (w *response) writeHead(r *request, from string, size int64) error {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Cache-Control", "max-age=31536000")
	setDigest(header, r.Digest)
	w.outcome = outcomeRevalidated
	w.cacheStatus("fwd=miss", "detail="+from)
	http.ServeContent(w, r.http, "", time.Time{}, io.NewSectionReader(nil, 0, size)) // conditions and ranges as of a GET; nothing is read
	return nil
}
