package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

const (
	// dcParam marks the upload sessions that another datacenter's Harbor has opened.
	dcParam = "_breakwater"
	// pushHeader says to a peer that a HEAD of a blob is a pusher's.
	pushHeader  = "Breakwater-Push"
	maxSessions = 512
	sessionIdle = time.Hour
	pushedFor   = 15 * time.Minute // how long a repo's pushes are known to have gone to a peer
	maxPushed   = 1 << 12
)

// errTryNext ends a try to write at a Harbor that cannot take anything now; the
// client has heard nothing yet.
var errTryNext = errors.New("this Harbor takes nothing now")

// taker is a Harbor that takes writes: the local one, or a peer's behind its edge.
type taker struct {
	place *place
	pass  *passer
}

// writes is what an edge knows of the pushes that are under way.
type writes struct {
	takers   []taker // the local Harbor, then the peers, nearest first
	sessions *lru.Cache[string, *session]
	pushed   *lru.Cache[string, pushed]
}

// pushed says that a repo's upload went to a peer.
type pushed struct {
	place *place
	until time.Time
}

func (h *Handler) newWrites() {
	w := &writes{takers: []taker{{h.harbor, h.pass}}}
	for _, p := range h.peers {
		w.takers = append(w.takers, taker{p, newPeerPasser(p)})
	}
	w.sessions, _ = lru.NewWithEvict(maxSessions, func(_ string, s *session) { go s.discard() })
	w.pushed, _ = lru.New[string, pushed](maxPushed)
	h.writes = w
}

// write hands a push or delete to the Harbor that takes it: the local one or, for
// pushes into multi-dc- projects while that is down, the nearest peer's. Before
// the client hears of it, the edge forgets what the write may have changed, and
// keeps what was written.
func (h *Handler) write(x *exchange) error {
	takers, err := h.takersOf(x)
	if err != nil {
		x.outcome = "own"
		return err
	}
	manifest, err := x.bufferManifest()
	if err != nil {
		x.outcome = "own"
		return err
	}
	x.r.Header.Set("Accept-Encoding", "identity") // the answer is read here too
	repeatable := manifest != nil || x.r.ContentLength == 0
	for i, t := range takers {
		more := i < len(takers)-1 && repeatable
		if manifest != nil {
			x.r.Body = io.NopCloser(bytes.NewReader(manifest))
			if t.place != h.harbor {
				if err := h.bring(x.r.Context(), x, t, manifest, 0); err != nil {
					h.cfg.Log.Warn("a push that began at Harbor could not be brought to a peer whole", "repo", x.req.Repo, "to", t.place.name, "err", err.Error())
				}
			}
		}
		err = h.writeAt(x, t, manifest, more)
		if !more || x.w.status != 0 || !errors.Is(err, errTryNext) {
			break
		}
		x.err = nil
	}
	return err
}

// takersOf returns who may take the write, in the order in which they are asked.
func (h *Handler) takersOf(x *exchange) ([]taker, error) {
	own := h.writes.takers[:1]
	query := x.r.URL.Query()
	if mark := query.Get(dcParam); mark != "" && x.peer == "" {
		at := slices.IndexFunc(h.writes.takers, func(t taker) bool { return t.place.name == "peer-"+mark })
		if at < 0 || x.req.Kind != registry.KindUpload {
			return nil, registry.Errorf(registry.CodeBlobUploadUnknown, "there is no such upload session")
		}
		query.Del(dcParam)
		u := *x.r.URL
		u.RawQuery = query.Encode()
		r := *x.r
		r.URL, x.r = &u, &r
		return h.writes.takers[at : at+1], nil
	}
	push := x.req.Kind == registry.KindUploads || x.req.Kind == registry.KindManifest || x.req.Kind == registry.KindBlob
	if x.ns.Kind != KindMultiDC || x.peer != "" || !push || x.req.Method == http.MethodDelete {
		return own, nil
	}
	var up, down []taker
	for _, t := range h.writes.takers {
		if t.place.usable() {
			up = append(up, t)
		} else {
			down = append(down, t)
		}
	}
	all := append(up, down...)
	// A push goes on where its blobs went, though the local Harbor is back.
	if last, _ := h.writes.pushed.Get(x.req.Repo); h.wentTo(x.req.Repo, last.place) && x.req.Kind != registry.KindUploads {
		slices.SortStableFunc(all, func(a, b taker) int {
			switch {
			case a.place == b.place:
				return 0
			case a.place == last.place:
				return -1
			case b.place == last.place:
				return 1
			}
			return 0
		})
	}
	return all, nil
}

// wentTo reports whether the repo's pushes are known to have gone to a peer's place.
func (h *Handler) wentTo(repo string, to *place) bool {
	last, ok := h.writes.pushed.Get(repo)
	return ok && last.place == to && h.cfg.Now().Before(last.until)
}

