package push

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// target is a Harbor that takes writes: the local one, or a peer's behind its edge.
type target struct {
	*source.Source
	pass *pass.Proxy
}

// datacenterParam marks the upload sessions that another datacenter's Harbor has opened.
const datacenterParam = "_breakwater"

// stickyFor is how long a repo's pushes go where its blobs went.
const stickyFor = 15 * time.Minute

// sticky says that a repo's blobs went to a peer, and its next writes go there too.
type sticky struct {
	to    *source.Source
	until time.Time
}

func toPeer(s *source.Source) target {
	return target{s, pass.ToPeer(s.Name, s.Registry, s.Authorize, func(location, client string) string {
		return atPeer(location, client, s.Datacenter)
	})}
}

// atPeer makes a peer's Location the client's. An upload session is marked with its
// datacenter, so that what follows goes there.
func atPeer(location, client, datacenter string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	path := strings.TrimPrefix(u.EscapedPath(), peer.Path)
	query := u.RawQuery
	if _, kind, _ := registry.CutPath(path); kind == registry.KindUpload {
		if query != "" {
			query += "&"
		}
		query += datacenterParam + "=" + url.QueryEscape(datacenter)
	}
	if query != "" {
		query = "?" + query
	}
	return client + path + query
}

// targets are the local Harbor, then the peers, nearest first.
func (p *Pusher) targets() []target {
	all := []target{{p.Harbor, p.Pass}}
	for _, s := range p.Peers() {
		all = append(all, toPeer(s))
	}
	return all
}

