package pass

import (
	"context"
	"errors"
	"net/http"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// Read is a read of the distribution API that Harbor answers by the client's own credentials.
type Read struct {
	Path string // in place of the request's; "": the request's own
	// Down reports whether Harbor is seen not to know anybody: its database is down. Then it
	// refuses credentials that are right. nil: it is not looked at.
	Down func(context.Context) bool
	// Missing keeps Harbor's word that there is no such project from the client: it is the
	// error then.
	Missing bool
}

// ServeRead is Serve for a read of the distribution API. Where Harbor cannot say, the error
// is 503, whatever Harbor or what stands before it says instead.
func (p *Proxy) ServeRead(w http.ResponseWriter, r *http.Request, read Read) error {
	var said *registry.Error
	err := p.Serve(w, r, Call{Path: read.Path, Answered: func(resp *http.Response) error {
		said = outcome.OfHarbor(resp)
		refused := resp.StatusCode == http.StatusUnauthorized && r.Header.Get("Authorization") != ""
		if refused && (said == nil || r.Method == http.MethodHead) { // a HEAD does not say why
			switch {
			case read.Down != nil && read.Down(r.Context()):
				said = outcome.DontKnow(errors.New("credentials are refused, and the database does not answer"))
			case said != nil:
				said = registry.Errorf(registry.CodeNameUnknown, "there is no such project")
			}
		}
		if said != nil && (said.Code != registry.CodeNameUnknown || read.Missing) {
			return said
		}
		said = nil
		return nil
	}})
	if said != nil {
		return said
	}
	return err
}
