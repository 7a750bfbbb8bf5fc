package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// serveBlob answers GET and HEAD of a blob in a managed namespace.
func (h *Handler) serveBlob(x *exchange) error {
	reader, err := h.openBlob(x)
	if err != nil {
		return err
	}
	if reader == nil { // a HEAD that the source answered
		return nil
	}
	defer reader.Close()
	header := x.w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Cache-Control", "max-age=31536000")
	setDigest(header, x.req.Digest)
	if file, complete := reader.File(); complete {
		http.ServeContent(x.w, x.r, "", time.Time{}, file) // bare, so that the kernel can copy it
		return x.sentAll()
	}
	if _, known := reader.Size(); !known && x.r.Method == http.MethodGet {
		return stream(x.w, reader) // Range is left unanswered, as HTTP allows: the whole is on its way
	}
	if x.r.Header.Get("Range") != "" {
		header.Set("Cache-Status", header.Get("Cache-Status")+"; unverified") // a part leaves before the whole can be checked
	}
	http.ServeContent(flushWriter{x.w}, x.r, "", time.Time{}, reader)
	if err := reader.Err(); err != nil {
		return err
	}
	return x.sentAll()
}

// sentAll is an error when less of the body left than was promised: the disk
// failed, or the client left. http.ServeContent keeps that to itself.
func (x *exchange) sentAll() error {
	promised, err := strconv.ParseInt(x.w.Header().Get("Content-Length"), 10, 64)
	if err == nil && x.r.Method == http.MethodGet && x.w.status < 300 && x.w.bytes < promised {
		return fmt.Errorf("sent %d of %d bytes: %w", x.w.bytes, promised, io.ErrShortWrite)
	}
	return nil
}

// stream copies a blob whose length nobody has said.
func stream(w *responseWriter, reader *store.Reader) error {
	buf := make([]byte, 64<<10)
	_, err := io.CopyBuffer(struct{ io.Writer }{flushWriter{w}}, struct{ io.Reader }{reader}, buf)
	return err
}

