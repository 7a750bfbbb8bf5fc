package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/writer"
)

// response is what is noted of the answer to a request, for metrics and the log.
type response struct {
	writer.Writer
	begun   time.Time
	who     string // by the credential that was accepted; "" for nobody
	outcome string
	err     error

	client   string // its address
	admitted bool   // it has taken a share of the requests
	answers  *share.Shares
	held     int64 // bytes of answers
}

// The outcomes in logs and metrics: how the edge came by an answer.
const (
	outcomePass        = "pass"        // Harbor's answer
	outcomeOwn         = "own"         // the edge's own answer
	outcomeHit         = "hit"         // from the store, believed without asking; or a no that is remembered
	outcomeStale       = "stale"       // the copy: nobody could say
	outcomeKept        = "kept"        // the copy: its upstream has deleted it
	outcomeRevalidated = "revalidated" // from the store, after a source said that it is still right
	outcomeFill        = "fill"        // from a source
	outcomeJoin        = "join"        // from a transfer that another request began
	outcomeList        = "list"        // a list
	outcomeGone        = "gone"        // the client went away
)

// fromStore are the outcomes that the hit ratio is of, and whether the edge had the content.
var fromStore = map[string]bool{outcomeHit: true, outcomeStale: true, outcomeKept: true, outcomeRevalidated: true, outcomeFill: false, outcomeJoin: false}

func (h *Handler) newResponse(rw http.ResponseWriter, in *http.Request) *response {
	return &response{
		Writer: writer.New(rw, in, h.cfg.Now, h.cfg.Stalled), begun: h.cfg.Now(), outcome: outcomePass,
		client: addressOf(in.RemoteAddr), answers: h.answers,
	}
}

// cacheStatus writes the response's Cache-Status (RFC 9211): how the edge came by the
// answer.
func (w *response) cacheStatus(params ...string) {
	w.Header()["Cache-Status"] = []string{"breakwater; " + strings.Join(params, "; ")}
}

// hit says that nobody was asked.
func (w *response) hit(params ...string) {
	w.outcome = outcomeHit
	w.cacheStatus(append([]string{"hit"}, params...)...)
}

func (w *response) writeJSON(r *request, contentType string, value any) error {
	body, err := json.Marshal(value)
	if err == nil {
		err = w.hold(len(body))
	}
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.http.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err = w.Write(body)
	return err
}

func setDigest(h http.Header, d digest.Digest) {
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
}

// flushWriter sends what it is given at once: the tail of a write would else wait in a
// buffer for the next bytes of a fill, which may be long in coming.
type flushWriter struct{ http.ResponseWriter }

// Write implements io.Writer.
func (w flushWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(w.ResponseWriter).Flush()
}

// ReadFrom implements io.ReaderFrom: what has come of a fill leaves by the kernel.
func (w flushWriter) ReadFrom(src io.Reader) (int64, error) {
	if part, ok := src.(*io.LimitedReader); ok {
		if reader, ok := part.R.(*store.Reader); ok {
			return reader.Send(w, part.N)
		}
	}
	n, err := io.Copy(w.ResponseWriter, src)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(w.ResponseWriter).Flush()
}