// bufferManifest reads the manifest that a client pushes: it is small, it can be
// offered to another Harbor, and what was accepted is kept. nil for other requests.
func (x *exchange) bufferManifest() ([]byte, error) {
	if x.req.Kind != registry.KindManifest || x.req.Method != http.MethodPut || x.ns.Kind == KindPlain {
		return nil, nil
	}
	tooLarge := registry.Errorf(registry.CodeManifestInvalid, "the manifest is larger than %d bytes", maxManifest)
	tooLarge.Status = http.StatusRequestEntityTooLarge
	if x.r.ContentLength > maxManifest {
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxManifest+1))
	if err != nil {
		return nil, registry.Errorf(registry.CodeManifestInvalid, "the manifest did not come whole: %v", err)
	}
	if len(body) > maxManifest {
		return nil, tooLarge
	}
	r := *x.r
	r.ContentLength = int64(len(body))
	x.r = &r
	return body, nil
}

// writeAt hands the write to one Harbor. With more to ask, one that cannot take
// anything now is errTryNext.
func (h *Handler) writeAt(x *exchange, t taker, manifest []byte, more bool) error {
	kept := h.beside(x, t)
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	var timer *time.Timer
	if more || x.r.ContentLength == 0 && !t.place.usable() {
		wait := h.cfg.Deadline
		if manifest != nil {
			wait *= patience
		}
		timer = time.AfterFunc(wait, func() { cancel(fmt.Errorf("%w: no answer for %v", errTryNext, wait)) })
	}
	r := x.r
	defer func() { x.r = r }()
	x.r = r.WithContext(ctx)
	x.answered = func(resp *http.Response) error {
		if timer != nil {
			timer.Stop()
		}
		if isNobodys(resp) || t.place.kind == placePeer && refusesEdge(resp) || more && takesNothing(resp) {
			return fmt.Errorf("%w: it answers %s", errTryNext, resp.Status)
		}
		h.written(x, t, resp, kept, manifest)
		return nil
	}
	err := t.pass.serve(x)
	if timer != nil {
		timer.Stop()
	}
	if err != nil {
		kept.broken()
		h.forget(x, false)
		t.place.suspect()
		if more && r.Context().Err() == nil {
			return errors.Join(errTryNext, err)
		}
	}
	return err
}

// isNobodys reports whether an answer to a write is of what stands before a Harbor
// that is gone: a page, a redirect to one, or a 404 that is not a registry's JSON.
func isNobodys(resp *http.Response) bool {
	return isPage(resp) || resp.StatusCode/100 == 3 ||
		resp.StatusCode == http.StatusNotFound && !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
}

// refusesEdge reports whether a peer refuses this edge, not the client: the answer is
// not its Harbor's (their keys or clocks differ).
func refusesEdge(resp *http.Response) bool {
	return resp.StatusCode == http.StatusForbidden && strings.Contains(resp.Header.Get("Cache-Status"), "detail=edge")
}

// takesNothing reports whether an answer says that the Harbor is down, its
// database, or its registry: nothing about this write. What was read of the body
// is put back.
func takesNothing(resp *http.Response) bool {
	switch {
	case resp.StatusCode >= 500:
		return true
	case resp.StatusCode != http.StatusUnauthorized || len(registry.ParseChallenges(resp.Header.Values("Www-Authenticate"))) > 0:
		return false
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return true
	}
	copied := *resp
	copied.Body = io.NopCloser(bytes.NewReader(head))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return access.MissingProject(registry.ReadError(&copied)).Code == registry.CodeUnavailable
}

// written takes note of a Harbor's answer to a write, before the client has it.
func (h *Handler) written(x *exchange, t taker, resp *http.Response, kept *keeping, manifest []byte) {
	if resp.StatusCode >= 300 {
		kept.broken()
		if resp.StatusCode >= 500 { // what gave up before Harbor may hide that it was done
			h.forget(x, false)
		}
		return
	}
	h.forget(x, true)
	if t.place != h.harbor && (!h.harbor.usable() || !h.wentTo(x.req.Repo, t.place)) { // or a busy repo would stay there
		h.writes.pushed.Add(x.req.Repo, pushed{t.place, h.cfg.Now().Add(pushedFor)})
	}
	if x.ns.Kind == KindPlain {
		return
	}
	switch {
	case x.req.Method == http.MethodDelete: // of a session, among others
		kept.broken()
	case manifest != nil && resp.StatusCode == http.StatusCreated:
		d := x.req.Digest
		if d == "" {
			d = digest.FromBytes(manifest)
		}
		if h.cfg.Store.Put(d, manifest) == nil {
			h.cfg.Access.Join(x.req.Repo, d)
			h.learnSizes(x.req.Repo, manifest)
			if mediaType, err := manifestType(x.r.Header.Get("Content-Type"), manifest); err == nil {
				h.tags.pushed(tagKey{x.req.Repo, x.req.Reference()}, entry{digest: d, mediaType: mediaType, source: t.place.name})
			}
		}
	case x.req.Kind == registry.KindUploads && resp.StatusCode == http.StatusAccepted:
		kept.broken() // a session begins empty, whatever the POST carried
		h.begin(x, t, resp.Header.Get("Location"))
	case resp.StatusCode == http.StatusCreated: // of a blob, or a mount of one
		// Which blob that is, is Harbor's word: the query could name another beside.
		_, named, _ := strings.Cut(resp.Header.Get("Location"), "/blobs/")
		if d, err := registry.ParseDigest(named); err == nil {
			kept.commit(h, d)
			h.cfg.Access.Join(x.req.Repo, d)
		} else {
			kept.broken()
		}
	default:
		kept.accepted()
	}
}

