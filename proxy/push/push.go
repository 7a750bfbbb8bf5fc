// Package push hands pushes and deletes to the Harbor that takes them: the local one
// or, for pushes into multi-dc- projects while that is down, a peer's. What passes is
// kept in the store, and is held when the push ends.
package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// Manifests is what writes change of what the edge knows.
type Manifests interface {
	// Written notes that a repo was written, before the client hears of it. moved is
	// the tag that certainly changed; "": none did for certain.
	Written(repo, moved string)
	// Deleted notes that a manifest of the repo is certainly gone, before the client hears
	// of it. begun is from when the delete began, answer the header of the answer that says so.
	Deleted(ns namespace.Namespace, repo string, d digest.Digest, begun version.Version, answer http.Header)
	// Pushed keeps a manifest that a Harbor has accepted, before the client hears of it.
	Pushed(Pushed)
	// Doubted notes a push of a tag of which nobody knows whether a Harbor took it.
	Doubted(Pushed)
	// Begun completes what is known of a push of a manifest that begins, and returns what a
	// peer that takes it is to be told.
	Begun(repo string, d digest.Digest, b version.Begun) (_ version.Begun, mark string)
	// Read returns a manifest that the edge holds.
	Read(d digest.Digest) ([]byte, error)
}

// Pushed is a manifest that a Harbor has accepted.
type Pushed struct {
	Namespace       namespace.Namespace
	Repo, Reference string
	Digest          digest.Digest
	Manifest        []byte
	ContentType     string
	By              *source.Source
	Begun           version.Begun
	FromPeer        bool
	Answer          http.Header // of the Harbor's answer; what is set in it, the client reads
}

// Config is what a Pusher needs.
type Config struct {
	Harbor    *source.Source
	Peers     func() []*source.Source // nearest first
	Pass      *pass.Proxy             // to the local Harbor
	Store     *store.Store
	Access    *access.Checker
	Manifests Manifests
	// Bring gives the local Harbor a manifest of a multi-dc- repo that it lacks and another
	// datacenter has, with all that it names; manifest is the one that is pushed, nil for none. The
	// error is an outcome. nil: nothing is brought.
	Bring func(ctx context.Context, repo string, d digest.Digest, manifest []byte) error
	// Elsewhere reports whether another datacenter's Harbor has a manifest. The error is an
	// outcome other than a no.
	Elsewhere func(ctx context.Context, repo string, d digest.Digest) (bool, error)
	Deadline  time.Duration // for an answer of a Harbor where there is another one to ask
	Stalled   time.Duration // for the body of a manifest
	Log       *slog.Logger
	Now       func() time.Time
}

// Pusher takes writes. Safe for concurrent use.
type Pusher struct {
	Config
	sessions *lru.Cache[string, *session]
	sticky   *lru.Cache[string, sticky] // by repo
	buffers  *share.Shares              // bytes of all manifests that are being pushed, by who pushes
}

const (
	maxSessions = 512
	maxSticky   = 1 << 12
	maxBuffers  = 64 << 20
	maxBuffer   = 16 << 20 // of one user
)

// New returns a Pusher.
func New(cfg Config) *Pusher {
	p := &Pusher{Config: cfg, buffers: share.New(maxBuffers, maxBuffer)}
	p.sessions, _ = lru.NewWithEvict(maxSessions, func(_ string, s *session) { go s.discard() }) // the sizes are positive: no error
	p.sticky, _ = lru.New[string, sticky](maxSticky)
	return p
}

// Request is a write, or a HEAD of a client that is about to write.
type Request struct {
	HTTP      *http.Request
	Parsed    registry.Request // HTTP, parsed
	Namespace namespace.Namespace
	FromPeer  bool // another edge's: it is taken here, or not at all
	Begun     version.Begun
	// Unnamed, of a delete that Harbor refuses (412), reports whether all that names the
	// digest there was deleted before, and is only there again: then the delete counts, and
	// Harbor follows. nil: Harbor's refusal is the last word.
	Unnamed func(context.Context) bool
	Refused bool // the credentials are known not to permit it: nothing is buffered for them, and Harbor says so
}

// IsManifest reports whether the request pushes a manifest of a managed namespace: Begin
// buffers it, unless it is Refused.
func (r Request) IsManifest() bool {
	return r.Parsed.Kind == registry.KindManifest && r.Parsed.Method == http.MethodPut && r.Namespace.Kind != namespace.Plain
}

// Write is one push or delete on its way to a Harbor.
type Write struct {
	Request
	p        *Pusher
	targets  []target // that may take it, in order
	manifest []byte   // nil: it is not buffered, or the write is of something else
	buffered int64    // bytes that it takes of p.buffers
	named    bool     // Harbor has refused to delete it, and is asked a second time
	unnamed  bool     // what names it was deleted before
	brought  bool     // Harbor lacked it, and is asked a second time
	partial  bool     // what the manifest names may not be at the Harbor that is asked: it is elsewhere, and could not be brought
}

