package proxy

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// session is an upload session whose bytes are kept too.
type session struct {
	mu     sync.Mutex // held by the request that writes
	upload *store.Upload
	idle   *time.Timer // ends a session that nobody goes on with
}

func (s *session) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.Stop()
	s.upload.Discard()
}

// keeping is the part of a request that writes what it carries into the store
// too. nil keeps nothing.
type keeping struct {
	session *session
	end     func() // of the session
}

// sessionKey is of an upload session at a place.
func sessionKey(p *place, upload string) string { return p.name + " " + upload }

// begin makes a session for the upload that a Harbor has opened.
func (h *Handler) begin(x *exchange, t taker, location string) {
	u, err := url.Parse(location)
	if err != nil {
		return
	}
	if at := strings.LastIndexByte(u.Path, '/'); at >= 0 {
		key := sessionKey(t.place, u.Path[at+1:])
		h.writes.sessions.Add(key, &session{
			upload: h.cfg.Store.NewUpload(),
			idle:   time.AfterFunc(sessionIdle, func() { h.writes.sessions.Remove(key) }),
		})
	}
}

// beside has what the request carries of a blob written into the store as well.
// What does not begin where the session is, is not kept.
func (h *Handler) beside(x *exchange, t taker) *keeping {
	if x.ns.Kind == KindPlain {
		return nil
	}
	k := &keeping{end: func() {}}
	switch {
	case x.req.Kind == registry.KindUploads && x.r.ContentLength != 0 && x.r.URL.Query().Get("digest") != "":
		k.session = &session{upload: h.cfg.Store.NewUpload()}
	case x.req.Kind == registry.KindUpload:
		key := sessionKey(t.place, x.req.Upload)
		s, ok := h.writes.sessions.Get(key)
		if !ok {
			return nil
		}
		s.idle.Reset(sessionIdle)
		k.session, k.end = s, func() { h.writes.sessions.Remove(key) }
	default:
		return nil
	}
	if x.req.Method == http.MethodGet {
		return nil
	}
	if !k.session.mu.TryLock() { // two requests at once write nothing that anybody can tell
		k.session = nil
		k.end()
		return nil
	}
	if first, _, ok := strings.Cut(x.r.Header.Get("Content-Range"), "-"); ok {
		if at, err := strconv.ParseInt(first, 10, 64); err != nil || at != k.session.upload.Size() {
			k.broken()
			return nil
		}
	}
	if x.r.ContentLength != 0 && x.r.Body != nil {
		r := *x.r
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(x.r.Body, k.session.upload), x.r.Body}
		x.r = &r
	}
	return k
}

// accepted ends a request whose bytes Harbor has.
func (k *keeping) accepted() {
	if k != nil && k.session != nil {
		k.session.mu.Unlock()
		k.session = nil
	}
}

// broken ends a request of which nobody knows what Harbor has.
func (k *keeping) broken() {
	if k != nil && k.session != nil {
		k.session.upload.Discard()
		k.accepted()
		k.end()
	}
}

// commit keeps the blob that Harbor has accepted.
func (k *keeping) commit(h *Handler, d digest.Digest) {
	if k == nil || k.session == nil {
		return
	}
	if err := k.session.upload.Commit(d); err != nil {
		h.cfg.Log.Warn("an upload that Harbor accepted is not kept", "digest", d.String(), "err", err.Error())
	}
	k.accepted()
	k.end()
}
