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
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

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
	if h.pushes(x) {
		if err := h.headForPush(x); err == nil || x.peer != "" || !isDontKnow(err) {
			return nil, err
		} // nobody takes a push now: it may as well be a reader
	}
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
	f, sources := h.blobSources(x)
	reader, err := h.cfg.Store.Fetch(x.r.Context(), x.req.Digest, sources...)
	if err != nil && x.r.Context().Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, f.verdict(err)
	}
	x.outcome = "fill"
	if from := f.source(); from != "" {
		x.cacheStatus("fwd=miss", "detail="+from, "stored")
	} else {
		x.joined()
	}
	return h.checked(x, reader)
}

// blobSources are the places of the request's route, as sources of a fill.
func (h *Handler) blobSources(x *exchange) (*blobFill, []store.Source) {
	f := &blobFill{h: h, ns: x.ns, req: x.req, authorization: x.r.Header.Get("Authorization"), began: trace.SpanContextFromContext(x.r.Context())}
	route := h.blobRoute(x)
	var sources []store.Source
	stages, _ := groups(route, true)
	for _, group := range stages {
		for _, s := range group {
			sources = append(sources, store.Source{
				Name: s.place.name, Owner: x.ns.Project,
				Verified: func() { h.cfg.Access.Join(f.req.Repo, f.req.Digest) },
				Open: func(ctx context.Context, offset, length int64) (store.Body, error) {
					return f.open(ctx, s, len(route) > 1, offset, length)
				},
			})
		}
	}
	return f, sources
}

// joined notes that the request shares a transfer that another one began.
func (x *exchange) joined() {
	x.outcome = "join"
	x.cacheStatus("fwd=miss", "collapsed")
}

// blobFill asks the places of one repo's route for one blob, long after the
// request that began it may be gone, and notes what they say.
type blobFill struct {
	h             *Handler
	ns            Namespace
	req           registry.Request
	authorization string
	began         trace.SpanContext // of that request

	mu      sync.Mutex
	from    string // the place that answered last
	refused []said
}

// open asks one place for the blob from an offset on.
func (f *blobFill) open(ctx context.Context, s step, others bool, offset, length int64) (store.Body, error) {
	if err := f.decided(); err != nil {
		return store.Body{}, err
	}
	req, header := s.under(f.req), f.h.headerFor(s, f.authorization)
	req.Method = http.MethodGet
	switch {
	case length >= 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	deadline := time.Duration(0)
	if others {
		deadline = f.h.cfg.Deadline
	}
	body, err := openBody(s.place.do(inTrace(ctx, f.began), req, header, deadline))
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		var e *registry.Error
		if errors.As(err, &e) && e.Status < 500 {
			err = s.meaning(e)
		}
		f.refused = append(f.refused, said{s, err})
		return store.Body{}, err
	}
	f.from = s.place.name
	f.h.holders.Add(f.req.Repo, f.from)
	if f.h.believes(s, f.req) {
		f.h.cfg.Access.Join(f.req.Repo, f.req.Digest)
	}
	return body, nil
}

// decided returns the last word, if it has been spoken: nobody else is asked then.
func (f *blobFill) decided() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.refused {
		if f.from == "" && final(f.ns, s.err) {
			return s.err
		}
	}
	return nil
}

// source is who answered; "" where the fill was another request's.
func (f *blobFill) source() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.from
}

// verdict makes one answer for the client of what all places said.
func (f *blobFill) verdict(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, store.ErrWrongContent) || len(f.refused) == 0 || f.from != "" {
		return dontKnow(err)
	}
	for _, s := range f.refused {
		if final(f.ns, s.err) {
			return s.err
		}
	}
	return verdict(f.refused)
}

// openBody reads where in the blob a place's answer begins. Its error keeps the
// place's own status and words.
func openBody(resp *http.Response, err error) (store.Body, error) {
	if err != nil {
		return store.Body{}, err
	}
	body := store.Body{ReadCloser: resp.Body, Size: resp.ContentLength}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		if body.Offset, body.Size, err = contentRange(resp.Header.Get("Content-Range")); err != nil {
			resp.Body.Close()
			return store.Body{}, dontKnow(err)
		}
	default:
		return store.Body{}, registry.ReadError(resp)
	}
	return body, nil
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

// headBlob asks Harbor for the length alone. done is false where that is not
// the last word: a proxy cache answers 404 to the HEAD of every blob that it has
// not pulled yet, and a peer may hold what Harbor does not.
func (h *Handler) headBlob(x *exchange) (done bool, err error) {
	route := h.routeFor(x)
	if !h.harbor.usable() && len(route) > 1 {
		return false, nil
	}
	req := route[0].under(x.req)
	req.Method = http.MethodHead
	resp, err := h.harbor.do(x.r.Context(), req, h.headerFor(route[0], x.r.Header.Get("Authorization")), h.cfg.Deadline)
	if err != nil {
		return false, x.r.Context().Err()
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK && resp.ContentLength >= 0:
		h.cfg.Access.Join(x.req.Repo, x.req.Digest)
		return true, h.writeHead(x, h.harbor, resp.ContentLength)
	case resp.StatusCode == http.StatusNotFound && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && x.ns.Kind != KindCache && len(route) == 1:
		return false, registry.Errorf(registry.CodeBlobUnknown, "there is no such blob in this repo")
	}
	return false, nil
}

func (h *Handler) writeHead(x *exchange, from *place, size int64) error {
	header := x.w.Header()
	header.Set("Content-Type", "application/octet-stream")
	setDigest(header, x.req.Digest)
	x.outcome = "revalidated"
	x.cacheStatus("fwd=miss", "detail="+from.name)
	http.ServeContent(x.w, x.r, "", time.Time{}, io.NewSectionReader(nil, 0, size)) // conditions and ranges as of a GET; nothing is read
	return nil
}

// pushes reports whether a HEAD comes from somebody who may push here:
// headForPush answers it.
func (h *Handler) pushes(x *exchange) bool {
	if x.r.Method != http.MethodHead || x.ns.Kind == KindCache || x.peer != "" {
		return x.pushing
	}
	query := x.query
	query.Action = "push"
	_, err := h.cfg.Access.Allow(x.r.Context(), query)
	return err == nil
}
