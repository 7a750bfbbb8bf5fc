package proxy

import (
	"net/http"
	"strings"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// readPeer reads the request of another edge; the error refuses everybody else's.
func (h *Handler) readPeer(r *request) (err error) {
	r.endpoint = endpointPeer
	datacenter, ok := h.neighbors.Trust().Datacenter(r.http)
	if !ok {
		return registry.Errorf(registry.CodeDenied, "this is for the fleet's own edges")
	}
	r.peer = datacenter
	in := *r.http
	in.Header = in.Header.Clone()
	in.Header.Del("Authorization") // it is not a client's, and goes no further
	in.Header.Del(peer.PreviousHeader)
	r.http = &in
	path, ok := strings.CutPrefix(in.URL.Path, peer.Path)
	if !ok || !isRegistryPath(path) {
		return nil
	}
	u := *in.URL
	u.Path, u.RawPath = path, ""
	if r.Request, err = registry.ParseRequest(in.Method, &u); err != nil {
		return err
	}
	r.ns = h.namespaces.Of(r.Project())
	r.mayPush = in.Method == http.MethodHead && r.Kind == registry.KindBlob && in.Header.Get(peer.PushHeader) != ""
	if client := in.Header.Get(peer.ClientHeader); client != "" && !r.Read() { // Harbor decides by it
		in.Header.Set("Authorization", client)
	}
	r.query = r.permission()
	return nil
}

// servePeer answers another edge from this one's store and Harbor. The peer has checked
// its client's permission to read; writes carry the client's own credentials, by which
// Harbor decides. Nobody else is asked in turn.
func (h *Handler) servePeer(w *response, r *request) error {
	w.outcome = outcomeOwn
	switch r.http.URL.Path {
	case peer.TokenPath:
		a, err := h.tokens.AnswerPeer(r.http)
		if err != nil {
			return err
		}
		return w.writeToken(a)
	case peer.PurgePath:
		return h.purger.ServePeer(w, r.http, r.peer)
	case peer.WarmPath:
		return h.warm.ServePeer(w, r.http)
	case peer.ContentPath:
		return h.content.ServePeer(w, r.http)
	case peer.AnnouncePath:
		return h.serveAnnouncement(w, r)
	}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	switch {
	case r.Kind == registry.KindBase:
		w.WriteHeader(http.StatusOK)
		return nil
	case r.Repo == "":
		return registry.Errorf(registry.CodeUnsupported, "peers have to do with repos only")
	case r.ns.Kind == namespace.Plain: // to this edge it is another project, of this Harbor's own
		return registry.Errorf(registry.CodeDenied, "the fleet file here does not have the project %s, and that of the edge of %s does: one of them is older", r.Project(), r.peer)
	case !r.Read() && r.ns.Kind == namespace.MultiDC:
		return h.serveWrite(w, r)
	case !r.Read():
		return registry.Errorf(registry.CodeUnsupported, "peers may write multi-dc projects only")
	}
	return h.serveContent(w, r)
}
