package push

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

const sessionIdle = time.Hour

// session is an upload session at a Harbor whose bytes are kept too.
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

// sessionKey is of an upload session at a Harbor.
func sessionKey(t target, upload string) string { return t.Name + " " + upload }

// openSession begins to keep the upload that a Harbor has opened at location.
func (p *Pusher) openSession(t target, location string) {
	u, err := url.Parse(location)
	if err != nil {
		return
	}
	if at := strings.LastIndexByte(u.Path, '/'); at >= 0 {
		key := sessionKey(t, u.Path[at+1:])
		p.sessions.Add(key, &session{
			upload: p.Store.NewUpload(),
			idle:   time.AfterFunc(sessionIdle, func() { p.sessions.Remove(key) }),
		})
	}
}

// keeping is the part of a request that writes what it carries into the store too. A
// nil keeping keeps nothing.
type keeping struct {
	session *session
	end     func() // of the session
}

// beside returns the request to pass on: what it carries of a blob is written into the
// store as well. What does not begin where the session is, is not kept.
func (w *Write) beside(t target) (*http.Request, *keeping) {
	in := w.HTTP
	k := w.keeping(t)
	if k == nil || w.Parsed.Method == http.MethodGet {
		return in, nil
	}
	if !k.session.mu.TryLock() { // of two requests at once nobody can tell what the session holds
		k.end()
		return in, nil
	}
	if first, _, ok := strings.Cut(in.Header.Get("Content-Range"), "-"); ok {
		if at, err := strconv.ParseInt(first, 10, 64); err != nil || at != k.session.upload.Size() {
			k.broken()
			return in, nil
		}
	}
	if in.ContentLength == 0 || in.Body == nil {
		return in, k
	}
	r := *in
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(in.Body, k.session.upload), in.Body}
	return &r, k
}

// keeping is how the request's part of a blob is kept, nil where it has none.
func (w *Write) keeping(t target) *keeping {
	if w.Namespace.Kind == namespace.Plain {
		return nil
	}
	switch {
	case w.Parsed.Kind == registry.KindUploads && w.HTTP.ContentLength != 0 && w.HTTP.URL.Query().Get("digest") != "":
		return &keeping{&session{upload: w.p.Store.NewUpload()}, func() {}}
	case w.Parsed.Kind == registry.KindUpload:
		key := sessionKey(t, w.Parsed.Upload)
		s, ok := w.p.sessions.Get(key)
		if !ok {
			return nil
		}
		s.idle.Reset(sessionIdle)
		return &keeping{s, func() { w.p.sessions.Remove(key) }}
	}
	return nil
}

// accepted ends a request whose bytes Harbor has.
func (k *keeping) accepted() {
	if k != nil && k.session != nil {
		k.session.upload.Flush()
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
func (k *keeping) commit(p *Pusher, d digest.Digest) {
	if k == nil || k.session == nil {
		return
	}
	if err := k.session.upload.Commit(d); err != nil {
		p.Log.Warn("an upload that Harbor accepted is not kept", "digest", d.String(), "err", err.Error())
	}
	k.accepted()
	k.end()
}
