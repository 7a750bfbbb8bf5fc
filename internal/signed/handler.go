package signed

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"example.org/breakwater/internal/keyring"
)

// refusal marks the answer of a node that cannot sign it: it does not share the key.
const refusal = "Breakwater-Refusal"

const bodyDeadline = 10 * time.Second // to send a question's body

const maxNonces = 16 << 10 // that are remembered: of questions by those who have the key

// Handler lets questions through that are signed for this node, each once, and signs their
// answers. What it lets through names who asks in the request's Asker.
type Handler struct {
	Ring *keyring.Ring
	Self string // this node, as the askers call it
	Next http.Handler
	Now  func() time.Time // nil: time.Now
	// Since is when this node started. What was asked before may have been answered by the one
	// that ran then, and is refused. Zero: nothing is.
	Since time.Time

	mu   sync.Mutex
	seen map[string]time.Time // by nonce: when it was seen
}

// Asker is who asked: the header in which Handler passes it on.
const Asker = "Breakwater-Asker"

// ServeHTTP refuses in plain text, with a sentence. Of who has no key it reads a header, and
// nothing else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	if h.Now != nil {
		now = h.Now()
	}
	s, key, err := verify(h.Ring, r, h.Self, now)
	switch {
	case err != nil:
		refuse(w, http.StatusForbidden, err.Error())
		return
	case s.at.Before(h.Since):
		refuse(w, http.StatusForbidden, fmt.Sprintf("the question was asked before %s started: ask again; if that goes on, set the clocks of both by NTP", h.Self))
		return
	case !h.first(s.nonce, now):
		refuse(w, http.StatusForbidden, "this question was asked already")
		return
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(bodyDeadline)) //nolint:errcheck // what has none is no connection
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	control.SetReadDeadline(time.Time{}) //nolint:errcheck // see above
	switch {
	case err != nil:
		refuse(w, http.StatusRequestEntityTooLarge, "the question is too large, or was cut")
		return
	case hashed(body) != s.body:
		refuse(w, http.StatusForbidden, "the question was changed on its way")
		return
	}
	in := r.Clone(r.Context())
	in.Body = io.NopCloser(bytes.NewReader(body))
	in.Header.Set(Asker, s.from)
	answer := &recorder{header: w.Header(), status: http.StatusOK}
	h.Next.ServeHTTP(answer, in)
	reply := signature{from: s.to, to: s.from, at: now, nonce: s.nonce, body: hashed(answer.body.Bytes())}
	w.Header().Set(Header, reply.sign(key, answerOf(answer.status)...).String())
	w.WriteHeader(answer.status)
	w.Write(answer.body.Bytes()) //nolint:errcheck // who asked is gone
}

// refuse ends the connection too: the body of a question that is refused is not read.
func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set(refusal, "1")
	w.Header().Set("Connection", "close")
	http.NewResponseController(w).SetReadDeadline(time.Now()) //nolint:errcheck // the server would wait for the rest
	http.Error(w, why, status)
}

// first reports whether a nonce is new.
func (h *Handler) first(nonce string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for old, at := range h.seen {
		if now.Sub(at) > 2*maxClock {
			delete(h.seen, old)
		}
	}
	if _, again := h.seen[nonce]; again || len(h.seen) >= maxNonces {
		return false
	}
	if h.seen == nil {
		h.seen = map[string]time.Time{}
	}
	h.seen[nonce] = now
	return true
}

// recorder keeps an answer until it is signed.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
