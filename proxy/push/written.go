package push

import (
	"net/http"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

// written takes note of a Harbor's answer to a write, before the client has it.
func (w *Write) written(t target, resp *http.Response, kept *keeping) {
	req := w.Parsed
	if resp.StatusCode >= 300 {
		kept.broken()
		if resp.StatusCode >= 500 { // a proxy before Harbor may have given up though Harbor did it
			w.doubt(t)
		}
		return
	}
	w.forget(true)
	if req.Kind == registry.KindManifest && req.Method == http.MethodDelete && req.Digest != "" {
		w.p.Manifests.Deleted(w.Namespace, req.Repo, req.Digest, w.Begun.Version, resp.Header)
	}
	w.p.stick(req.Repo, t)
	if w.Namespace.Kind == namespace.Plain {
		return
	}
	switch {
	case req.Method == http.MethodDelete: // of a session, among others
		kept.broken()
	case w.manifest != nil && resp.StatusCode == http.StatusCreated:
		w.p.Manifests.Pushed(w.pushed(t, resp.Header))
	case req.Kind == registry.KindUploads && resp.StatusCode == http.StatusAccepted:
		kept.broken() // a session begins empty, whatever the POST carried
		w.p.openSession(t, resp.Header.Get("Location"))
	case resp.StatusCode == http.StatusCreated: // of a blob, or a mount of one
		// Harbor says which blob that is: the client's query could name another one.
		_, kind, named := registry.CutPath(resp.Header.Get("Location"))
		if d, err := registry.ParseDigest(named); kind == registry.KindBlob && err == nil {
			kept.commit(w.p, d)
			w.p.Access.Join(req.Repo, d)
		} else {
			kept.broken()
		}
	default:
		kept.accepted()
	}
}

// Digest is that of the manifest that is pushed.
func (w *Write) Digest() digest.Digest {
	if w.Parsed.Digest != "" {
		return w.Parsed.Digest
	}
	return registry.ManifestDigest(w.manifest)
}

// pushed is the manifest that the write pushes.
func (w *Write) pushed(t target, answer http.Header) Pushed {
	return Pushed{Namespace: w.Namespace, Repo: w.Parsed.Repo, Reference: w.Parsed.Reference(), Digest: w.Digest(),
		Manifest: w.manifest, ContentType: w.HTTP.Header.Get("Content-Type"), By: t.Source, Begun: w.Begun, FromPeer: w.FromPeer, Answer: answer}
}

// doubt takes note of a write of which nobody knows whether a Harbor did it.
func (w *Write) doubt(t target) {
	w.forget(false)
	if w.manifest != nil && w.Parsed.Tag != "" {
		w.p.Manifests.Doubted(w.pushed(t, nil))
	}
}

// forget drops what a write has changed, or may have changed where that is not certain.
func (w *Write) forget(certain bool) {
	req := w.Parsed
	if req.Kind == registry.KindManifest {
		moved := ""
		if certain {
			moved = req.Tag
		}
		w.p.Manifests.Written(req.Repo, moved)
	}
	if req.Method == http.MethodDelete && req.Kind != registry.KindUpload {
		w.p.Access.Leave(req.Repo)
	}
}
