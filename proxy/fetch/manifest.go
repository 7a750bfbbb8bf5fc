package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// ManifestTypes is what the edge accepts of sources (Accept): it keeps the bytes as
// they are, whatever they mean.
var ManifestTypes = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.v1+prettyjws", "*/*",
}, ", ")

// staleAnswer is in the Cache-Status of a peer whose own Harbor could not say.
const staleAnswer = "hit; fwd=stale"

// Manifest finds out what a reference is now, and keeps its manifest. old is what is
// remembered of it: where the store still has that, a HEAD will do. The error is an
// outcome.
func (f *Fetcher) Manifest(ctx context.Context, q Question, old tags.Entry) (tags.Found, error) {
	if old.Digest != "" && !f.Holds(old.Digest) {
		old = tags.Entry{}
	}
	if q.Want.Known() && q.Request.Tag != "" {
		return f.wanted(ctx, q)
	}
	question := source.Question{Namespace: q.Namespace, Route: q.Route(f.Routes), Tag: q.Request.Tag != "", Held: old.Digest != "", Deadline: f.Deadline}
	return f.askAll(q.InTrace(ctx), question, q, old)
}

// askAll asks the sources of a question for a manifest.
func (f *Fetcher) askAll(ctx context.Context, question source.Question, q Question, old tags.Entry) (tags.Found, error) {
	return source.Ask(ctx, question, func(ctx context.Context, s source.Step) (tags.Found, bool, error) {
		found, err := f.askManifest(ctx, q, s, old)
		return found, found.Stale, err
	})
}

// InVain says when whoever asks for a manifest that is not held has waited for long enough,
// because all who could have it are known to be silent about it; never where they are not.
func (f *Fetcher) InVain(q Question) <-chan time.Time {
	if !source.Hangs(q.Route(f.Routes), registry.KindManifest) {
		return nil
	}
	return time.After(f.Deadline / 2)
}

// askManifest asks one source. With a copy in the store a HEAD will do when it names
// the same digest.
func (f *Fetcher) askManifest(ctx context.Context, q Question, s source.Step, old tags.Entry) (tags.Found, error) {
	req, header := s.Under(q.Request), s.Header(q.Authorization)
	header.Set("Accept", ManifestTypes)
	if old.Digest != "" {
		req.Method = http.MethodHead
		resp, err := s.Do(ctx, req, header, 0)
		if err != nil && !errors.Is(err, source.ErrPage) { // a manifest may be labelled as a page: its body shows it
			return tags.Found{}, err
		}
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK && resp.Header.Get("Docker-Content-Digest") == old.Digest.String() {
				old.Source = s.Name
				old.MediaType = f.retyped(old)
				f.hear(q, s, old, resp)
				return tags.Found{Entry: old, Stale: isStale(resp)}, nil
			}
			if source.FailsAll(resp.StatusCode) {
				return tags.Found{}, s.Meaning(registry.ReadError(resp))
			}
		}
	}
	req.Method = http.MethodGet // anything else: the body says what it is
	resp, err := s.Do(ctx, req, header, 0)
	if err != nil {
		return tags.Found{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return tags.Found{}, s.Meaning(registry.ReadError(resp))
	}
	defer resp.Body.Close()
	e, body, err := f.keepManifest(q.Request, resp)
	e.Source, e.Gone = s.Name, goneAt(s, resp)
	if err == nil {
		f.Routes.Gave(q.Request.Repo, s.Source)
		f.hear(q, s, e, resp)
	}
	return tags.Found{Entry: e, Body: body, Stale: isStale(resp)}, err
}

// retyped is the media type of what is held: an earlier program may have called it otherwise.
func (f *Fetcher) retyped(held tags.Entry) string {
	body, err := f.Read(held.Digest)
	if err != nil {
		return held.MediaType
	}
	t, err := registry.ManifestType(held.MediaType, body)
	if err != nil {
		return held.MediaType
	}
	return t
}

// hear takes note of the version that a peer says a tag's manifest has: what is pushed
// here after it was seen here is newer.
func (f *Fetcher) hear(q Question, s source.Step, e tags.Entry, resp *http.Response) {
	if s.Kind != source.Peer || q.Request.Tag == "" || q.Namespace.Kind != namespace.MultiDC || f.Heard == nil {
		return
	}
	if r, err := version.ParseMark(resp.Header.Get(peer.RecordHeader)); err == nil {
		r.Digest, r.MediaType = e.Digest, e.MediaType
		f.Heard(s.Datacenter, version.Key{Repo: q.Request.Repo, Reference: q.Request.Tag}, r)
	}
}

// isStale reports whether a peer gave what it remembers because its own Harbor
// could not say.
func isStale(resp *http.Response) bool {
	return strings.Contains(resp.Header.Get("Cache-Status"), staleAnswer)
}

// keepManifest reads, verifies and stores a source's manifest.
func (f *Fetcher) keepManifest(req registry.Request, resp *http.Response) (tags.Entry, []byte, error) {
	in := f.Bodies.Reader(req.Project(), resp.Body)
	defer in.Close()
	body, err := io.ReadAll(io.LimitReader(in, registry.MaxManifest+1))
	if err != nil {
		return tags.Entry{}, nil, outcome.DontKnow(fmt.Errorf("read manifest: %w", err))
	}
	if len(body) > registry.MaxManifest {
		return tags.Entry{}, nil, registry.ManifestTooLarge()
	}
	d, err := manifestDigest(req, resp.Header.Get("Docker-Content-Digest"), body)
	if err != nil {
		return tags.Entry{}, nil, outcome.DontKnow(err)
	}
	mediaType, err := registry.ManifestType(resp.Header.Get("Content-Type"), body)
	if err != nil {
		return tags.Entry{}, nil, outcome.DontKnow(err)
	}
	if err := f.keep(req.Repo, d, body); err != nil {
		return tags.Entry{}, nil, fmt.Errorf("keep manifest: %w", err)
	}
	return tags.Entry{Digest: d, MediaType: mediaType}, body, nil
}

// keep stores a manifest that the repo is known to hold.
func (f *Fetcher) keep(repo string, d digest.Digest, body []byte) error {
	if err := f.put(d, body); err != nil {
		return err
	}
	f.Access.Join(repo, d)
	f.learnSizes(repo, body)
	return nil
}

// put stores a manifest, but for a signed schema 1: the store has content under the digest
// of its bytes alone. Such a one is asked for each time.
func (f *Fetcher) put(d digest.Digest, body []byte) error {
	err := f.Store.Put(d, body)
	if errors.Is(err, store.ErrWrongContent) && registry.CheckManifest(d, body) == nil {
		return nil
	}
	return err
}

// KeepPushed stores a manifest that Harbor has accepted from a client, and returns
// the media type to serve it with. contentType is the client's.
func (f *Fetcher) KeepPushed(repo string, d digest.Digest, body []byte, contentType string) (mediaType string, err error) {
	if err := f.keep(repo, d, body); err != nil {
		return "", err
	}
	return registry.ManifestType(contentType, body)
}

// Read reads a manifest from the store. Small ones that are asked for often are in
// memory too, as long as the store has them.
func (f *Fetcher) Read(d digest.Digest) ([]byte, error) {
	if body, ok := f.hot.Get(d); ok && f.Store.Use(d) {
		return body, nil
	}
	r, err := f.Store.Get(context.Background(), d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, registry.MaxManifest+1))
	if err == nil && len(body) <= maxHotSize {
		f.hot.Add(d, body)
	}
	return body, err
}

// Holds reports whether the store has the content.
func (f *Fetcher) Holds(d digest.Digest) bool {
	r, err := f.Store.Get(context.Background(), d)
	if err == nil {
		r.Close()
	}
	return err == nil
}

// manifestDigest returns the digest of body, which must be the one that was asked
// for or, by tag, the one that the source named. Harbor leaves the header empty on a
// cold tag of a proxy cache, and some write what is no digest: then the digest is ours.
func manifestDigest(req registry.Request, named string, body []byte) (digest.Digest, error) {
	want := req.Digest
	if want == "" {
		want, _ = registry.ParseDigest(named) //nolint:errcheck // as if it were not named
	}
	if want == "" {
		return registry.ManifestDigest(body), nil
	}
	if err := registry.CheckManifest(want, body); err != nil {
		return "", fmt.Errorf("the source sent another manifest as %s: %w", want, err)
	}
	return want, nil
}