// targetsOf returns who may take the write, in the order in which they are asked. The
// mark of an upload session is taken out of the request: it is the edge's own.
func (p *Pusher) targetsOf(r *Request) ([]target, error) {
	targets := p.targets()
	own := targets[:1]
	query, kind := r.HTTP.URL.Query(), r.Parsed.Kind
	if mark := query.Get(datacenterParam); mark != "" && !r.FromPeer {
		at := slices.IndexFunc(targets, func(t target) bool { return t.Kind == source.Peer && t.Datacenter == mark })
		if at < 0 || kind != registry.KindUpload {
			return nil, registry.Errorf(registry.CodeBlobUploadUnknown, "there is no such upload session")
		}
		query.Del(datacenterParam)
		u, unmarked := *r.HTTP.URL, *r.HTTP
		u.RawQuery = query.Encode()
		unmarked.URL = &u
		r.HTTP = &unmarked
		return targets[at : at+1], nil
	}
	push := kind == registry.KindUploads || kind == registry.KindManifest || kind == registry.KindBlob
	if r.Namespace.Kind != namespace.MultiDC || r.FromPeer || !push || r.Parsed.Method == http.MethodDelete {
		return own, nil
	}
	var up, down []target
	for _, holds := range [...]bool{true, false} { // those whose Harbors are to hold it come before the others
		for _, t := range targets {
			switch {
			case (t.Kind == source.Harbor || r.Namespace.At(t.Datacenter)) != holds:
			case t.Usable():
				up = append(up, t)
			default:
				down = append(down, t)
			}
		}
	}
	all := append(up, down...)
	if to := p.stuckTo(r.Parsed.Repo); to != nil && kind != registry.KindUploads { // a push goes on where its blobs went, though the local Harbor is back
		first := func(t target) int {
			if t.Source == to {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(all, func(a, b target) int { return first(a) - first(b) })
	}
	return all, nil
}

// stick notes that a part of a push is at a target, or is taken there with its manifest: where
// that is a peer's, the push ends there.
func (p *Pusher) stick(repo string, t target) {
	if t.Kind == source.Peer && (!p.Harbor.Usable() || p.stuckTo(repo) != t.Source) { // else every push would prolong the stay
		p.sticky.Add(repo, sticky{t.Source, p.Now().Add(stickyFor)})
	}
}

// stuckTo is the peer that the repo's pushes go to for now, nil for none.
func (p *Pusher) stuckTo(repo string) *source.Source {
	if last, ok := p.sticky.Get(repo); ok && p.Now().Before(last.until) {
		return last.to
	}
	return nil
}

// isNobodys reports whether an answer to a write comes from a front whose Harbor is gone: a
// page, a redirect to one, or a 404 that is not a registry's JSON.
func isNobodys(resp *http.Response) bool {
	return source.IsPage(resp) || resp.StatusCode/100 == 3 ||
		resp.StatusCode == http.StatusNotFound && !registry.IsJSON(resp)
}

// refusesEdge reports whether a peer refuses this edge, not the client: the answer is
// not its Harbor's (their keys or clocks differ).
func refusesEdge(resp *http.Response) bool {
	return resp.StatusCode == http.StatusForbidden && strings.Contains(resp.Header.Get("Cache-Status"), "detail=edge")
}

// missesParts reports whether a Harbor refuses a manifest as one that names what is not there.
func missesParts(resp *http.Response) bool {
	return resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusNotFound
}

// isImmutable reports whether a Harbor refuses a delete because a tag of it is to stay (code
// PRECONDITION), and not because an index names it. The answer can be read still.
func isImmutable(resp *http.Response) bool {
	head, whole, _ := registry.Peek(resp.Body, maxRefusal) // who reads on is told why it ends
	resp.Body = whole
	return bytes.Contains(head, []byte("immutable"))
}

const maxRefusal = 64 << 10 // bytes

// lacks reports whether the local Harbor lacks what the write is of, or names: it may have been
// pushed to another datacenter a moment ago. That is asked once.
func (w *Write) lacks(t target, resp *http.Response) bool {
	if w.p.Bring == nil || w.brought || t.Kind != source.Harbor || w.Namespace.Kind != namespace.MultiDC || w.Digest() == "" || !registry.IsJSON(resp) {
		return false
	}
	return w.manifest != nil && missesParts(resp) || w.Parsed.Method == http.MethodDelete && w.Parsed.Kind == registry.KindManifest && resp.StatusCode == http.StatusNotFound
}

// heldElsewhere is why the local Harbor does not decide about a delete: others are to hold the
// project, and what keeps the manifest there, an index or a rule, the local one may not have.
func (p *Pusher) heldElsewhere(r Request) error {
	if !r.Namespace.Away || r.FromPeer || r.Refused || p.Elsewhere == nil || r.Parsed.Kind != registry.KindManifest || r.Parsed.Method != http.MethodDelete || r.Parsed.Digest == "" {
		return nil
	}
	there, err := p.Elsewhere(r.HTTP.Context(), r.Parsed.Repo, r.Parsed.Digest)
	switch {
	case err != nil:
		return outcome.DontKnow(err)
	case there:
		return registry.Errorf(registry.CodeUnsupported, "the Harbors of %s hold this project, and decide about deletes: delete it through the edge of one of them", strings.Join(r.Namespace.Homes, ", "))
	}
	return nil
}

// takesNothing returns what the client hears of an answer that says that the Harbor is down,
// its database, or its registry; nil for one that is about this write. Harbor answers 500 to a
// manifest that is none: that does not pass, and is not to be tried again for it.
func takesNothing(resp *http.Response) *registry.Error {
	e := outcome.OfHarbor(resp)
	switch {
	case e == nil || e.Code != registry.CodeUnavailable:
		return nil
	case resp.StatusCode != http.StatusInternalServerError:
		return e
	}
	said := registry.ReadError(resp)
	if said.Code == "" {
		return e
	}
	failed := registry.Errorf(registry.CodeUnknown, "Harbor fails at this write; its own log says why")
	failed.Cause = said
	return failed
}

// Head tells a client that may push whether it can spare an upload: it can if the Harbor
// that will take the push holds the blob, whatever this edge or others hold, or the edge takes
// the blob there with the manifest. Who is seen to be down is not asked while another is up. size is the blob's
// length in bytes, and from the name of the source that answered. Head also tells
// whether a manifest is there when no source can say: clients ask before they push, and
// the Harbor that takes the push knows. The error is an outcome.
func (p *Pusher) Head(r Request) (size int64, from string, err error) {
	targets, err := p.targetsOf(&r)
	if err != nil {
		return 0, "", err
	}
	kind := r.Parsed.Kind
	up := slices.ContainsFunc(targets, func(t target) bool { return t.Usable() })
	var all []error
	for _, t := range targets {
		if !t.Usable() && up { // nor does it take the push
			all = append(all, fmt.Errorf("%s is seen to be down", t.Name))
			continue
		}
		s := source.Step{Source: t.Source, Repo: r.Parsed.Repo, Namespace: r.Namespace}
		header := s.Header(r.HTTP.Header.Get("Authorization"))
		if t.Kind == source.Peer {
			header.Set(peer.PushHeader, "true")
		}
		resp, err := s.Await(r.HTTP.Context(), s.Under(r.Parsed), header, p.Deadline)
		if err != nil {
			all = append(all, err)
			continue
		}
		resp.Body.Close()
		switch {
		case kind == registry.KindManifest && resp.StatusCode == http.StatusNotFound:
			return 0, "", registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest where pushes go now")
		case kind == registry.KindBlob && resp.StatusCode == http.StatusOK && resp.ContentLength >= 0:
			if t.Kind == source.Harbor {
				p.Access.Join(r.Parsed.Repo, r.Parsed.Digest)
			}
			p.stick(r.Parsed.Repo, t)
			return resp.ContentLength, t.Name, nil
		case kind == registry.KindBlob && resp.StatusCode == http.StatusNotFound:
			if size, ok := p.brings(r.HTTP.Context(), t, r.Parsed); ok {
				p.stick(r.Parsed.Repo, t)
				return size, t.Name, nil
			}
			return 0, "", registry.Errorf(registry.CodeBlobUnknown, "there is no such blob in this repo")
		}
		all = append(all, fmt.Errorf("%s answers %s", t.Name, resp.Status))
	}
	return 0, "", outcome.DontKnow(errors.Join(all...))
}