// forget drops what a write has changed, or may have changed where that is not certain.
func (h *Handler) forget(x *exchange, certain bool) {
	if x.req.Kind == registry.KindManifest {
		moved := ""
		if certain {
			moved = x.req.Tag
		}
		h.tags.written(x.req.Repo, moved)
	}
	if x.req.Method == http.MethodDelete && x.req.Kind != registry.KindUpload {
		h.cfg.Access.Leave(x.req.Repo)
	}
}

// newPeerPasser hands writes to another datacenter's Harbor, through its edge: the
// edge is shown the peer token, Harbor the client's own credentials.
func newPeerPasser(peer *place) *passer {
	p := &passer{name: peer.name, harbor: peer.registry.URL()}
	p.proxy = &httputil.ReverseProxy{
		Transport:     peer.registry.Transport(),
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			x := pr.In.Context().Value(exchangeKey{}).(*exchange)
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = p.harbor.Scheme, p.harbor.Host, ""
			pr.Out.URL.Path, pr.Out.URL.RawPath = PeerPath+x.req.Path(), ""
			pr.Out.Header.Del("Cookie")
			pr.Out.Header.Del("Authorization")
			pr.Out.Header.Del(clientHeader)
			peer.showKey(pr.Out.Header) //nolint:errcheck // without it the peer refuses, and says so
			if own := pr.In.Header.Get("Authorization"); own != "" {
				pr.Out.Header.Set(clientHeader, own)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			x := resp.Request.Context().Value(exchangeKey{}).(*exchange)
			if err := x.answered(resp); err != nil {
				return err
			}
			resp.Header.Del("Cache-Status") // it is this edge's to say
			if location := resp.Header.Get("Location"); location != "" {
				resp.Header.Set("Location", atPeer(location, baseURL(x.r), strings.TrimPrefix(peer.name, "peer-")))
			}
			p.ownChallenge(resp.Header, x.r)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) { keepError(r, err) },
	}
	return p
}

// atPeer makes a peer's Location the client's: an upload session is marked with
// its datacenter, so that what follows goes there.
func atPeer(location, client, datacenter string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	path := strings.TrimPrefix(u.EscapedPath(), PeerPath)
	query := u.RawQuery
	if strings.Contains(path, "/blobs/uploads/") {
		if query != "" {
			query += "&"
		}
		query += dcParam + "=" + url.QueryEscape(datacenter)
	}
	if query != "" {
		query = "?" + query
	}
	return client + path + query
}

// headForPush tells somebody who may push whether an upload can be spared: that is
// so only if the Harbor that will take the push holds the blob, whatever this
// edge or others hold. It also tells whether a manifest is there when nobody else
// can say: clients look before they push, and the Harbor that takes the push knows.
func (h *Handler) headForPush(x *exchange) error {
	takers, err := h.takersOf(x)
	if err != nil {
		return err
	}
	var all []error
	for _, t := range takers {
		s := step{t.place, x.req.Repo, x.ns}
		header := h.headerFor(s, x.r.Header.Get("Authorization"))
		if t.place.kind == placePeer {
			header.Set(pushHeader, "true")
		}
		req := s.under(x.req)
		resp, err := t.place.do(x.r.Context(), req, header, h.cfg.Deadline)
		if err != nil {
			all = append(all, err)
			continue
		}
		resp.Body.Close()
		switch {
		case x.req.Kind == registry.KindManifest && resp.StatusCode == http.StatusNotFound:
			return registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest where pushes go now")
		case x.req.Kind == registry.KindBlob && resp.StatusCode == http.StatusOK && resp.ContentLength >= 0:
			if t.place == h.harbor {
				h.cfg.Access.Join(x.req.Repo, x.req.Digest)
			}
			return h.writeHead(x, t.place, resp.ContentLength)
		case x.req.Kind == registry.KindBlob && resp.StatusCode == http.StatusNotFound:
			return registry.Errorf(registry.CodeBlobUnknown, "there is no such blob in this repo")
		}
		all = append(all, fmt.Errorf("%s answers %s", t.place.name, resp.Status))
	}
	return dontKnow(errors.Join(all...))
}