// errTryNext ends a try to write at a Harbor that cannot take anything now. The client
// has heard nothing yet.
var errTryNext = errors.New("this Harbor takes nothing now")

// errAgain ends a try at a write that Harbor has refused for what is otherwise now: it is asked
// once more.
var errAgain = errors.New("it is to be asked once more")

// Serve hands the write to the first Harbor that takes it, and its answer to rw. Before
// the client hears of it, the edge forgets what the write may have changed, and keeps
// what was written. The error is an answer for the client.
func (w *Write) Serve(rw http.ResponseWriter) (err error) {
	defer w.release()
	in := *w.HTTP
	in.Header = in.Header.Clone()
	in.Header.Set("Accept-Encoding", "identity") // the answer is read here too
	w.HTTP = &in
	if !w.FromPeer {
		in.Header.Del(peer.RecordHeader) // it is between edges, and no client's to say
	}
	if w.manifest != nil && !w.FromPeer && w.Namespace.Kind == namespace.MultiDC {
		var mark string
		w.Begun, mark = w.p.Manifests.Begun(w.Parsed.Repo, w.Digest(), w.Begun)
		in.Header.Set(peer.RecordHeader, mark)
	}
	repeatable := w.manifest != nil || w.HTTP.ContentLength == 0
	for i, t := range w.targets {
		more := i < len(w.targets)-1 && repeatable
		if w.manifest != nil {
			to := w.p.stuckTo(w.Parsed.Repo)
			w.partial = to != nil && to != t.Source && !w.FromPeer // its blobs went elsewhere
			if t.Kind == source.Peer {
				if err := w.bring(w.HTTP.Context(), t, w.manifest); err != nil {
					w.p.Log.Warn("a push that began at Harbor could not be brought to a peer whole", "repo", w.Parsed.Repo, "to", t.Name, "err", err.Error())
					w.partial = true
				}
			}
		}
		err = w.serveAt(rw, t, more)
		for errors.Is(err, errAgain) {
			err = w.serveAt(rw, t, more)
		}
		if !more || !errors.Is(err, errTryNext) {
			break
		}
	}
	return err
}

// serveAt hands the write to one Harbor. With more to ask, the error for a Harbor that
// cannot take anything now is errTryNext.
func (w *Write) serveAt(rw http.ResponseWriter, t target, more bool) error {
	if w.manifest != nil { // an earlier try may have read it
		w.HTTP.Body = io.NopCloser(bytes.NewReader(w.manifest))
	}
	r, kept := w.beside(t)
	ctx, came := r.Context(), func(error) {}
	if more || w.HTTP.ContentLength == 0 && !t.Usable() {
		ctx, came = source.NewVigil(w.p.Deadline).Over(ctx, source.Step{Source: t.Source, Repo: w.Parsed.Repo, Namespace: w.Namespace})
	}
	var unwell *registry.Error
	answered := func(resp *http.Response) error {
		came(nil)
		unwell = takesNothing(resp)
		if w.lacks(t, resp) {
			if err := w.p.Bring(w.HTTP.Context(), w.Parsed.Repo, w.Digest(), w.manifest); err == nil {
				w.brought = true
				return errAgain
			} else if !outcome.IsNo(err) && errors.As(err, &unwell) {
				return unwell
			}
		}
		if isNobodys(resp) || t.Kind == source.Peer && refusesEdge(resp) || more && unwell != nil || w.partial && missesParts(resp) {
			return fmt.Errorf("%w: it answers %s", errTryNext, resp.Status)
		}
		switch {
		case resp.StatusCode != http.StatusPreconditionFailed || w.Unnamed == nil || isImmutable(resp):
		case !w.named:
			w.named, w.unnamed = true, w.Unnamed(w.HTTP.Context())
			return errAgain
		case w.unnamed:
			accept(resp)
		}
		w.written(t, resp, kept)
		if unwell != nil { // its words are not the client's
			return unwell
		}
		return nil
	}
	err := t.pass.Serve(rw, r.WithContext(ctx), pass.Call{Path: w.Parsed.Path(), Answered: answered})
	came(err)
	if errors.Is(err, errAgain) {
		return errAgain
	}
	if unwell != nil && !errors.Is(err, errTryNext) {
		return unwell
	}
	if err != nil {
		kept.broken()
		w.doubt(t)
		t.Suspect()
		if more && w.HTTP.Context().Err() == nil {
			return errors.Join(errTryNext, err)
		}
	}
	return err
}

// accept makes a delete's answer one of success (OCI distribution specification, "Deleting
// Manifests").
func accept(resp *http.Response) {
	resp.Body.Close()
	resp.StatusCode, resp.Status, resp.Body, resp.ContentLength = http.StatusAccepted, "202 Accepted", http.NoBody, 0
	resp.Header.Del("Content-Type")
	resp.Header.Set("Content-Length", "0")
}
