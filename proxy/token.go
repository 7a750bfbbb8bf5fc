package proxy

import (
	"maps"
	"net/http"

	"example.org/breakwater/proxy/token"
)

// serveToken answers /service/token (README.md, "Tokens").
func (h *Handler) serveToken(w *response, r *request) error {
	if r.http.ContentLength != 0 { // a GET's body means nothing: the answer is not to wait for it
		w.Header().Set("Connection", "close")
	}
	a, err := h.tokens.Answer(r.http)
	if err != nil {
		w.outcome = outcomeOwn
		if r.http.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
		}
		return err
	}
	if w.who = a.Who; a.Source == token.Outage {
		w.outcome = outcomeOwn
	}
	w.cacheStatus("fwd=bypass", "detail="+a.Source)
	return w.writeToken(a)
}

func (w *response) writeToken(a token.Answer) error {
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.Status)
	_, err := w.Write(a.Body)
	return err
}