// openBlob returns a reader of the blob, held or being filled, once the repo is
// known to hold it.
func (h *Handler) openBlob(x *exchange) (*store.Reader, error) {
	reader, err := h.cfg.Store.Get(x.r.Context(), x.req.Digest)
	if err == nil {
		x.outcome = "hit"
		x.cacheStatus("hit")
		if reader.Filling() {
			x.joined()
		}
		return h.checked(x, reader)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if x.r.Method == http.MethodHead {
		done, err := h.headBlob(x)
		if err != nil || done {
			return nil, err
		}
	}
	return h.fillBlob(x)
}

// fillBlob joins or starts the transfer of the blob into the store.
func (h *Handler) fillBlob(x *exchange) (*store.Reader, error) {
	var asked atomic.Bool
	reader, err := h.cfg.Store.Fetch(x.r.Context(), x.req.Digest, h.blobSource(x, &asked))
	var refused *registry.Error
	switch {
	case err == nil:
	case errors.As(err, &refused), x.r.Context().Err() != nil:
		return nil, err
	default:
		return nil, dontKnow(err)
	}
	x.outcome = "fill"
	x.cacheStatus("fwd=miss", "detail=harbor", "stored")
	if !asked.Load() {
		x.joined()
	}
	return h.checked(x, reader)
}

// joined notes that the request shares a transfer that another one began.
func (x *exchange) joined() {
	x.outcome = "join"
	x.cacheStatus("fwd=miss", "detail=harbor", "collapsed")
}

// checked returns the reader if the repo is known, or found, to hold the blob:
// it may have come, or be coming, out of another repo. A fill that this repo's
// own source answered has noted so by now.
func (h *Handler) checked(x *exchange, reader *store.Reader) (*store.Reader, error) {
	if !h.cfg.Access.Member(x.req.Repo, x.req.Digest) {
		if err := h.proveMember(x.r.Context(), x); err != nil {
			reader.Close()
			return nil, err
		}
	}
	if size, ok := h.sizes.Get(named{x.req.Repo, x.req.Digest}); ok {
		reader.Expect(size)
	}
	return reader, nil
}

// fetchHeader is what a request to Harbor carries beside the robot's
// credentials, or instead of them where the edge has no robot.
func (h *Handler) fetchHeader(x *exchange) http.Header {
	header := http.Header{}
	if a := x.r.Header.Get("Authorization"); !h.cfg.OwnRobot && a != "" {
		header.Set("Authorization", a)
	}
	return header
}

// blobSource asks the local Harbor for the blob from an offset on. It is called
// by the fill, long after the request that started it may be gone, and notes
// that this repo's own source was asked.
func (h *Handler) blobSource(x *exchange, asked *atomic.Bool) store.Source {
	req, ns, header := x.req, x.ns, h.fetchHeader(x)
	req.Method, req.Query = http.MethodGet, nil
	return store.Source{Name: "harbor", Open: func(ctx context.Context, offset, length int64) (store.Body, error) {
		asked.Store(true)
		header := header.Clone()
		switch {
		case length >= 0:
			header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
		case offset > 0:
			header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		}
		resp, err := h.cfg.Harbor.Do(ctx, req, header)
		if err != nil {
			return store.Body{}, err
		}
		body := store.Body{ReadCloser: resp.Body, Size: resp.ContentLength}
		switch resp.StatusCode {
		case http.StatusOK:
		case http.StatusPartialContent:
			body.Offset, body.Size, err = contentRange(resp.Header.Get("Content-Range"))
			if err != nil {
				resp.Body.Close()
				return store.Body{}, dontKnow(err)
			}
		default:
			return store.Body{}, answer(ns, registry.ReadError(resp))
		}
		h.cfg.Access.Join(req.Repo, req.Digest)
		return body, nil
	}}
}

// contentRange reads "bytes first-last/size" (RFC 9110, section 14.4).
func contentRange(s string) (first, size int64, err error) {
	r, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(r, "/")
	from, _, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, fmt.Errorf("the source sent the Content-Range %q", s)
	}
	if first, err = strconv.ParseInt(from, 10, 64); err != nil || first < 0 {
		return 0, 0, fmt.Errorf("the source sent the Content-Range %q", s)
	}
	if size, err = strconv.ParseInt(total, 10, 64); err != nil || size < 0 {
		size = -1
	}
	return first, size, nil
}

// headBlob asks Harbor for the length alone. done is false where Harbor cannot
// say: a proxy cache answers 404 to the HEAD of every blob that it has not
// pulled yet, so there the blob itself is asked for.
func (h *Handler) headBlob(x *exchange) (done bool, err error) {
	resp, err := h.ask(x.r.Context(), x, http.MethodHead, "")
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK && resp.ContentLength >= 0:
		header := x.w.Header()
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
		header.Set("Accept-Ranges", "bytes")
		setDigest(header, x.req.Digest)
		h.cfg.Access.Join(x.req.Repo, x.req.Digest)
		x.outcome = "revalidated"
		x.cacheStatus("fwd=miss", "detail=harbor")
		x.w.WriteHeader(http.StatusOK)
		return true, nil
	case resp.StatusCode == http.StatusNotFound && x.ns.Kind != KindCache:
		return false, registry.Errorf(registry.CodeBlobUnknown, "there is no such blob in this repo")
	}
	return false, nil
}

// proveMember asks Harbor whether this repo holds the blob that is already in
// the store, at the price of one byte.
func (h *Handler) proveMember(ctx context.Context, x *exchange) error {
	resp, err := h.ask(ctx, x, http.MethodHead, "")
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		if resp, err = h.ask(ctx, x, http.MethodGet, "bytes=0-0"); err != nil {
			return err
		}
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return answer(x.ns, registry.ReadError(resp))
	}
	resp.Body.Close()
	h.cfg.Access.Join(x.req.Repo, x.req.Digest)
	return nil
}

func (h *Handler) ask(ctx context.Context, x *exchange, method, span string) (*http.Response, error) {
	req, header := x.req, h.fetchHeader(x)
	req.Method, req.Query = method, nil
	if span != "" {
		header.Set("Range", span)
	}
	return h.cfg.Harbor.Do(ctx, req, header)
}
