package fetch

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// Settled is how old a version is when the Harbors have followed it, and what no Harbor
// of the fleet has any more is taken for removed by their retention.
const Settled = time.Hour

// wanted finds the manifest of a tag of which the edge knows the newest version. The local
// Harbor is asked for the tag first: where it has that version, all is as ever. What else
// it has is older, whatever brought it there. Then the version's digest is looked for,
// which by itself means the same everywhere.
func (f *Fetcher) wanted(ctx context.Context, q Question) (tags.Found, error) {
	want := tags.Entry{Digest: q.Want.Digest, MediaType: q.Want.MediaType, Source: "version-" + q.Want.Version.Datacenter}
	held, own := f.Holds(want.Digest), q.Route(f.Routes)[0]
	want.MediaType = f.retyped(want)
	if own.Usable() {
		has, err := f.tagAt(ctx, q, own)
		if errors.Is(err, &registry.Error{Code: registry.CodeNameUnknown}) { // all of the project may be gone
			f.Access.LookNow(ctx, q.Request.Repo)
			held = held && f.Access.Has(q.Request.Repo)
		}
		switch {
		case outcome.IsPolicy(err):
			return tags.Found{}, err
		case has == want.Digest && held:
			want.Source = own.Name
			return tags.Found{Entry: want}, nil
		case (err == nil || outcome.IsNo(err)) && has != want.Digest && f.Accepts(version.Key{Repo: q.Request.Repo, Reference: q.Request.Tag}, has):
			return f.Manifest(ctx, q.By(has), tags.Entry{}) // of which type it is, a copy does not say
		}
	}
	byDigest := q.By(want.Digest)
	if held && q.Want.Age(f.Now()) < Settled { // it was acknowledged: Harbor's policy alone can forbid it
		if own.Usable() {
			if _, err := f.tagAt(ctx, byDigest, own); outcome.IsPolicy(err) {
				return tags.Found{}, err
			}
		}
		return tags.Found{Entry: want}, nil
	}
	return f.Manifest(ctx, byDigest, want)
}

// By is the question for a digest, instead of a tag that it may be under.
func (q Question) By(d digest.Digest) Question {
	q.Request.Tag, q.Request.Digest, q.Want = "", d, version.Record{}
	return q
}

// tagAt returns the digest that a source has under a reference. What it does not say to a
// HEAD the manifest itself says.
func (f *Fetcher) tagAt(ctx context.Context, q Question, s source.Step) (digest.Digest, error) {
	req, header := s.Under(q.Request), s.Header(q.Authorization)
	header.Set("Accept", ManifestTypes)
	for _, req.Method = range []string{http.MethodHead, http.MethodGet} { // a refused HEAD does not say why
		resp, err := s.Do(ctx, req, header, f.Deadline)
		if errors.Is(err, source.ErrPage) && req.Method == http.MethodHead {
			continue
		}
		if err != nil {
			return "", err
		}
		if resp.StatusCode == http.StatusOK && req.Method == http.MethodGet {
			e, _, err := f.keepManifest(q.Request, resp)
			resp.Body.Close()
			return e.Digest, err
		}
		if resp.StatusCode == http.StatusOK {
			resp.Body.Close()
			if d, err := registry.ParseDigest(resp.Header.Get("Docker-Content-Digest")); err == nil {
				return d, nil
			}
			continue
		}
		if e := registry.ReadError(resp); req.Method == http.MethodGet || source.FailsAll(e.Status) {
			return "", s.Meaning(e)
		}
	}
	return "", nil
}

// Elsewhere asks the other datacenters' Harbors, through their edges, for a manifest.
func (f *Fetcher) Elsewhere(ctx context.Context, q Question) (tags.Found, error) {
	question := source.Question{Namespace: q.Namespace, Route: q.Route(f.Routes)[1:], Deadline: f.Deadline}
	if len(question.Route) == 0 {
		return tags.Found{}, registry.Errorf(registry.CodeManifestUnknown, "there is no other datacenter")
	}
	return f.askAll(ctx, question, q, tags.Entry{})
}

// KeepTold stores a manifest that another edge sends with a version. That the repo holds
// it is not proven by that.
func (f *Fetcher) KeepTold(d digest.Digest, body []byte) error {
	if err := registry.CheckManifest(d, body); err != nil {
		return err
	}
	if f.Holds(d) {
		return nil
	}
	return f.put(d, body)
}

// Served asks a peer for what it serves under a reference, and keeps the manifest. The
// record is zero where the peer knows of no version.
func (f *Fetcher) Served(ctx context.Context, s *source.Source, key version.Key, ns namespace.Namespace) (version.Record, error) {
	step := source.Step{Source: s, Repo: key.Repo, Namespace: ns}
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: key.Repo, Digest: key.Digest()}
	if key.IsTag() {
		req.Tag = key.Reference
	}
	header := step.Header("")
	header.Set("Accept", ManifestTypes)
	resp, err := step.Do(ctx, req, header, f.Deadline)
	if err != nil {
		return version.Record{}, err
	}
	r, _ := version.ParseMark(resp.Header.Get(peer.RecordHeader)) // zero: it knows of none
	// It is deleted, or forbidden by that Harbor's policy.
	if (resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusPreconditionFailed) && r.Known() {
		resp.Body.Close()
		return r, nil
	}
	if resp.StatusCode != http.StatusOK {
		return version.Record{}, step.Meaning(registry.ReadError(resp))
	}
	defer resp.Body.Close()
	e, _, err := f.keepManifest(req, resp)
	r.Digest, r.MediaType = e.Digest, e.MediaType
	return r, err
}
